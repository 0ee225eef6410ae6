"""Places to write videos to: files, folders of JPEGs, or LMDB environments.

A video appears under its name complete or not at all, so a run that was killed is continued by asking what is there.
"""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import lmdb

from dataset.listing import below
from dataset.readers.errors import ReadError
from dataset.readers.video_file import VideoFile
from dataset.readers.video_index import build_index
from utils.files import write_atomically

LMDB_PAGE = 4096
_LEAST_FREE = 1 << 20  # bytes; about what LMDB adds to the disk for a short video


class Store(Protocol):
    """One way to keep videos below a folder, never outside of it. `parts` is what the format's encoder returned."""

    suffix: str

    def holds(self, path: str, *, num_frames: int) -> bool:
        """Say whether the video is there with all its frames."""

    def write(self, path: str, parts: Sequence[bytes]) -> None:
        """Add the video, or replace a broken one."""


@contextmanager
def _appearing_folder(target: Path) -> Iterator[Path]:
    """Give a new folder beside the target that takes the target's place when the block has succeeded."""
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
        """Take the folder of the data set."""
        self.root = root

    def holds(self, path: str, *, num_frames: int) -> bool:
        """See `Store`: the file opens and its index, the readers', has that many frames."""
        try:
            with VideoFile(self.root / below(path)) as video:
                return build_index(video).num_frames == num_frames
        except ReadError:
            return False

    def write(self, path: str, parts: Sequence[bytes]) -> None:
        """See `Store`."""
        write_atomically(self.root / below(path), lambda file: file.write(parts[0]))


class PictureStore:
    """Numbered JPEGs: of every frame one, or, with several suffixes (`_c1` and `_c2` of optical flow), one for each.

    The parts of a video are in the order of its frames, and of a frame in the order of the suffixes.
    """

    suffix = ""

    def __init__(self, root: Path, *, suffixes: Sequence[str] = ("",)) -> None:
        """Take the folder of the data set and the suffixes of a frame's pictures."""
        self.root = root
        self.suffixes = tuple(suffixes)

    def _named(self, parts: Sequence[bytes], digits: int) -> dict[str, bytes]:
        """Return the parts by name, the first frame's number being 1."""
        names = len(self.suffixes)
        return {
            f"{index // names + 1:0{digits}d}{self.suffixes[index % names]}.jpg": part
            for index, part in enumerate(parts)
        }


class FrameFolders(PictureStore):
    """FRAME: a folder a video with 00001.jpg, 00002.jpg, ..."""

    def holds(self, path: str, *, num_frames: int) -> bool:
        """See `Store`."""
        sizes = [file.stat().st_size for file in (self.root / below(path)).glob("*.jpg")]
        return len(sizes) == num_frames * len(self.suffixes) and all(sizes)

    def write(self, path: str, parts: Sequence[bytes]) -> None:
        """See `Store`."""
        with _appearing_folder(self.root / below(path)) as partial:
            for name, jpeg in self._named(parts, 5).items():
                (partial / name).write_bytes(jpeg)


class VideoEnvironments(PictureStore):
    """LMDB: an environment a video with the keys 000001.jpg, 000002.jpg, ..."""

    def holds(self, path: str, *, num_frames: int) -> bool:
        """See `Store`."""
        folder = self.root / below(path)
        if not folder.is_dir():
            return False
        try:
            with lmdb.open(str(folder), readonly=True, lock=False) as environment:
                return environment.stat()["entries"] == num_frames * len(self.suffixes)
        except lmdb.Error:
            return False

    def write(self, path: str, parts: Sequence[bytes]) -> None:
        """See `Store`."""
        with _appearing_folder(self.root / below(path)) as partial:
            _put(partial, {name.encode(): jpeg for name, jpeg in self._named(parts, 6).items()})


class OneEnvironment(PictureStore):
    """LMDB_SET: the folder is one environment for all videos, with the keys path/000001.jpg, ..."""

    def holds(self, path: str, *, num_frames: int) -> bool:
        """See `Store`: a video is one transaction, so its last frame stands for all."""
        if not (self.root / "data.mdb").exists():
            return False
        last = f"{below(path)}/{num_frames:06d}{self.suffixes[-1]}.jpg"
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
        _put(self.root, {f"{below(path)}/{name}".encode(): jpeg for name, jpeg in self._named(parts, 6).items()})


class ShardedEnvironments(PictureStore):
    """LMDB_SET in several environments: the first part of a video's path is the environment's folder."""

    def holds(self, path: str, *, num_frames: int) -> bool:
        """See `Store`."""
        shard, _, rest = below(path).partition("/")
        return self._shard(shard).holds(rest, num_frames=num_frames)

    def write(self, path: str, parts: Sequence[bytes]) -> None:
        """See `Store`."""
        shard, _, rest = below(path).partition("/")
        self._shard(shard).write(rest, parts)

    def _shard(self, name: str) -> OneEnvironment:
        return OneEnvironment(self.root / name, suffixes=self.suffixes)


PICTURE_STORES: dict[str, Callable[..., Store]] = {
    "FRAME": FrameFolders,
    "LMDB": VideoEnvironments,
    "LMDB_SET": ShardedEnvironments,
}


def is_disk_full(root: Path, error: OSError | lmdb.Error) -> bool:
    """Say whether the disk was full when a video could not be written, which LMDB may call an input/output error."""
    is_full = root.exists() and shutil.disk_usage(root).free < _LEAST_FREE
    return is_full or getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT)


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
