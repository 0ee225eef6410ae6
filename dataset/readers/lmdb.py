"""JPEG frames in LMDB: an environment per video, or environments of many videos."""

import struct
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import lmdb

from dataset.readers.errors import ReadError
from dataset.readers.frame_reader import FrameReader
from dataset.readers.images import Naming, NumberedImageReader, find_naming

# The first two pages of an environment are its meta pages; the one of the newer transaction is valid. Behind a page's
# header of 16 bytes is lmdb's MDB_meta (64-bit layout): magic number, version, address, map size, the records of two
# trees (the first begins with the page size), number of the last page, number of the transaction.
_META = struct.Struct("<II QQ I44x 48x QQ")
_META_PLACE = 16
_MAGIC = 0xBEEFC0DE


class LmdbStore:
    """JPEGs under the keys 000001.jpg, 000002.jpg, ... (flow: 000001_c1.jpg and 000001_c2.jpg, ...).

    Three forms are read: `root/video` is an LMDB environment (folder or single file) of one video; the root itself is
    the environment of all videos, with keys `video/000001.jpg`; or the first part of a video's path is an environment
    (a shard, a folder of the root), with the rest of the path as the prefix of its keys.

    Keys of five digits, and keys counted from 0, are detected.
    """

    def __init__(self, root_path: str | Path) -> None:
        """Use the root of relative list paths, or one environment that holds all videos."""
        self._root = Path(root_path)
        self._shared = self._root.is_file() or (self._root / "data.mdb").is_file()

    def images(self, video: str, numbers: Iterable[int], suffix: str) -> list[bytes | None]:
        """See ImageStore."""
        path, prefix = self._split(video)
        with _reading(path) as transaction:
            naming = _naming(transaction, path, prefix, suffix=suffix)
            return [transaction.get(f"{prefix}{naming.name(number, suffix)}".encode()) for number in numbers]

    def count(self, video: str, suffix: str) -> int:
        """See ImageStore; the last key has the highest number, as keys are sorted and have equally many digits."""
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
        """See ImageStore; gives the environment and the key."""
        path, prefix = self._split(video)
        with _reading(path) as transaction:
            return f"{path}, key {prefix}{_naming(transaction, path, prefix, suffix=suffix).name(number, suffix)}"

    def _split(self, video: str) -> tuple[Path, str]:
        """Return the environment of a video, and the prefix of its keys there."""
        if self._shared:
            return self._root, f"{video}/"
        first, slash, rest = video.partition("/")
        if slash and first and (self._root / first / "data.mdb").is_file():  # `first` is empty for an absolute path
            return self._root / first, f"{rest}/"
        return self._root / video, ""


def _naming(transaction: lmdb.Transaction, path: Path, prefix: str, *, suffix: str) -> Naming:
    """Return how the keys of a video are numbered."""

    def holds(name: str) -> bool:
        return transaction.get(f"{prefix}{name}".encode()) is not None

    return find_naming(holds, suffix, usual=Naming(6, 1), place=f"{path}, keys {prefix}*")


def open_lmdb(root_path: str | Path, *, use_flow: bool, max_pixels: int) -> FrameReader:
    """Return a reader of JPEGs in LMDB environments."""
    return NumberedImageReader(LmdbStore(root_path), use_flow=use_flow, max_pixels=max_pixels)


@contextmanager
def _reading(path: Path) -> "Iterator[lmdb.Transaction[bytes]]":
    """Open an environment and yield a read transaction.

    It is closed after each read: lmdb refuses to open an environment twice in a process, and a forked process must not
    use its parent's.

    Raises:
        ReadError: The environment does not exist or is damaged; damage may show at any read inside the block.
    """
    file = path / "data.mdb" if path.is_dir() else path
    _require_whole(path, file)
    try:
        # lock=False: nothing may write meanwhile. readahead=False: else a cold read fetches 19 bytes per byte used.
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
    """Require that a file is not truncated: reading a memory map beyond the end of its file kills the process.

    Raises:
        ReadError: The file is truncated.
    """
    try:
        with file.open("rb") as stream:
            first = _META.unpack(stream.read(_META_PLACE + _META.size)[_META_PLACE:])
            if first[0] != _MAGIC:
                return  # lmdb reports the error when it opens the file
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
