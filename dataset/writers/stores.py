"""Stores that videos are written to: video files, folders of JPEGs, or LMDB environments.

Every video is written atomically, so a killed conversion continues with the videos that are not stored yet.
"""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import lmdb

from dataset.listing import relative_path
from dataset.readers.errors import ReadError
from dataset.readers.video_file import VideoFile
from dataset.readers.video_index import build_index
from utils.files import name_beside, write_atomically

LMDB_PAGE = 4096
_LEAST_FREE = 1 << 20  # free bytes below which the disk counts as full; about what LMDB adds for a short video


class Store(Protocol):
    """A store of encoded videos below a folder, never outside it; `parts` are the results of the format's encoder."""

    suffix: str

    def holds(self, path: str, *, num_frames: int) -> bool:
        """Return whether the video is stored with all its frames."""

    def write(self, path: str, parts: Sequence[bytes]) -> None:
        """Add the video, or replace an incomplete one."""


@contextmanager
def _replacing_folder(target: Path) -> Iterator[Path]:
    """Yield a new temporary folder that replaces the target if the block succeeds."""
    partial = name_beside(target, ".partial")
    if partial.exists():
        shutil.rmtree(partial)
    partial.mkdir(parents=True)
    yield partial
    if target.exists():
        shutil.rmtree(target)
    partial.rename(target)


class VideoFiles:
    """RAW: an MP4 file per video."""

    suffix = ".mp4"

    def __init__(self, root: Path) -> None:
        """Use a dataset's root folder."""
        self.root = root

    def holds(self, path: str, *, num_frames: int) -> bool:
        """See `Store`; counts the frames with the index of the readers."""
        try:
            with VideoFile(self.root / relative_path(path)) as video:
                return build_index(video).num_frames == num_frames
        except ReadError:
            return False

    def write(self, path: str, parts: Sequence[bytes]) -> None:
        """See `Store`."""
        write_atomically(self.root / relative_path(path), lambda file: file.write(parts[0]))


class PictureStore:
    """Base of the stores of numbered JPEGs: one per frame and suffix (`_c1` and `_c2` for optical flow).

    The parts of a video are ordered by frame, then by suffix.
    """

    suffix = ""

    def __init__(self, root: Path, *, suffixes: Sequence[str] = ("",)) -> None:
        """Use a dataset's root folder, and these suffixes of image names."""
        self.root = root
        self.suffixes = tuple(suffixes)

    def _named(self, parts: Sequence[bytes], digits: int) -> dict[str, bytes]:
        """Return the parts by image name, numbered from 1."""
        names = len(self.suffixes)
        return {
            f"{index // names + 1:0{digits}d}{self.suffixes[index % names]}.jpg": part
            for index, part in enumerate(parts)
        }


class FrameFolders(PictureStore):
    """FRAME: a folder per video with 00001.jpg, 00002.jpg, ..."""

    def holds(self, path: str, *, num_frames: int) -> bool:
        """See `Store`."""
        sizes = [file.stat().st_size for file in (self.root / relative_path(path)).glob("*.jpg")]
        return len(sizes) == num_frames * len(self.suffixes) and all(sizes)

    def write(self, path: str, parts: Sequence[bytes]) -> None:
        """See `Store`."""
        with _replacing_folder(self.root / relative_path(path)) as partial:
            for name, jpeg in self._named(parts, 5).items():
                (partial / name).write_bytes(jpeg)


class VideoEnvironments(PictureStore):
    """LMDB: an environment per video with the keys 000001.jpg, 000002.jpg, ..."""

    def holds(self, path: str, *, num_frames: int) -> bool:
        """See `Store`."""
        folder = self.root / relative_path(path)
        if not folder.is_dir():
            return False
        try:
            with lmdb.open(str(folder), readonly=True, lock=False) as environment:
                return environment.stat()["entries"] == num_frames * len(self.suffixes)
        except lmdb.Error:
            return False

    def write(self, path: str, parts: Sequence[bytes]) -> None:
        """See `Store`."""
        with _replacing_folder(self.root / relative_path(path)) as partial:
            _put(partial, {name.encode(): jpeg for name, jpeg in self._named(parts, 6).items()})


class OneEnvironment(PictureStore):
    """LMDB_SET: one environment, the root folder, for all videos, with the keys path/000001.jpg, ..."""

    def holds(self, path: str, *, num_frames: int) -> bool:
        """See `Store`; looks for the last frame only, as a video is written in one transaction."""
        if not (self.root / "data.mdb").exists():
            return False
        last = f"{relative_path(path)}/{num_frames:06d}{self.suffixes[-1]}.jpg"
        try:
            with (
                lmdb.open(str(self.root), readonly=True, lock=False) as environment,
                environment.begin() as transaction,
            ):
                return transaction.get(last.encode()) is not None
        except lmdb.Error:
            return False

    def write(self, path: str, parts: Sequence[bytes]) -> None:
        """See `Store`."""
        self.root.mkdir(parents=True, exist_ok=True)
        _put(
            self.root, {f"{relative_path(path)}/{name}".encode(): jpeg for name, jpeg in self._named(parts, 6).items()}
        )


class ShardedEnvironments(PictureStore):
    """LMDB_SET with several environments: the first part of a video's path is the folder of its environment."""

    def holds(self, path: str, *, num_frames: int) -> bool:
        """See `Store`."""
        shard, _, rest = relative_path(path).partition("/")
        return self._shard(shard).holds(rest, num_frames=num_frames)

    def write(self, path: str, parts: Sequence[bytes]) -> None:
        """See `Store`."""
        shard, _, rest = relative_path(path).partition("/")
        self._shard(shard).write(rest, parts)

    def _shard(self, name: str) -> OneEnvironment:
        return OneEnvironment(self.root / name, suffixes=self.suffixes)


PICTURE_STORES: dict[str, Callable[..., Store]] = {
    "FRAME": FrameFolders,
    "LMDB": VideoEnvironments,
    "LMDB_SET": ShardedEnvironments,
}


def is_disk_full(root: Path, error: OSError | lmdb.Error) -> bool:
    """Return whether a write failed because the disk is full, which LMDB may report as an input/output error."""
    is_full = root.exists() and shutil.disk_usage(root).free < _LEAST_FREE
    return is_full or getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT)


def _put(folder: Path, items: dict[bytes, bytes]) -> None:
    """Add items to the LMDB environment of a folder in one transaction, with a map that is large enough for them."""
    data = folder / "data.mdb"
    present = data.stat().st_size if data.exists() else 0
    # A value with its header takes whole pages; the tree, with copy-on-write of its pages, takes a few more.
    pages = sum(len(value) // LMDB_PAGE + 2 for value in items.values()) + 256
    map_size = present + pages * LMDB_PAGE
    with (
        lmdb.open(str(folder), map_size=map_size, lock=False) as environment,
        environment.begin(write=True) as transaction,
    ):
        for key, value in items.items():
            transaction.put(key, value)
