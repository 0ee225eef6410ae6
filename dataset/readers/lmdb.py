"""Numbered pictures in LMDB: an environment for each video, or one for a whole data set."""

import struct
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import lmdb

from dataset.readers.errors import ReadError
from dataset.readers.frame_reader import FrameReader
from dataset.readers.images import Naming, NumberedImageReader, find_naming

# The two first pages of an environment say what it holds, the newer one counts; behind a page's header of 16 bytes are
# (lmdb's MDB_meta where addresses are 64 bits): a magic number, version, address, size of the map, the records of two
# trees (the first begins with the size of a page), number of the last page, number of the transaction.
_META = struct.Struct("<II QQ I44x 48x QQ")
_META_PLACE = 16
_MAGIC = 0xBEEFC0DE


class LmdbStore:
    """JPEGs under the keys 000001.jpg, 000002.jpg, ... (flow 000001_c1.jpg and 000001_c2.jpg, ...).

    Either `root/video` is an LMDB environment (folder or single file), or the root is one itself, and keys are preceded
    by the video's path and a slash. A data set of several environments has a folder of the root for each: the first
    part of a video's path is the environment, the rest of it precedes the keys.

    Five digits, and numbers from 0, are recognized by the keys.
    """

    def __init__(self, root_path: str | Path) -> None:
        """Take the folder that the paths of records are relative to, or the one environment."""
        self._root = Path(root_path)
        self._shared = self._root.is_file() or (self._root / "data.mdb").is_file()

    def images(self, video: str, numbers: Iterable[int], suffix: str) -> list[bytes | None]:
        """Fetch the values, None for a key that is not there."""
        path, prefix = self._split(video)
        with _reading(path) as transaction:
            naming = _naming(transaction, path, prefix, suffix=suffix)
            return [transaction.get(f"{prefix}{naming.name(number, suffix)}".encode()) for number in numbers]

    def count(self, video: str, suffix: str) -> int:
        """Return the number of frames by the highest number of a key: keys are sorted, and have as many digits each."""
        path, prefix = self._split(video)
        with _reading(path) as transaction, transaction.cursor() as cursor:
            first = _naming(transaction, path, prefix, suffix=suffix).first
            start = prefix.encode()
            found = cursor.set_range(start + b":")  # the first character after the digits
            found = cursor.prev() if found else cursor.last()
            ending = f"{suffix}.jpg".encode()
            while found and bytes(cursor.key()).startswith(start):
                digits = bytes(cursor.key()).removeprefix(start).removesuffix(ending)
                if digits.isdigit():
                    return int(digits) + 1 - first
                found = cursor.prev()
        return 0

    def describe(self, video: str, number: int, suffix: str) -> str:
        """Return the environment and the key."""
        path, prefix = self._split(video)
        with _reading(path) as transaction:
            return f"{path}, key {prefix}{_naming(transaction, path, prefix, suffix=suffix).name(number, suffix)}"

    def _split(self, video: str) -> tuple[Path, str]:
        """Return the environment that holds a video, and what precedes the video's keys in it."""
        if self._shared:
            return self._root, f"{video}/"
        first, slash, rest = video.partition("/")
        if slash and first and (self._root / first / "data.mdb").is_file():  # an absolute path has no first part
            return self._root / first, f"{rest}/"
        return self._root / video, ""


def _naming(transaction: lmdb.Transaction, path: Path, prefix: str, *, suffix: str) -> Naming:
    """Find out how the keys of a video go on behind its prefix."""

    def holds(name: str) -> bool:
        return transaction.get(f"{prefix}{name}".encode()) is not None

    return find_naming(holds, suffix, usual=Naming(6, 1), place=f"{path}, keys {prefix}*")


def open_lmdb(root_path: str | Path, *, use_flow: bool, max_pixels: int) -> FrameReader:
    """Return the reader of JPEGs in LMDB environments below a root."""
    return NumberedImageReader(LmdbStore(root_path), use_flow=use_flow, max_pixels=max_pixels)


@contextmanager
def _reading(path: Path) -> "Iterator[lmdb.Transaction[bytes]]":
    """Open an environment and give a transaction of it.

    It is closed behind each read: lmdb refuses to open one twice in a process, and a fork must not use its parent's.

    Raises:
        ReadError: There is none, or it is damaged, which may show anywhere in it.
    """
    file = path / "data.mdb" if path.is_dir() else path
    _require_whole(path, file)
    try:
        # Without locks nobody may write meanwhile; with read-ahead a cold read fetches 19 bytes for every one used.
        with (
            lmdb.open(
                str(path), subdir=file != path, readonly=True, create=False, lock=False, readahead=False
            ) as environment,
            environment.begin() as transaction,
        ):
            yield transaction
    except lmdb.Error as error:
        cause = str(error).removeprefix(f"{path}: ")
        raise ReadError(f"cannot read the LMDB environment {path}: {cause}") from None


def _require_whole(path: Path, file: Path) -> None:
    """Refuse a file that is shorter than it says: the system ends a process that reads a map behind a file's end.

    Raises:
        ReadError: It is truncated.
    """
    try:
        with file.open("rb") as stream:
            first = _META.unpack(stream.read(_META_PLACE + _META.size)[_META_PLACE:])
            if first[0] != _MAGIC:
                return  # lmdb says what is wrong
            page = first[4]
            stream.seek(page)
            second = _META.unpack(stream.read(_META_PLACE + _META.size)[_META_PLACE:])
            size = file.stat().st_size
    except (OSError, struct.error):
        return
    *_, last_page, _ = max(first, second, key=lambda meta: meta[-1])
    needed = page * (last_page + 1)
    if size < needed:
        cause = f"{file.name} is truncated, {size} bytes of {needed}; copy or convert it again"
        raise ReadError(f"cannot read the LMDB environment {path}: {cause}")
