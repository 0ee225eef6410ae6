"""Writes the videos of the embedded data set: H.264 files, folders of JPEGs, or LMDB environments.

A video appears under its name complete or not at all, so a run that was killed is continued by asking what is there.
"""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import av
import cv2
import lmdb
import numpy as np
from numpy.typing import NDArray

from utils.files import write_atomically

Frames = NDArray[np.uint8]

FRAME_RATE = 25
JPEG_QUALITY = 95
# A key frame at least every 12 frames keeps random access cheap; the small textures need the low quantiser.
# Without macroblock trees, with which x264 now and then encodes the same frames to other bytes.
H264_OPTIONS = {"preset": "veryfast", "crf": "16", "g": "12", "threads": "1", "x264-params": "mbtree=0"}
LMDB_PAGE = 4096


def encode_h264(frames: Frames) -> list[bytes]:
    """Encode frames (uint8 [T, H, W, 3], even height and width) as one MP4 file, in memory."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=FRAME_RATE, options=H264_OPTIONS)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for picture in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return [file.getvalue()]


def encode_jpegs(frames: Frames) -> list[bytes]:
    """Encode every frame (uint8 [T, H, W, 3]) as a JPEG."""
    quality = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    return [cv2.imencode(".jpg", picture[..., ::-1], quality)[1].tobytes() for picture in frames]


class Store(Protocol):
    """One way to keep videos below a folder. `parts` is what the format's encoder returned."""

    suffix: str

    def holds(self, path: str, *, num_frames: int) -> bool:
        """Whether the video is there with all its frames."""

    def write(self, path: str, parts: Sequence[bytes]) -> None:
        """Add the video, or replace a broken one."""


@contextmanager
def _appearing_folder(target: Path) -> Iterator[Path]:
    """A new folder beside the target that takes the target's place when the block has succeeded."""
    partial = target.with_name(f".{target.name}.partial")
    if partial.exists():
        shutil.rmtree(partial)
    partial.mkdir(parents=True)
    yield partial
    if target.exists():
        shutil.rmtree(target)
    partial.rename(target)


class VideoFiles:
    """RAW: one MP4 file a video."""

    suffix = ".mp4"

    def __init__(self, root: Path) -> None:
        self.root = root

    def holds(self, path: str, *, num_frames: int) -> bool:
        """See `Store`: the file opens and has that many packets."""
        try:
            with av.open(str(self.root / path)) as container:
                return sum(packet.size > 0 for packet in container.demux(video=0)) == num_frames
        except (av.error.FFmpegError, OSError):
            return False

    def write(self, path: str, parts: Sequence[bytes]) -> None:
        """See `Store`."""
        write_atomically(self.root / path, lambda file: file.write(parts[0]))


class FrameFolders:
    """FRAME: a folder a video with 00001.jpg, 00002.jpg, ..."""

    suffix = ""

    def __init__(self, root: Path) -> None:
        self.root = root

    def holds(self, path: str, *, num_frames: int) -> bool:
        """See `Store`."""
        sizes = [file.stat().st_size for file in (self.root / path).glob("*.jpg")]
        return len(sizes) == num_frames and all(sizes)

    def write(self, path: str, parts: Sequence[bytes]) -> None:
        """See `Store`."""
        with _appearing_folder(self.root / path) as partial:
            for number, jpeg in enumerate(parts, start=1):
                (partial / f"{number:05d}.jpg").write_bytes(jpeg)


class VideoEnvironments:
    """LMDB: an environment a video with the keys 000001.jpg, 000002.jpg, ..."""

    suffix = ""

    def __init__(self, root: Path) -> None:
        self.root = root

    def holds(self, path: str, *, num_frames: int) -> bool:
        """See `Store`."""
        folder = self.root / path
        if not folder.is_dir():
            return False
        try:
            with lmdb.open(str(folder), readonly=True, lock=False) as environment:
                return environment.stat()["entries"] == num_frames
        except lmdb.Error:
            return False

    def write(self, path: str, parts: Sequence[bytes]) -> None:
        """See `Store`."""
        with _appearing_folder(self.root / path) as partial:
            _put(partial, {b"%06d.jpg" % number: jpeg for number, jpeg in enumerate(parts, start=1)})


class OneEnvironment:
    """LMDB_SET: the folder is one environment for all videos, with the keys path/000001.jpg, ..."""

    suffix = ""

    def __init__(self, root: Path) -> None:
        self.root = root

    def holds(self, path: str, *, num_frames: int) -> bool:
        """See `Store`: a video is one transaction, so its last frame stands for all."""
        if not (self.root / "data.mdb").exists():
            return False
        with lmdb.open(str(self.root), readonly=True, lock=False) as environment, environment.begin() as transaction:
            return transaction.get(f"{path}/{num_frames:06d}.jpg".encode()) is not None

    def write(self, path: str, parts: Sequence[bytes]) -> None:
        """See `Store`."""
        _put(self.root, {f"{path}/{number:06d}.jpg".encode(): jpeg for number, jpeg in enumerate(parts, start=1)})


def _put(folder: Path, items: dict[bytes, bytes]) -> None:
    """Add items to the LMDB environment of a folder in one transaction, growing its map as much as they can need."""
    data = folder / "data.mdb"
    present = data.stat().st_size if data.exists() else 0
    # A value takes whole pages, with a header; the tree and the copy-on-write of its pages take a few more.
    pages = sum(len(value) // LMDB_PAGE + 2 for value in items.values()) + 256
    map_size = present + pages * LMDB_PAGE
    with (
        lmdb.open(str(folder), map_size=map_size, lock=False) as environment,
        environment.begin(write=True) as transaction,
    ):
        for key, value in items.items():
            transaction.put(key, value)


FORMATS: dict[str, tuple[Callable[[Path], Store], Callable[[Frames], list[bytes]]]] = {
    "RAW": (VideoFiles, encode_h264),
    "FRAME": (FrameFolders, encode_jpegs),
    "LMDB": (VideoEnvironments, encode_jpegs),
    "LMDB_SET": (OneEnvironment, encode_jpegs),
}
