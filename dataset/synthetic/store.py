"""How the videos of the embedded data set are encoded, and where each format puts them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dataset.writers.encoding import encode_h264, encode_jpeg
from dataset.writers.stores import FrameFolders, OneEnvironment, Store, VideoEnvironments, VideoFiles

Frames = NDArray[np.uint8]

FRAME_RATE = 25
JPEG_QUALITY = 95
# A key frame at least every 12 frames keeps random access cheap; the small textures need the low quantizer.
# Without macroblock trees, with which x264 now and then encodes the same frames to other bytes.
H264_OPTIONS = {"preset": "veryfast", "crf": "16", "g": "12", "threads": "1", "x264-params": "mbtree=0"}


def encode_video(frames: Frames) -> list[bytes]:
    """Encode frames (uint8 [T, H, W, 3], even height and width) as one MP4 file, in memory."""
    return [encode_h264(frames, rate=FRAME_RATE, options=H264_OPTIONS)]


def encode_jpegs(frames: Frames) -> list[bytes]:
    """Encode every frame (uint8 [T, H, W, 3]) as a JPEG."""
    return [encode_jpeg(picture, JPEG_QUALITY) for picture in frames]


FORMATS: dict[str, tuple[Callable[[Path], Store], Callable[[Frames], list[bytes]]]] = {
    "RAW": (VideoFiles, encode_video),
    "FRAME": (FrameFolders, encode_jpegs),
    "LMDB": (VideoEnvironments, encode_jpegs),
    "LMDB_SET": (OneEnvironment, encode_jpegs),
}
