"""List files: one video a line, `path num_frames label`, kept packed so that loader workers do not multiply them."""

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

if TYPE_CHECKING:  # merging scores reads lists and does without torch, which takes seconds to import
    import torch

CLASSES_FILE = "classes.txt"
OWN_CLASSES_SUFFIX = ".classes.txt"  # of X_list.txt, where several data sets have their lists in one folder
FINGERPRINT_SUFFIX = ".fingerprint.json"  # what a list was made of, beside it
FRAME_RATE = "frame_rate"  # in there: frames a second of all its videos
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_LARGEST = np.iinfo(np.int32).max
_SEGMENT = re.compile(r"(.+)#skip=([0-9]{1,10})", re.DOTALL)


class ListError(UserError):
    """A list file that cannot be used; the message names the file, the line and what is wrong with it."""


@dataclass(frozen=True, slots=True)
class VideoRecord:
    """One line of a list: where the video is (below the data set's root), its length in frames and its class.

    A path that ends in `#skip=N` is a segment: the first N frames of the video are skipped, and `num_frames` counts
    from there.
    """

    path: str
    num_frames: int
    label: int

    @property
    def line(self) -> str:
        """The line, with its newline."""
        return f"{self.path} {self.num_frames} {self.label}\n"


def split_segment(path: str) -> tuple[str, int]:
    """Return the path of the video itself and how many of its frames are skipped ('a.mp4#skip=90': 'a.mp4', 90)."""
    match = _SEGMENT.fullmatch(path)
    return (match[1], int(match[2])) if match else (path, 0)


def segment_path(path: str, skipped: int) -> str:
    """Return the path of a list line for the frames of a video from number `skipped` (from 0) on."""
    return f"{path}#skip={skipped}"


class VideoList(Sequence[VideoRecord]):
    """The videos of one list file, as four arrays: path bytes, where each path ends, frame counts, labels.

    A Python list of 240,000 paths costs some 30 MB, and every forked worker soon has a copy of its own, since counting
    references writes to the pages. Arrays are never written to. When the list is pickled (workers that are spawned, not
    forked) the arrays move to shared memory once, and every worker maps the same pages.

    Attributes:
        num_frames: Frames of every video as the list has them, int32 [N].
        labels: Class of every video, int32 [N].
        path: The list file they come from.
        sha256: Hexadecimal digest of that file.
    """

    def __init__(self, arrays: Sequence[np.ndarray], *, path: str, sha256: str) -> None:
        """Take over path bytes uint8 [B], path ends int64 [N] (exclusive, into the bytes), frame counts and labels."""
        self._bytes, self._ends, self.num_frames, self.labels = arrays
        self.path = path
        self.sha256 = sha256

    def __len__(self) -> int:
        """Return the number of lines."""
        return len(self._ends)

    @overload
    def __getitem__(self, index: SupportsIndex) -> VideoRecord: ...
    @overload
    def __getitem__(self, index: slice) -> list[VideoRecord]: ...
    def __getitem__(self, index: SupportsIndex | slice) -> VideoRecord | list[VideoRecord]:
        """Return a line, or those of a slice."""
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        position = range(len(self))[operator.index(index)]
        start = int(self._ends[position - 1]) if position else 0
        path = self._bytes[start : int(self._ends[position])].tobytes().decode()
        return VideoRecord(path, int(self.num_frames[position]), int(self.labels[position]))

    def path_of(self, index: int) -> str:
        """Return a video's path."""
        return self[index].path

    def subset(self, indices: np.ndarray) -> "VideoList":
        """Return the videos at these indices, in this order, as a list of their own; its digest tells it apart."""
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
        """Move the arrays to shared memory, so that processes get them by reference."""
        import torch  # 2 s that whoever only reads a list does without

        # torch hands a tensor in shared memory to another process by reference, and by value to a plain pickle.
        arrays = (self._bytes, self._ends, self.num_frames, self.labels)
        tensors = [torch.from_numpy(array).share_memory_() for array in arrays]
        self._bytes, self._ends, self.num_frames, self.labels = (tensor.numpy() for tensor in tensors)
        return _from_tensors, (tensors, self.path, self.sha256)


def _from_tensors(tensors: "list[torch.Tensor]", path: str, sha256: str) -> VideoList:
    return VideoList([tensor.numpy() for tensor in tensors], path=path, sha256=sha256)


def below(path: str) -> str:
    """Return the name that a list's path has below a folder that is written to: 'a/../b' is 'b', '/x' is 'x'.

    Raises:
        ListError: It would be outside of the folder, or the folder itself.
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
        check_path: Is called with every path, without `#skip=N`; what it raises gets file and line.

    Raises:
        ListError: The file cannot be read or is no such list; names the first bad line.
    """
    name = str(path)
    content, lines = _read_lines(name, what="the list ")
    paths: list[bytes] = []
    num_frames: list[int] = []
    labels: list[int] = []
    highest = _LARGEST if num_classes is None else num_classes - 1
    # 240,000 lines take 0.2 s; what a bad line lacks is worked out only once one is met.
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
    """Return a list that was never a file; `path` is what messages call it, its digest is that of the lines."""
    taken = list(records)
    content = "".join(record.line for record in taken).encode()
    arrays = _pack(
        [record.path.encode() for record in taken],
        [record.num_frames for record in taken],
        [record.label for record in taken],
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
    """Return a file's bytes and its lines, which are UTF-8 text without NUL bytes.

    Raises:
        ListError: No such file, not readable, or not such text.
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
    """Read the lines of UTF-8 text; a byte order mark, any line ending and blank lines at the end are left out.

    Raises:
        ListError: No such file, not readable, or not such text.
    """
    lines = [line.decode() for line in _read_lines(str(path))[1]]
    while lines and not lines[-1].strip():
        lines.pop()
    return lines


def _fault(columns: list[bytes], *, num_classes: int | None) -> str:
    """Return what is wrong with the columns of a line that was refused."""
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
    """Return what is written beside a list of how it was made; nothing where no such file is there.

    Raises:
        ListError: It cannot be read.
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
        The names; none where neither file is there.

    Raises:
        ListError: The file is not text.
    """
    path = _class_file(list_file)
    return [line.strip() for line in read_text_lines(path)] if path.exists() else []


def read_class_names(list_file: str | Path, num_classes: int) -> list[str]:
    """Read the class names of a list; without any a class is called by its number.

    Raises:
        ListError: The file is not text, or has another number of names.
    """
    path = _class_file(list_file)
    if not path.exists():
        return [str(number) for number in range(num_classes)]
    names = class_names_beside(list_file)
    if len(names) != num_classes:
        raise ListError(f"{path}: {len(names)} names for dataset.num_classes {num_classes}; line i names class i")
    return names
