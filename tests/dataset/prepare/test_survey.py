"""The survey of a training list."""

from pathlib import Path

import pytest

from dataset.listing import VideoRecord
from dataset.prepare.survey import MOST_VIDEOS, Survey, survey
from tests.official_sets import Videos


def look_at(root: Path, paths: list[str], frames: int) -> Survey | None:
    videos = [VideoRecord(path, frames, number % 2) for number, path in enumerate(paths)]
    return survey(root, videos, groups={path: path for path in paths}, class_names=["x", "y"], workers=1)


def test_lengths_rates_and_sizes_are_those_of_the_files(tmp_path: Path, videos: Videos) -> None:
    for name, rate in (("a.mp4", 10), ("b.mp4", 20), ("c.mp4", 40)):
        videos.make(tmp_path / name, 20, rate=rate)
    found = look_at(tmp_path, ["a.mp4", "b.mp4", "c.mp4", "none.mp4"], 20)
    assert found is not None
    assert (found.num_videos, found.frames, found.rates) == (4, 20, (10, 20, 40))
    assert found.seconds == pytest.approx((0.5, 1.0, 1.9), abs=0.01)
    assert (found.width, found.height) == (64, 48)
    assert 0 < found.decode_seconds < 0.1
    assert found.describe().startswith("0.5 to 1.9 s long, median 1.0 s; 10 to 40 frames per second; 64 x 48 pixels; ")


def test_many_videos_are_sampled_evenly_over_the_list(tmp_path: Path, videos: Videos) -> None:
    videos.make(tmp_path / "a.mp4", 16)
    paths = ["none.mp4"] * 5 * MOST_VIDEOS
    assert look_at(tmp_path, paths, 16) is None
    paths[-1] = "a.mp4"  # the last video is always sampled
    found = look_at(tmp_path, paths, 16)
    assert found is not None and found.num_videos == 5 * MOST_VIDEOS
