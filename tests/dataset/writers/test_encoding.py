"""The H.264 and the JPEG encoder."""

import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dataset.writers.encoding import encode_h264, encode_jpeg
from tests.conftest import ROOT
from tests.videos import frame_numbers, numbered_frame, sequential_frames


def test_frames_of_an_h264_file_are_read_back_in_order(tmp_path: Path) -> None:
    path = tmp_path / "v.mp4"
    path.write_bytes(encode_h264(map(numbered_frame, range(20)), rate=25, options={"g": "12", "threads": "1"}))
    assert frame_numbers(sequential_frames(path)) == list(range(20))


@pytest.mark.parametrize("shape", [(32, 48, 3), (32, 48)])
def test_a_jpeg_is_what_pillow_reads_with_red_first(shape: tuple[int, ...]) -> None:
    picture = np.zeros(shape, dtype=np.uint8)
    picture[8:] = (200, 40, 90) if len(shape) == 3 else 200
    decoded = np.asarray(Image.open(io.BytesIO(encode_jpeg(picture, 100))))
    assert decoded.shape == shape and np.abs(decoded.astype(int) - picture)[12:].max() <= 6


def test_nothing_else_encodes() -> None:
    """Except for figures and the sheet of browse (PNG)."""
    pattern = re.compile(r"add_stream\(|imencode|imwrite|av\.open\([^)]*\"w\"|\.save\([^)]*JPEG", re.IGNORECASE)
    files = [path for package in ("dataset", "utils", "benchmarks") for path in (ROOT / package).rglob("*.py")]
    found = {str(path.relative_to(ROOT)) for path in files if pattern.search(path.read_text())}
    assert found == {"dataset/writers/encoding.py"}
