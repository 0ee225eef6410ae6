"""Film strips: four frames side by side, or the cause if a video cannot be read."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from dataset.listing import VideoRecord, read_list
from dataset.readers import open_reader
from dataset.transforms.recipes import resize_short_side
from dataset.writers.encoding import encode_jpeg
from dataset.writers.strips import read_strips


def test_a_strip_is_four_frames_of_the_video(tiny_set: Path) -> None:
    videos = read_list(tiny_set / "test_list.txt", num_classes=12)
    lost = replace(videos[1], path="gone.mp4")
    found = read_strips([videos[0], lost, videos[2]], lambda: open_reader("RAW", tiny_set))
    assert isinstance(found[1], str) and "gone.mp4" in found[1]
    reader = open_reader("RAW", tiny_set)
    for strip, video in zip((found[0], found[2]), (videos[0], videos[2]), strict=True):
        assert isinstance(strip, bytes)
        picture = np.asarray(Image.open(io.BytesIO(strip)), dtype=float)
        frames = resize_short_side(reader.read(video, [1, 5, 9, 13]).numpy(), 72)
        width = frames.shape[2]
        assert picture.shape == (72, 4 * width + 3 * 2, 3)
        for number, frame in enumerate(frames):
            left = number * (width + 2)
            assert np.abs(picture[:, left : left + width] - frame).mean() < 6  # JPEG
            assert number == 3 or picture[:, left + width : left + width + 2].mean() > 200, "a white gap"


def test_missing_videos_have_a_cause(tmp_path: Path, tiny_set: Path) -> None:
    video = read_list(tiny_set / "test_list.txt", num_classes=12)[0]
    (cause,) = read_strips([video], lambda: open_reader("RAW", tmp_path / "gone"))
    assert isinstance(cause, str) and "does not exist" in cause


def test_optical_flow_has_no_strip(tmp_path: Path) -> None:
    for number in range(1, 9):
        for suffix in ("c1", "c2"):
            name = tmp_path / "v" / f"{number:05d}_{suffix}.jpg"
            name.parent.mkdir(exist_ok=True)
            name.write_bytes(encode_jpeg(np.full((24, 32), 128, dtype=np.uint8), 90))
    record = VideoRecord("v", 8, 0)
    assert read_strips([record], lambda: open_reader("FRAME", tmp_path, use_flow=True)) == ["optical flow"]
