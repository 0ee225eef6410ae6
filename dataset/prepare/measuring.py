"""How many frames videos really have, and which of them a segment in seconds takes."""

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dataset.prepare.annotations import Kind
from dataset.prepare.finding import read_cause
from dataset.prepare.long_work import Journal, each
from dataset.readers import ReadError
from dataset.readers.images import FolderStore
from dataset.readers.jpeg import ImageError, decode_image
from dataset.readers.video_file import VideoFile
from dataset.readers.video_index import FrameIndex, build_index, rebuild_index

Seconds = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Measured:
    """What was found out about a video.

    Attributes:
        num_frames: Frames that decoding gives; 0 if it cannot be read.
        segments: First frame and number of frames of every segment asked for; a number of 0: it shows no frame.
        cause: Why it cannot be read.
        damage: What of it cannot be decoded, empty for a sound file.
        is_decoded: Every picture was decoded; else some may be damaged without a word.
    """

    num_frames: int
    segments: tuple[tuple[int, int], ...] = ()
    cause: str = ""
    damage: str = ""
    is_decoded: bool = False


@dataclass(frozen=True, slots=True)
class Measurement:
    """A video to measure: a file, or a folder of pictures, below a root; and segments of it, in seconds."""

    root: str
    path: str
    kind: Kind = "file"
    segments: tuple[Seconds, ...] = ()


Measure = Callable[[Measurement], Measured]


def measure(task: Measurement) -> Measured:
    """Count a video's frames as its reader does; that it cannot be read is a result, not an error."""
    return _measure(task, _index_to_the_end, lambda count: {0, count - 1})


def verify(task: Measurement) -> Measured:
    """Count a video's frames by decoding them all; that it cannot be read is a result, not an error."""
    return _measure(task, rebuild_index, range)


def _measure(
    task: Measurement, index: Callable[[VideoFile], FrameIndex], numbers: Callable[[int], Iterable[int]]
) -> Measured:
    path = Path(task.root, task.path)
    try:
        return _measure_folder(task, numbers) if task.kind == "folder" else _measure_file(path, task.segments, index)
    except ReadError as error:
        return Measured(0, cause=read_cause(error, path))


def measure_all(
    tasks: Sequence[Measurement], measure: Measure, *, journal_path: Path, workers: int
) -> dict[Measurement, Measured]:
    """Measure videos in parallel; what a journal knows of files that are as they were is not measured again.

    Args:
        tasks: The videos.
        measure: `measure` or `verify`, for which what was not decoded is measured again.
        journal_path: File that keeps the counts, so that a killed command continues.
        workers: Processes.
    """
    known: dict[Measurement, Measured] = {}
    keys = {task: _key(task) for task in tasks}
    journal = Journal(journal_path, header={"content": "frame counts", "version": 2})
    for task, key in keys.items():
        if key in journal:
            found = Measured(**journal[key] | {"segments": tuple((a, b) for a, b in journal[key]["segments"])})
            if found.is_decoded or measure is not verify:
                known[task] = found
    rest = [task for task in keys if task not in known]
    for task, found in each(measure, rest, workers=workers, title="counting frames", done=len(known)):
        known[task] = found
        if not found.cause:  # what could not be read is tried again
            journal.put(keys[task], dataclasses.asdict(found))
    return known


def _key(task: Measurement) -> str:
    """Return what changes with the file."""
    try:
        status = Path(task.root, task.path).stat()
        version = f"{status.st_size} {status.st_mtime_ns}"
    except OSError:
        version = "missing"
    return f"{Path(task.root, task.path).resolve()}|{version}|{list(task.segments)}"


def _measure_file(path: Path, segments: Sequence[Seconds], make_index: Callable[[VideoFile], FrameIndex]) -> Measured:
    with VideoFile(path) as video:
        index = make_index(video)
        times = index.times()[:-1] if segments else np.empty(0)
    frames = tuple(_frames_of(times, segment) for segment in segments)
    return Measured(index.num_frames, frames, damage=index.damage, is_decoded=index.is_decoded)


def _index_to_the_end(video: VideoFile) -> FrameIndex:
    """Index a file as its reader does, and of a transport stream see that its last frame is there.

    The last packet of one that broke off looks as whole as any; other containers say how long a packet is.
    """
    index = build_index(video)
    if index.is_decoded or index.pts is None or video.format_name != "mpegts":
        return index
    key = index.keys[-1]
    packets = video.packets_from_key(key, latest=key, known_keys=index.keys) or video.packets_from_start()
    last = max((frame.pts or 0 for frame, is_sound in video.judged(video.frames(packets)) if is_sound), default=-1)
    return index if last == index.pts[-1] else rebuild_index(video)


def _frames_of(times: np.ndarray, segment: Seconds) -> tuple[int, int]:
    """First frame and number of frames shown in begin <= time < end."""
    # A frame at 2.0 s may come out as 1.9999999 s.
    first, last = np.searchsorted(times, np.asarray(segment) - 1e-6)
    return int(first), int(last - first)


def _measure_folder(task: Measurement, numbers: Callable[[int], Iterable[int]]) -> Measured:
    """Count pictures as their reader names them; none may be missing or empty, some numbers must be pictures."""
    store = FolderStore(task.root)
    try:
        count = store.count(task.path, "")
        files = [Path(store.describe(task.path, number, "")) for number in range(count)]
        sizes = [file.stat().st_size if file.exists() else -1 for file in files]
        if not files:
            raise ReadError("no pictures 00001.jpg, 00002.jpg, ... in it")
        for fault, size in (("missing", -1), ("empty", 0)):
            if size in sizes:
                raise ReadError(f"{files[sizes.index(size)].name} is {fault}, one of {count} pictures")
        chosen = set(numbers(count))
        for number in sorted(chosen):
            decode_image(files[number].read_bytes(), color=True)
    except OSError as error:
        raise ReadError(error.strerror or str(error)) from None
    except ImageError as error:
        raise ReadError(f"{files[number].name}: {error}") from None
    return Measured(count, is_decoded=len(chosen) == count)
