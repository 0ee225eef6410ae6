"""Convert the videos of a list: every result is verified, a killed run continues, and nothing is overwritten."""

import dataclasses
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import lmdb
import numpy as np
from tqdm import tqdm

from dataset.heldout import group_names
from dataset.listing import (
    FRAME_RATE,
    VideoList,
    VideoRecord,
    class_names_beside,
    read_fingerprint,
    read_list,
    relative_path,
    split_segment,
)
from dataset.prepare.annotations import PrepareError
from dataset.prepare.converting.encoders import Encoded, Encoder, evenly_spaced
from dataset.prepare.converting.sources import Source, require_frames
from dataset.prepare.finding import is_video
from dataset.prepare.lists import ListFile, write_list
from dataset.prepare.parallel import Journal, run_parallel
from dataset.readers import open_reader
from dataset.writers.stores import ShardedEnvironments, Store, is_disk_full
from utils.errors import UserError

_BLOCK = 4096  # allocation unit of files and LMDB values, bytes
_PROBED_VIDEOS, _PROBED_FRAMES = 4, 24  # sample for the estimate of disk space
_SPACE_MARGIN = 1.1  # safety factor of the estimate
# Largest mean difference of a frame, in levels of 255, that is put down to lossy coding; a wrong frame differs by more.
_TOLERANCE = 20.0
_SHORT = "\nshort"  # suffix of a target's second key in the journal; names in a list have no line feed


@dataclass(frozen=True, slots=True)
class Task:
    """A video to convert, its source, encoder, target path and output root."""

    record: VideoRecord
    target: str
    source: Source
    encoder: Encoder
    root: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a task.

    Attributes:
        num_frames: Number of frames written.
        cause: Why the video was not converted; empty if it was.
        encoded: The encoded video, if it is still to be written.
        short: How the source is shorter than listed, if resampling hides it from the number of frames.
    """

    num_frames: int = 0
    cause: str = ""
    encoded: Encoded | None = None
    short: str = ""


def convert_list(
    list_file: Path, source: Source, encoder: Encoder, *, root: Path, new_list: Path, workers: int, shard_videos: int
) -> int:
    """Convert all videos of a list and write the list of the results.

    Args:
        list_file: The list to convert.
        source: Where and how its videos are read.
        encoder: Encodes a video in the new format.
        root: Folder of the results.
        new_list: The list of the results.
        workers: Number of processes.
        shard_videos: Number of videos per LMDB environment.

    Returns:
        The number of videos that could not be converted.

    Raises:
        PrepareError: The disk is too small, the folder is of another conversion, or the new list exists.
    """
    journal_path = root / f".{new_list.stem}.convert.jsonl"
    if new_list.exists() and not journal_path.exists():
        raise PrepareError(f"{new_list} exists and was not made by this command; choose another --new_list")
    videos = read_list(list_file, check_path=relative_path)
    rate = source.fps or read_fingerprint(list_file).get(FRAME_RATE, 0.0)
    sharded = isinstance(store := encoder.store(root), ShardedEnvironments)
    shard = new_list.stem.removesuffix("_list") if sharded else ""
    targets = _targets(videos, encoder.suffix, shard=shard, shard_videos=shard_videos)
    shards = {"list": videos.sha256, "videos in a shard": shard_videos} if sharded else {}
    records = dict(zip(targets, videos, strict=True))
    tasks = [Task(record, target, source, encoder, str(root)) for target, record in records.items()]
    journal = Journal(journal_path, header=_header(source, encoder) | shards)
    faults = _convert_missing(tasks, journal, store, workers=workers)
    done = {target: journal[target] for target in records if target in journal and target not in faults}
    damaged = _damaged({target: records[target] for target in done}, journal, source, encoder)
    made = _new_list(new_list, videos, targets, done=done, faults=faults, damaged=damaged)
    made = dataclasses.replace(made, frame_rate=rate)
    write_list(made, class_names_beside(list_file), root=root, files=(list_file,))
    return len(faults)


def _header(source: Source, encoder: Encoder) -> dict[str, Any]:
    """Return the parameters of a conversion for its journal."""
    made_with = dataclasses.asdict(encoder)
    made_with.pop("device", None)
    new_rate = {"fps": source.fps, "rate": source.rate} if source.fps else {}
    return {"source": str(Path(source.root).resolve()), "source format": source.format, **new_rate, **made_with}


def _new_list(
    path: Path,
    videos: VideoList,
    targets: Sequence[str],
    *,
    done: Mapping[str, int],
    faults: Mapping[str, str],
    damaged: Mapping[str, str],
) -> ListFile:
    """Return the list of the results: one line for each line of the source whose video was converted.

    Args:
        path: Path of the new list.
        videos: The source list.
        targets: Path of each video's result.
        done: Number of frames of each result, by target.
        faults: Cause of each failed conversion, by target.
        damaged: How a converted video is shorter than listed, by source path.
    """
    pairs = list(zip(targets, videos, strict=True))
    groups = dict(zip(targets, _target_groups(videos, targets), strict=True))
    return ListFile(
        path,
        videos=[VideoRecord(target, done[target], record.label) for target, record in pairs if target in done],
        missing=[(record.path, faults[target]) for target, record in pairs if target in faults],
        damaged=list(damaged.items()),
        groups={target: groups[target] for target in targets if target in done},
    )


def _damaged(records: Mapping[str, VideoRecord], journal: Journal, source: Source, encoder: Encoder) -> dict[str, str]:
    """Return how converted videos are shorter than listed, by source path; flow has one frame less by design."""
    if source.fps:  # resampling hides it from the number of frames, so it is in the journal
        keys = {record.path: f"{target}{_SHORT}" for target, record in records.items()}
        return {path: journal[key] for path, key in keys.items() if key in journal}
    counts = {target: journal[target] + encoder.use_flow for target in records}
    return {
        record.path: f"the list says {record.num_frames} frames, {counts[target]} can be decoded"
        for target, record in records.items()
        if counts[target] < record.num_frames
    }


def _convert_missing(tasks: Sequence[Task], journal: Journal, store: Store, *, workers: int) -> dict[str, str]:
    """Convert videos that are not done yet and record them in the journal; return the causes of failures by target."""
    rest = [
        task
        for task in tqdm(tasks, desc="looking for results", unit="video", leave=False)
        if not (task.target in journal and store.holds(task.target, num_frames=journal[task.target]))
    ]
    root = Path(tasks[0].root)
    require_space(rest, root)
    faults: dict[str, str] = {}
    work = encode if isinstance(store, ShardedEnvironments) else convert  # only one process may write to a shard
    title = f"writing {root}" if rest else "nothing to write"
    for task, outcome in run_parallel(work, rest, workers=workers, title=title, done=len(tasks) - len(rest)):
        outcome = _write(task, outcome)
        if outcome.cause:
            faults[task.target] = outcome.cause
            continue
        if outcome.short:
            journal.put(f"{task.target}{_SHORT}", outcome.short)
        journal.put(task.target, outcome.num_frames)
    return faults


def _targets(videos: VideoList, suffix: str, *, shard: str, shard_videos: int) -> list[str]:
    """Return the path of each video's result, without the video's suffix unless that makes two paths equal.

    Raises:
        PrepareError: Two lines with different frames would have the same result.
    """
    paths = [relative_path(split_segment(record.path)[0]) for record in videos]
    plain = [str(PurePosixPath(path).with_suffix("")) if is_video(PurePosixPath(path).name) else path for path in paths]
    users: dict[str, set[str]] = {}
    for path, name in zip(paths, plain, strict=True):
        users.setdefault(name, set()).add(path)
    sources: dict[str, VideoRecord] = {}
    targets = []
    for index, (record, path, name) in enumerate(zip(videos, paths, plain, strict=True)):
        target = name if len(users[name]) == 1 else path
        if (segment := split_segment(record.path))[0] != record.path:
            target += f".from{segment[1]}.{record.num_frames}"
        first = sources.setdefault(target, record)
        if (first.path, first.num_frames) != (record.path, record.num_frames):
            raise PrepareError(
                f"{videos.path}: '{first.path}' of {first.num_frames} frames and '{record.path}' of "
                f"{record.num_frames} would both be written to {target}{suffix}; convert them as separate lists"
            )
        target += suffix
        targets.append(f"{shard}-{index // shard_videos:05d}/{target}" if shard else target)
    return targets


def _target_groups(videos: VideoList, targets: Sequence[str]) -> list[str]:
    """Return the group of each result: its own path, unless its video has a group or several segments."""
    names = group_names(videos)
    sources = [split_segment(record.path)[0] for record in videos]
    if names == sources and len(set(sources)) == len(sources):
        return list(targets)
    return names


def encode(task: Task) -> Outcome:
    """Encode a video, to be written by another process."""
    record = task.record
    try:
        footage = task.source.footage(record)
        encoded = task.encoder.encode(footage, sample=footage.count // 2)
        if not encoded.num_frames and task.encoder.use_flow:
            return Outcome(cause="flow needs two frames")
        require_frames(encoded.num_frames, record)
    except UserError as error:
        return Outcome(cause=str(error))
    return Outcome(encoded.num_frames, encoded=encoded, short=footage.short)


def convert(task: Task) -> Outcome:
    """Encode a video and write it."""
    return _write(task, encode(task))


def _write(task: Task, outcome: Outcome) -> Outcome:
    """Write an encoded video unless its target exists, and verify it by reading it back."""
    if (encoded := outcome.encoded) is None:
        return outcome
    store = task.encoder.store(Path(task.root))
    present = _is_present(store, task)
    if not present:
        try:
            store.write(task.target, encoded.parts)
        except (OSError, lmdb.Error) as error:
            cause = "no space left on the disk" if is_disk_full(Path(task.root), error) else str(error)
            raise PrepareError(f"{task.root}: cannot be written ({cause}); run the command again to continue") from None
    fault = _verify(store, task, encoded)
    if fault and present:
        fault = f"{task.root}/{task.target} exists with other content ({fault}); move it away"
    return Outcome(encoded.num_frames, cause=fault, short=outcome.short)


def _is_present(store: Store, task: Task) -> bool:
    if isinstance(store, ShardedEnvironments):
        return store.holds(task.target, num_frames=1)
    return Path(task.root, task.target).exists()


def _verify(store: Store, task: Task, encoded: Encoded) -> str:
    """Compare a written video with its source: the number of frames, and some decoded frames.

    Returns:
        The difference; empty for none.
    """
    if not store.holds(task.target, num_frames=encoded.num_frames):
        return f"it does not have the {encoded.num_frames} frames of the source"
    numbers = sorted(encoded.samples)
    reader = open_reader(task.encoder.format, task.root, use_flow=task.encoder.use_flow)
    try:
        frames = reader.read(VideoRecord(task.target, encoded.num_frames, 0), numbers).numpy()
    except UserError as error:
        return str(error)
    for number, frame in zip(numbers, frames, strict=True):
        expected = encoded.samples[number]
        if frame.shape != expected.shape:
            return f"frame {number} is {list(frame.shape)}, not {list(expected.shape)}"
        difference = float(np.abs(frame.astype(np.int16) - expected).mean())
        if difference > _TOLERANCE:
            return f"frame {number} differs from the source's by {difference:.0f} of 255 levels"
    return ""


def require_space(tasks: Sequence[Task], root: Path) -> None:
    """Require enough disk space for all tasks, estimated from the first frames of a few videos.

    Raises:
        PrepareError: There is too little space.
    """
    size, frames, listed, given = 0, 0, 0, 0
    for index in evenly_spaced(len(tasks), _PROBED_VIDEOS) if tasks else ():
        task = tasks[index]
        try:
            footage = task.source.footage(task.record, limit=_PROBED_FRAMES)
            probe = task.encoder.encode(footage, sample=0)
        except UserError:
            continue  # reported when the video is converted
        size += sum(-(-len(part) // _BLOCK) * _BLOCK for part in probe.parts)
        frames += probe.num_frames
        listed, given = listed + task.record.num_frames, given + footage.count
    total = round(sum(task.record.num_frames for task in tasks) * given / max(listed, 1))
    needed = int(size / max(frames, 1) * total * _SPACE_MARGIN)
    root.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(root).free
    if needed > free:
        raise PrepareError(
            f"{root}: about {needed / 1e6:,.0f} MB are needed for {total} frames, {free / 1e6:,.0f} MB are free; "
            "choose another disk, a smaller --short_side or a lower quality"
        )
