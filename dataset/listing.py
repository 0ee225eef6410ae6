"""List files: one video per line, `path num_frames label`, stored as packed arrays that loader workers share."""

import hashlib
import json
import operator
import posixpath
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, SupportsIndex, overload

import numpy as np

from utils.errors import UserError

if TYPE_CHECKING:  # merging scores needs lists but not torch, whose import takes seconds
    import torch

CLASSES_FILE = "classes.txt"
OWN_CLASSES_SUFFIX = ".classes.txt"  # X_list.classes.txt, for lists of several datasets in one folder
FINGERPRINT_SUFFIX = ".fingerprint.json"  # X_list.fingerprint.json: how the list was made
FRAME_RATE = "frame_rate"  # its key for the frame rate of all videos, frames per second
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_LARGEST = np.iinfo(np.int32).max
_SEGMENT = re.compile(r"(.+)#skip=([0-9]{1,10})", re.DOTALL)


class ListError(UserError):
    """An unusable list file; the message names the file, the line and the problem."""


@dataclass(frozen=True, slots=True)
class VideoRecord:
    """One line of a list.

    A path that ends in `#skip=N` is a segment: the first N frames of the video are skipped, and `num_frames` counts
    from there.

    Attributes:
        path: Path of the video, relative to the dataset's root.
        num_frames: Length of the video or segment, frames.
        label: Class index, from 0.
    """

    path: str
    num_frames: int
    label: int

    @property
    def line(self) -> str:
        """The line as written to a list file, with its newline."""
        return f"{self.path} {self.num_frames} {self.label}\n"


def split_segment(path: str) -> tuple[str, int]:
    """Return the video's path and the number of skipped frames: 'a.mp4#skip=90' gives ('a.mp4', 90)."""
    match = _SEGMENT.fullmatch(path)
    return (match[1], int(match[2])) if match else (path, 0)


def segment_path(path: str, skipped: int) -> str:
    """Return the path of the segment that skips the first `skipped` frames of a video."""
    return f"{path}#skip={skipped}"


class VideoList(Sequence[VideoRecord]):
    """The videos of a list file, packed in four arrays: path bytes, path ends, frame counts, labels.

    A Python list of 240,000 paths takes some 30 MB, and reference counting soon copies its pages into every forked
    worker. Arrays are never written to, so forked workers share them. When the list is pickled for spawned workers, the
    arrays move to shared memory once, and every worker maps the same pages.

    Attributes:
        num_frames: Listed length of every video, frames, int32 [N].
        labels: Class index of every video, int32 [N].
        path: The list file.
        sha256: Hexadecimal digest of the list file.
    """

    def __init__(self, arrays: Sequence[np.ndarray], *, path: str, sha256: str) -> None:
        """Keep the arrays without a copy.

        Args:
            arrays: Path bytes, uint8 [B]; exclusive end of each path in them, int64 [N]; frame counts and labels,
                int32 [N].
            path: The list file.
            sha256: Hexadecimal digest of the list file.
        """
        self._bytes, self._ends, self.num_frames, self.labels = arrays
        self.path = path
        self.sha256 = sha256

    def __len__(self) -> int:
        """Return the number of videos."""
        return len(self._ends)

    @overload
    def __getitem__(self, index: SupportsIndex) -> VideoRecord: ...
    @overload
    def __getitem__(self, index: slice) -> list[VideoRecord]: ...
    def __getitem__(self, index: SupportsIndex | slice) -> VideoRecord | list[VideoRecord]:
        """Return the video at an index, or those of a slice."""
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        position = range(len(self))[operator.index(index)]
        start = int(self._ends[position - 1]) if position else 0
        path = self._bytes[start : int(self._ends[position])].tobytes().decode()
        return VideoRecord(path, int(self.num_frames[position]), int(self.labels[position]))

    def path_of(self, index: int) -> str:
        """Return the path of the video at an index."""
        return self[index].path

    def subset(self, indices: np.ndarray) -> "VideoList":
        """Return the videos at these indices, in this order, as a list with a digest of its own."""
        starts = np.concatenate([[0], self._ends[:-1]])
        pieces = [self._bytes[starts[i] : self._ends[i]] for i in indices]
        arrays = (
            np.concatenate([*pieces, np.empty(0, np.uint8)]),
            np.cumsum([len(piece) for piece in pieces], dtype=np.int64),
            self.num_frames[indices],
            self.labels[indices],
        )
        chosen = np.asarray(indices, dtype="<i8").tobytes()
        return VideoList(arrays, path=self.path, sha256=hashlib.sha256(self.sha256.encode() + chosen).hexdigest())

    def __reduce__(self) -> tuple:
        """Move the arrays to shared memory, so that other processes map them instead of copying."""
        import torch  # takes 2 s, which a process that only reads a list need not wait

        # torch pickles a shared tensor by reference for another process, by value for a plain pickle.
        arrays = (self._bytes, self._ends, self.num_frames, self.labels)
        tensors = [torch.from_numpy(array).share_memory_() for array in arrays]
        self._bytes, self._ends, self.num_frames, self.labels = (tensor.numpy() for tensor in tensors)
        return _from_tensors, (tensors, self.path, self.sha256)


def _from_tensors(tensors: "list[torch.Tensor]", path: str, sha256: str) -> VideoList:
    return VideoList([tensor.numpy() for tensor in tensors], path=path, sha256=sha256)


def relative_path(path: str) -> str:
    """Return a list path as a normalized path relative to an output folder: 'a/../b' is 'b', '/x' is 'x'.

    Raises:
        ListError: It would lie outside the folder, or be the folder itself.
    """
    name = posixpath.normpath(path).lstrip("/")
    if name in ("", ".", "..") or name.startswith("../"):
        raise ListError(f"'{path}' leads out of the root of the videos; nothing is written there, so leave it out")
    return name


def read_list(
    path: str | Path, *, num_classes: int | None = None, check_path: Callable[[str], object] | None = None
) -> VideoList:
    """Read and check a list file.

    A line is `path num_frames label`, split from the right, so that a path may hold spaces; paths are UTF-8. A byte
    order mark, any line ending, a missing final newline and blank lines are fine.

    Args:
        path: The list file.
        num_classes: Where given, labels must lie in 0..num_classes-1.
        check_path: Called with every path, without `#skip=N`; a ListError that it raises gets file and line prepended.

    Raises:
        ListError: The file cannot be read, or a line is invalid; the message names the first such line.
    """
    name = str(path)
    content, lines = _read_lines(name, what="the list ")
    paths: list[bytes] = []
    num_frames: list[int] = []
    labels: list[int] = []
    highest = _LARGEST if num_classes is None else num_classes - 1
    # The fast path, 0.2 s for 240,000 lines; _fault finds out what is wrong with an invalid line.
    for number, line in enumerate(lines, start=1):
        columns = line.rsplit(None, 2)
        if len(columns) == 3 and columns[1].isdigit() and columns[2].isdigit():
            frames, label = int(columns[1]), int(columns[2])
            if 0 < frames <= _LARGEST and label <= highest:
                if check_path is not None:
                    _check(columns[0], check_path, where=f"{name}, line {number}")
                paths.append(columns[0])
                num_frames.append(frames)
                labels.append(label)
                continue
        if columns:
            raise ListError(f"{name}, line {number}: {_fault(columns, num_classes=num_classes)}")
    if not paths:
        raise ListError(f"{name} lists no videos: every line should be 'path num_frames label'")
    return VideoList(_pack(paths, num_frames, labels), path=name, sha256=hashlib.sha256(content).hexdigest())


def list_of(records: Iterable[VideoRecord], *, path: str) -> VideoList:
    """Return an in-memory list; `path` names it in messages, and its digest is that of its lines."""
    videos = list(records)
    content = "".join(video.line for video in videos).encode()
    arrays = _pack(
        [video.path.encode() for video in videos],
        [video.num_frames for video in videos],
        [video.label for video in videos],
    )
    return VideoList(arrays, path=path, sha256=hashlib.sha256(content).hexdigest())


def _pack(paths: list[bytes], num_frames: list[int], labels: list[int]) -> tuple[np.ndarray, ...]:
    return (
        np.frombuffer(bytearray(b"".join(paths)), dtype=np.uint8),
        np.cumsum([len(video) for video in paths], dtype=np.int64),
        np.array(num_frames, dtype=np.int32),
        np.array(labels, dtype=np.int32),
    )


def _check(path: bytes, check_path: Callable[[str], object], *, where: str) -> None:
    try:
        check_path(split_segment(path.decode())[0])
    except ListError as error:
        raise ListError(f"{where}: {error}") from None


def _read_lines(name: str, *, what: str = "") -> tuple[bytes, list[bytes]]:
    """Return the bytes and the lines of a UTF-8 text file without NUL bytes.

    Raises:
        ListError: The file cannot be read, is not UTF-8, or holds a NUL byte.
    """
    try:
        content = Path(name).read_bytes()
    except OSError as error:
        raise ListError(f"cannot read {what}{name}: {error.strerror}") from None
    try:
        content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ListError(f"{name}, line {line}: not UTF-8 text (byte 0x{content[error.start]:02x})") from None
    if b"\0" in content:
        line = content.count(b"\n", 0, content.index(b"\0")) + 1
        raise ListError(f"{name}, line {line}: not a text file (holds a NUL byte)")
    text = content.removeprefix(_BYTE_ORDER_MARK).replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return content, text.split(b"\n")


def read_text_lines(path: str | Path) -> list[str]:
    """Return the lines of a UTF-8 text file, without byte order mark, line endings and trailing blank lines.

    Raises:
        ListError: The file cannot be read, is not UTF-8, or holds a NUL byte.
    """
    lines = [line.decode() for line in _read_lines(str(path))[1]]
    while lines and not lines[-1].strip():
        lines.pop()
    return lines


def _fault(columns: list[bytes], *, num_classes: int | None) -> str:
    """Return what is wrong with the columns of an invalid line."""
    text = b" ".join(columns).decode()
    shown = text if len(text) <= 80 else f"{text[:77]}..."
    if len(columns) < 3:
        return f"expected 'path num_frames label', found '{shown}'"
    for column, title in zip(columns[1:], ("num_frames", "label"), strict=True):
        if not column.removeprefix(b"-").isdigit():
            return f"{title} '{column.decode()}' is not an integer in '{shown}'"
    num_frames, label = int(columns[1]), int(columns[2])
    if not 0 < num_frames <= _LARGEST:
        return f"num_frames {num_frames} is outside 1..{_LARGEST}"
    if num_classes is None:
        return f"label {label} is outside 0..{_LARGEST}"
    return f"label {label} is outside 0..{num_classes - 1} (num_classes {num_classes})"


def read_fingerprint(list_file: str | Path) -> dict[str, Any]:
    """Return the contents of a list's fingerprint file; empty without one.

    Raises:
        ListError: The file cannot be read.
    """
    path = Path(list_file).with_suffix(FINGERPRINT_SUFFIX)
    try:
        content = json.loads("\n".join(read_text_lines(path))) if path.exists() else {}
    except json.JSONDecodeError as error:
        raise ListError(f"{path}: cannot be read ({error}); move it away, or make the list again") from None
    return content if isinstance(content, dict) else {}


def _class_file(list_file: str | Path) -> Path:
    own = Path(list_file).with_suffix(OWN_CLASSES_SUFFIX)
    return own if own.exists() else own.with_name(CLASSES_FILE)


def class_names_beside(list_file: str | Path) -> list[str]:
    """Read the class names of a list: line i of X.classes.txt beside X.txt, or of classes.txt, is the name of class i.

    Returns:
        The names; empty if neither file exists.

    Raises:
        ListError: The file is not UTF-8 text.
    """
    path = _class_file(list_file)
    return [line.strip() for line in read_text_lines(path)] if path.exists() else []


def read_class_names(list_file: str | Path, num_classes: int) -> list[str]:
    """Read the class names of a list; without a file of names, the names are the class indices.

    Raises:
        ListError: The file is not UTF-8 text, or has another number of names.
    """
    path = _class_file(list_file)
    if not path.exists():
        return [str(number) for number in range(num_classes)]
    names = class_names_beside(list_file)
    if len(names) != num_classes:
        raise ListError(f"{path}: {len(names)} names for dataset.num_classes {num_classes}; line i names class i")
    return names
