"""Numbered pictures in LMDB: an environment for each video, or one for a whole data set."""

import os
from collections.abc import Iterable
from pathlib import Path

import lmdb

from dataset.readers.caching import BoundedCache
from dataset.readers.errors import ReadError
from dataset.readers.frame_reader import FrameReader
from dataset.readers.images import NumberedImageReader

# Every open environment takes a file descriptor or two and a memory map, and 1,024 descriptors are a common limit.
_OPEN_ENVIRONMENTS = 128


class LmdbStore:
    """JPEGs under the keys 000001.jpg, 000002.jpg, ... (flow 000001_c1.jpg and 000001_c2.jpg, ...).

    Either `root/video` is an LMDB environment (folder or single file), or the root is one itself, and keys are preceded
    by the video's path and a slash. A data set of several environments has a folder of the root for each: the first
    part of a video's path is the environment, the rest of it precedes the keys.
    """

    def __init__(self, root_path: str | Path) -> None:
        self._root = Path(root_path)
        self._shared = self._root.is_file() or (self._root / "data.mdb").is_file()
        self._shards: dict[str, bool] = {}

    def images(self, video: str, numbers: Iterable[int], suffix: str) -> list[bytes | None]:
        """Fetch the values, None for a key that is not there."""
        path = self._environment_path(video)
        try:
            with _open(path).begin() as transaction:
                return [transaction.get(self._key(video, number, suffix)) for number in numbers]
        except lmdb.Error as error:
            raise _unreadable(path, error) from None

    def last_number(self, video: str, suffix: str) -> int:
        """The highest number of a key: keys are sorted, and numbers have as many digits each."""
        with _open(self._environment_path(video)).begin() as transaction, transaction.cursor() as cursor:
            prefix = self._prefix(video)
            found = cursor.set_range(prefix + b":")  # the first character after the digits
            found = cursor.prev() if found else cursor.last()
            ending = f"{suffix}.jpg".encode()
            while found and bytes(cursor.key()).startswith(prefix):
                digits = bytes(cursor.key()).removeprefix(prefix).removesuffix(ending)
                if digits.isdigit():
                    return int(digits)
                found = cursor.prev()
        return 0

    def describe(self, video: str, number: int, suffix: str) -> str:
        """The environment and the key."""
        return f"{self._environment_path(video)}, key {self._key(video, number, suffix).decode()}"

    def close(self) -> None:
        """Close every environment that this process has open; they are shared between readers."""
        self._shards.clear()
        _environments.clear()

    def _split(self, video: str) -> tuple[Path, str]:
        """The environment that holds a video, and what precedes the video's keys in it."""
        if self._shared:
            return self._root, f"{video}/"
        first, slash, rest = video.partition("/")
        if slash and first:  # an absolute path has no first part
            if first not in self._shards:
                self._shards[first] = (self._root / first / "data.mdb").is_file()
            if self._shards[first]:
                return self._root / first, f"{rest}/"
        return self._root / video, ""

    def _environment_path(self, video: str) -> Path:
        return self._split(video)[0]

    def _prefix(self, video: str) -> bytes:
        return self._split(video)[1].encode()

    def _key(self, video: str, number: int, suffix: str) -> bytes:
        return self._prefix(video) + f"{number:06d}{suffix}.jpg".encode()


def open_lmdb(root_path: str | Path, *, use_flow: bool) -> FrameReader:
    """Return the reader of JPEGs in LMDB environments below a root."""
    return NumberedImageReader(LmdbStore(root_path), use_flow=use_flow)


# LMDB refuses to open an environment twice in one process, so open ones belong to the process, not to a reader.
_environments: BoundedCache[lmdb.Environment] = BoundedCache(
    _OPEN_ENVIRONMENTS, dispose=lambda environment: environment.close()
)
_owner = os.getpid()


def _open(path: Path) -> lmdb.Environment:
    """The open environment at a path, opened if need be.

    Raises:
        ReadError: there is none, or it is damaged.
    """
    global _owner
    if _owner != os.getpid():
        # A forked worker must not use its parent's environments, and closing its own copy is what lets it open them.
        _environments.clear()
        _owner = os.getpid()
    key = path.resolve()
    environment = _environments.get(key)
    if environment is None:
        try:
            # Without locks nobody may write meanwhile; with read-ahead a cold read fetches 19 bytes for every one used.
            environment = lmdb.open(
                str(key), subdir=key.is_dir(), readonly=True, create=False, lock=False, readahead=False
            )
        except lmdb.Error as error:
            raise _unreadable(path, error) from None
        _environments.put(key, environment)
    return environment


def _unreadable(path: Path, error: lmdb.Error) -> ReadError:
    cause = str(error).removeprefix(f"{path.resolve()}: ")
    return ReadError(f"cannot read the LMDB environment {path}: {cause}")
