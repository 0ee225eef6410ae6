"""Count the frames of videos, and find the frames of segments given in seconds."""

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dataset.prepare.annotations import Kind
from dataset.prepare.finding import read_cause
from dataset.prepare.parallel import Journal, run_parallel
from dataset.readers import ReadError
from dataset.readers.images import FolderStore
from dataset.readers.jpeg import ImageError, decode_image
from dataset.readers.video_file import VideoFile
from dataset.readers.video_index import FrameIndex, build_index, rebuild_index

Seconds = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Measurement:
    """The result of measuring a video.

    Attributes:
        num_frames: Number of decodable frames; 0 if the video cannot be read.
        segments: First frame and number of frames of every requested segment; the number may be 0.
        cause: Why the video cannot be read; empty if it can.
        damage: What cannot be decoded; empty for an undamaged video.
        is_decoded: Whether every frame was decoded; otherwise damage may go unnoticed.
    """

    num_frames: int
    segments: tuple[tuple[int, int], ...] = ()
    cause: str = ""
    damage: str = ""
    is_decoded: bool = False


@dataclass(frozen=True, slots=True)
class CountTask:
    """A video to measure: a file, or a folder of images, relative to a root; and segments of it, seconds."""

    root: str
    path: str
    kind: Kind = "file"
    segments: tuple[Seconds, ...] = ()


Measure = Callable[[CountTask], Measurement]


def measure(task: CountTask) -> Measurement:
    """Count the frames of a video with its reader's index; an unreadable video is a result, not an error."""
    return _measure(task, _index_to_the_end, lambda count: {0, count - 1})


def verify(task: CountTask) -> Measurement:
    """Count the frames of a video by decoding them all; an unreadable video is a result, not an error."""
    return _measure(task, rebuild_index, range)


def _measure(
    task: CountTask, index: Callable[[VideoFile], FrameIndex], numbers: Callable[[int], Iterable[int]]
) -> Measurement:
    path = Path(task.root, task.path)
    try:
        return _measure_folder(task, numbers) if task.kind == "folder" else _measure_file(path, task.segments, index)
    except ReadError as error:
        return Measurement(0, cause=read_cause(error, path))


def measure_all(
    tasks: Sequence[CountTask], measure: Measure, *, journal_path: Path, workers: int
) -> dict[CountTask, Measurement]:
    """Measure videos in parallel; unchanged files in the journal are not measured again.

    Args:
        tasks: The videos.
        measure: `measure`, or `verify`, which measures again what was not decoded before.
        journal_path: Journal of the results, from which a killed command continues.
        workers: Number of processes.
    """
    known: dict[CountTask, Measurement] = {}
    keys = {task: _key(task) for task in tasks}
    journal = Journal(journal_path, header={"content": "frame counts", "version": 2})
    for task, key in keys.items():
        if key in journal:
            found = Measurement(**journal[key] | {"segments": tuple((a, b) for a, b in journal[key]["segments"])})
            if found.is_decoded or measure is not verify:
                known[task] = found
    rest = [task for task in keys if task not in known]
    for task, found in run_parallel(measure, rest, workers=workers, title="counting frames", done=len(known)):
        known[task] = found
        if not found.cause:  # an unreadable video is tried again by the next command
            journal.put(keys[task], dataclasses.asdict(found))
    return known


def _key(task: CountTask) -> str:
    """Return the journal key of a task, which changes with the file."""
    try:
        status = Path(task.root, task.path).stat()
        version = f"{status.st_size} {status.st_mtime_ns}"
    except OSError:
        version = "missing"
    return f"{Path(task.root, task.path).resolve()}|{version}|{list(task.segments)}"


def _measure_file(
    path: Path, segments: Sequence[Seconds], make_index: Callable[[VideoFile], FrameIndex]
) -> Measurement:
    with VideoFile(path) as video:
        index = make_index(video)
        times = index.times()[:-1] if segments else np.empty(0)
    frames = tuple(_frames_of(times, segment) for segment in segments)
    return Measurement(index.num_frames, frames, damage=index.damage, is_decoded=index.is_decoded)


def _index_to_the_end(video: VideoFile) -> FrameIndex:
    """Index a file as its reader does, and check that the last frame of a transport stream can be decoded.

    MPEG-TS does not store the length of a packet, so a truncated last packet looks complete; other containers do.
    """
    index = build_index(video)
    if index.is_decoded or index.pts is None or video.format_name != "mpegts":
        return index
    key = index.keys[-1]
    packets = video.packets_from_key(key, latest=key, known_keys=index.keys) or video.packets_from_start()
    last = max((frame.pts or 0 for frame, is_sound in video.judged(video.frames(packets)) if is_sound), default=-1)
    return index if last == index.pts[-1] else rebuild_index(video)


def _frames_of(times: np.ndarray, segment: Seconds) -> tuple[int, int]:
    """Return the first frame and the number of frames with begin <= time < end."""
    # The time of a frame at 2.0 s may be computed as 1.9999999 s.
    first, last = np.searchsorted(times, np.asarray(segment) - 1e-6)
    return int(first), int(last - first)


def _measure_folder(task: CountTask, numbers: Callable[[int], Iterable[int]]) -> Measurement:
    """Count the images of a folder; none may be missing or empty, and those in `numbers` must be decodable."""
    store = FolderStore(task.root)
    try:
        count = store.count(task.path, "")
        files = [Path(store.describe(task.path, number, "")) for number in range(count)]
        sizes = [file.stat().st_size if file.exists() else -1 for file in files]
        if not files:
            raise ReadError("no images 00001.jpg, 00002.jpg, ... in it")
        for fault, size in (("missing", -1), ("empty", 0)):
            if size in sizes:
                raise ReadError(f"{files[sizes.index(size)].name} is {fault}, one of {count} images")
        chosen = set(numbers(count))
        for number in sorted(chosen):
            decode_image(files[number].read_bytes(), color=True)
    except OSError as error:
        raise ReadError(error.strerror or str(error)) from None
    except ImageError as error:
        raise ReadError(f"{files[number].name}: {error}") from None
    return Measurement(count, is_decoded=len(chosen) == count)
