"""Encoders and stores of the embedded dataset, by format."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dataset.writers.encoding import encode_h264, encode_jpeg
from dataset.writers.stores import FrameFolders, OneEnvironment, Store, VideoEnvironments, VideoFiles

Frames = NDArray[np.uint8]

FRAME_RATE = 25  # frames per second
JPEG_QUALITY = 95
# A key frame at least every 12 frames keeps random access cheap; the small textures need the low CRF. mbtree=0, as with
# macroblock trees x264 sometimes encodes the same frames to different bytes.
H264_OPTIONS = {"preset": "veryfast", "crf": "16", "g": "12", "threads": "1", "x264-params": "mbtree=0"}


def encode_video(frames: Frames) -> list[bytes]:
    """Encode frames, uint8 [T, H, W, 3] of even height and width, as one MP4 file in memory."""
    return [encode_h264(frames, rate=FRAME_RATE, options=H264_OPTIONS)]


def encode_jpegs(frames: Frames) -> list[bytes]:
    """Encode every frame of uint8 [T, H, W, 3] as a JPEG."""
    return [encode_jpeg(picture, JPEG_QUALITY) for picture in frames]


FORMATS: dict[str, tuple[Callable[[Path], Store], Callable[[Frames], list[bytes]]]] = {
    "RAW": (VideoFiles, encode_video),
    "FRAME": (FrameFolders, encode_jpegs),
    "LMDB": (VideoEnvironments, encode_jpegs),
    "LMDB_SET": (OneEnvironment, encode_jpegs),
}
