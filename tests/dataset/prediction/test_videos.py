"""Frame times, and the placement of windows."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from dataset.prediction.request import PredictionError, Source, Stride
from dataset.prediction.videos import Place, Video, open_video, place_windows
from tests.videos import encode_video

VARIABLE = [0, 1, 2, 3, 4, 14, 24, 34, 44, 54]  # five frames at 25 per second, then at 2.5


def video_of(times: list[int], *, time_base: Fraction = Fraction(1, 25)) -> Video:
    seconds = times[-1] * time_base
    return Video(Path("v.mp4"), "v.mp4", np.array(times), time_base, len(times) / max(seconds, time_base), 1 << 20)


def places(num_frames: int, span: int, stride: Stride | None = None) -> list[tuple[int, int, int]]:
    found = place_windows(video_of(list(range(num_frames))), span, stride=stride)
    return [(place.first, place.begin, place.end) for place in found]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi"])
def test_frames_have_the_times_of_the_file(tmp_path: Path, suffix: str) -> None:
    pts = list(range(10)) if suffix == ".avi" else VARIABLE
    path = encode_video(tmp_path / f"v{suffix}", 10, pts=pts)
    video = open_video(Source(path, path.name), max_pixels=1 << 20)
    assert [video.seconds(frame) for frame in range(10)] == pytest.approx([time / 25 for time in pts], abs=0.001)
    assert video.seconds(10) == pytest.approx(pts[-1] / 25 + 1 / float(video.rate), abs=0.001)


def test_no_video_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(PredictionError, match="nothing there"):
        open_video(Source(tmp_path, "x", "nothing there"), max_pixels=1)
    with pytest.raises(PredictionError, match=r"v\\udcff\.mp4: its name is not UTF-8"):
        open_video(Source(Path("v\udcff.mp4"), "x"), max_pixels=1)


def test_windows_follow_one_another_and_the_last_ends_with_the_video() -> None:
    assert places(29, 8) == [(0, 0, 8), (8, 8, 16), (16, 16, 24), (21, 24, 29)]
    assert places(16, 8) == [(0, 0, 8), (8, 8, 16)]
    assert places(15, 8) == [(0, 0, 15)] == places(15, 16)


def test_boundaries_of_overlapping_windows_are_half_way_between_their_centers() -> None:
    assert places(14, 8, Stride(frames=2)) == [(0, 0, 5), (2, 5, 7), (4, 7, 9), (6, 9, 14)]
    assert places(15, 8, Stride(frames=4)) == [(0, 0, 6), (4, 6, 10), (7, 10, 15)]
    assert places(9, 8, Stride(frames=1)) == [(0, 0, 4), (1, 4, 9)]


def test_windows_may_have_gaps_between_them() -> None:
    assert places(30, 4, Stride(frames=10)) == [(0, 0, 7), (10, 7, 17), (20, 17, 30)]
    assert places(36, 4, Stride(frames=10)) == [(0, 0, 7), (10, 7, 17), (20, 17, 27), (30, 27, 36)]
    assert places(33, 4, Stride(frames=10)) == [(0, 0, 7), (10, 7, 17), (20, 17, 27), (29, 27, 33)]


def test_a_stride_of_seconds_goes_by_the_time_of_frames() -> None:
    assert places(50, 10, Stride(seconds=0.4)) == places(50, 10, Stride(frames=10))
    firsts = [place.first for place in place_windows(video_of(VARIABLE), 2, stride=Stride(seconds=0.4))]
    assert firsts == [0, 5, 6, 7, 8]  # 0, 0.56, 0.96, 1.36 and 1.76 s


@pytest.mark.parametrize("seed", range(30))
def test_every_frame_belongs_to_one_window_and_windows_lie_in_the_video(seed: int) -> None:
    rng = np.random.default_rng(seed)
    times = np.cumsum(rng.integers(1, 12, size=rng.integers(1, 200))).tolist()
    video, span = video_of([time - times[0] for time in times]), int(rng.integers(1, 40))
    stride = [None, Stride(frames=int(rng.integers(1, 60))), Stride(seconds=float(rng.uniform(0.01, 4)))][seed % 3]
    found = list(place_windows(video, span, stride=stride))
    assert [place.begin for place in found] == [0, *(place.end for place in found[:-1])]
    assert found[-1].end == video.num_frames
    assert all(place.begin < place.end for place in found)
    firsts = [place.first for place in found]
    assert firsts == sorted(set(firsts))
    assert found == [Place(0, 0, video.num_frames)] or firsts[-1] + span <= video.num_frames
