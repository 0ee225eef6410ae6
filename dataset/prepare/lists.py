"""Write the lists of a dataset: find its videos, count their frames, and never overwrite another file."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dataset.heldout import GROUPS_SUFFIX, group_names
from dataset.listing import (
    FINGERPRINT_SUFFIX,
    FRAME_RATE,
    OWN_CLASSES_SUFFIX,
    VideoList,
    VideoRecord,
    read_fingerprint,
    segment_path,
    split_segment,
)
from dataset.prepare.annotations import Annotations, Entry, Kind, PrepareError, without_repeats
from dataset.prepare.finding import MissingError, VideoTree, describe_left_out
from dataset.prepare.measuring import CountTask, Measure, Measurement, measure_all
from utils.files import file_sha256, write_text_atomically
from utils.text import one_line, say


@dataclass(frozen=True, slots=True)
class ListFile:
    """A list to be written, with its companion files.

    Attributes:
        path: Path of the list.
        videos: Its videos.
        missing: Title and cause of each video that is not in the list.
        damaged: Path and cause of each video in the list that cannot be decoded completely.
        groups: Group of each video, by path; a video that is its own group may be absent.
        frame_rate: Common frame rate of all videos, frames per second; 0 if unknown.
    """

    path: Path
    videos: Sequence[VideoRecord]
    missing: Sequence[tuple[str, str]] = ()
    damaged: Sequence[tuple[str, str]] = ()
    groups: dict[str, str] = field(default_factory=dict)
    frame_rate: float = 0.0

    @classmethod
    def of(cls, path: Path, videos: VideoList, *, missing: Sequence[tuple[str, str]] = ()) -> "ListFile":
        """Return a list of videos of another list, with their groups and its frame rate.

        Raises:
            ListError: A companion file of the other list cannot be read.
        """
        files = [split_segment(record.path)[0] for record in videos]
        groups, rate = group_names(videos), read_fingerprint(videos.path).get(FRAME_RATE, 0.0)
        return cls(path, list(videos), missing, groups=dict(zip(files, groups, strict=True)), frame_rate=rate)


def make_lists(
    annotations: Annotations,
    root: Path,
    *,
    output: Path,
    name: str,
    workers: int,
    measure: Measure,
) -> list[ListFile]:
    """Find the videos of every split, count their frames, write the lists, print the counts.

    Args:
        annotations: The annotations of the dataset.
        root: Folder of the videos.
        output: Folder of the lists, `name`_<split>_list.txt.
        name: Prefix of the lists' names; empty for that of the annotations.
        workers: Number of processes.
        measure: Counts the frames of a video.

    Raises:
        PrepareError: No video was found, or a list with other content exists.
    """
    name = name or annotations.name
    if "/" in name:
        raise PrepareError(f"--name {name}: expected a name without folders; set the folder with --output")
    notes, splits = list(annotations.notes), annotations.splits
    splits = {split: without_repeats(entries, notes=notes, split=split) for split, entries in splits.items()}
    found = _find(splits, VideoTree(root, annotations.kind))
    tasks = _count_tasks(found, root, annotations.kind)
    first = next((pairs[0][0] for pairs in found.values() if pairs), None)
    if first and not tasks:
        example = f"'{first.title}' ({first.where})"
        raise PrepareError(f"{root}: holds none of the annotated videos, such as {example}")
    measured = measure_all(tasks, measure, journal_path=output / f"{name}.counts.jsonl", workers=workers)
    _say_notes(notes, measured.values())
    lists = [_compose(output / f"{name}_{split}_list.txt", pairs, measured) for split, pairs in found.items()]
    for made in lists:
        write_list(made, annotations.classes, root=root, files=annotations.files)
    _report_left_out(annotations.left_out, output / f"{name}.left_out.txt")
    return lists


def _say_notes(notes: Iterable[str], measured: Iterable[Measurement]) -> None:
    """Print the notes, and how many videos were counted without decoding."""
    for note in notes:
        say(f"note: {note}")
    if count := sum(not (found.is_decoded or found.cause) for found in measured):
        say(f"note: {count} videos were counted without decoding, so damaged frames go unnoticed (--verify finds them)")


def _report_left_out(left_out: Sequence[tuple[str, str]], path: Path) -> None:
    """Print a summary of the files in no list, and write all names to a file if they are many."""
    lines = describe_left_out(left_out)
    for line in lines:
        say(line)
    if any(line.endswith(", ...") for line in lines):
        write_text_atomically(path, "".join(f"{one_line(name)}\t{one_line(reason)}\n" for name, reason in left_out))
        say(f"  all names: {path}")


def _find(splits: Mapping[str, Sequence[Entry]], tree: VideoTree) -> dict[str, list[tuple[Entry, str, str]]]:
    """Return each entry of every split with its path, or with the cause if it is missing."""
    found: dict[str, list[tuple[Entry, str, str]]] = {split: [] for split in splits}
    for split, entries in splits.items():
        for entry in entries:
            try:
                found[split].append((entry, tree.find(entry), ""))
            except MissingError as error:
                found[split].append((entry, "", str(error)))
    return found


def _count_tasks(found: dict[str, list[tuple[Entry, str, str]]], root: Path, kind: Kind) -> list[CountTask]:
    """Return one task for each path, with all segments that any split has of it."""
    segments: dict[str, dict[tuple[float, float], None]] = {}
    for pairs in found.values():
        for entry, path, _ in pairs:
            if path:
                taken = segments.setdefault(path, {})
                if entry.seconds is not None:
                    taken[entry.seconds] = None
    return [CountTask(str(root), path, kind, tuple(taken)) for path, taken in segments.items()]


def _compose(
    path: Path, pairs: Sequence[tuple[Entry, str, str]], measured: Mapping[CountTask, Measurement]
) -> ListFile:
    by_path = {task.path: (task, result) for task, result in measured.items()}
    videos: list[VideoRecord] = []
    missing: list[tuple[str, str]] = []
    damaged: dict[str, str] = {}
    groups: dict[str, str] = {}
    for entry, video, cause in pairs:
        if not video:
            missing.append((entry.title, cause))
            continue
        task, result = by_path[video]
        where, num_frames, cause = video, result.num_frames, result.cause
        if entry.seconds is not None and not cause:
            first, num_frames = result.segments[task.segments.index(entry.seconds)]
            where = segment_path(video, first)
            cause = "" if num_frames else f"none of the {result.num_frames} frames is in the segment"
        if cause := cause or name_fault(video):
            missing.append((entry.title if entry.seconds else video, cause))
            continue
        if result.damage:
            damaged[video] = f"listed with {result.num_frames} frames, but damaged: {result.damage}"
        videos.append(VideoRecord(where, num_frames, entry.label))
        groups[video] = entry.group or video
    return ListFile(path, videos, missing, list(damaged.items()), groups)


def name_fault(path: str) -> str:
    """Return why a path cannot be written to a list; empty if it can."""
    try:
        encoded = path.encode()
    except UnicodeEncodeError:
        return "its name is not UTF-8; rename it"
    if b"\n" in encoded or b"\r" in encoded or encoded != encoded.rstrip():
        return "a line break in its name, or a space at the end; rename it"
    if split_segment(path)[0] != path:
        return "a name that ends in #skip=N means a segment in a list; rename it"
    return ""


def write_list(made: ListFile, classes: Sequence[str], *, root: Path, files: Sequence[Path] = ()) -> None:
    """Write a list with its class names, groups, fingerprint and missing videos, and print the counts.

    Raises:
        PrepareError: The list is empty, or files with other content exist; nothing is overwritten.
    """
    content = "".join(video.line for video in made.videos)
    total = len(made.videos) + len(made.missing)
    fingerprint = {
        "list": made.path.name,
        "sha256": hashlib.sha256(content.encode()).hexdigest(),
        "videos": len(made.videos),
        "asked_for": total,
        "missing": len(made.missing),
        "damaged": len(made.damaged),
        "frames": sum(video.num_frames for video in made.videos),
        "classes": len(classes),
        "root": str(root.resolve()),
        "annotations": {path.name: file_sha256(path) for path in files},
        **({FRAME_RATE: made.frame_rate} if made.frame_rate else {}),
    }
    faults, missing = [*made.missing, *made.damaged], made.path.with_suffix(".missing.txt")
    contents = {
        made.path: content,
        **({made.path.with_suffix(OWN_CLASSES_SUFFIX): "".join(f"{name}\n" for name in classes)} if classes else {}),
        **_groups_file(made),
        missing: "".join(f"{one_line(video)}\t{one_line(cause)}\n" for video, cause in faults),
        made.path.with_suffix(FINGERPRINT_SUFFIX): json.dumps(fingerprint, indent=2, ensure_ascii=False) + "\n",
    }
    if not made.videos:
        causes = "; ".join(f"{one_line(video)}: {cause}" for video, cause in made.missing[:3])
        raise PrepareError(f"{made.path}: no video for it: {causes or 'the annotations have none'}")
    is_new = write_new(contents)
    state = "" if is_new else " (unchanged)"
    in_groups = f", {len(set(made.groups.values()))} groups" if _groups_file(made) else ""
    say(f"{made.path}: {len(made.videos)} of {total} videos, {fingerprint['frames']} frames{in_groups}{state}")
    for cause, count in Counter(cause for _, cause in faults).most_common(5):
        say(f"  {count} x {cause}")
    if faults:
        say(f"  all names: {missing}")


def _groups_file(made: ListFile) -> dict[Path, str]:
    """Return the path and content of a list's groups file; empty if every video is its own group."""
    if all(path == group for path, group in made.groups.items()):
        return {}
    lines = [f"{one_line(group).replace(chr(9), ' ')}\t{path}\n" for path, group in made.groups.items()]
    return {made.path.with_suffix(GROUPS_SUFFIX): "".join(lines)}


def write_new(contents: dict[Path, str]) -> bool:
    """Write files that do not exist yet.

    Returns:
        Whether any file was written.

    Raises:
        PrepareError: A file exists with other content; nothing is written then.
    """
    absent = []
    for path, content in contents.items():
        if not path.exists():
            absent.append(path)
        elif path.read_bytes() != content.encode():
            raise PrepareError(f"{path} exists with other content; move it away, or choose another name")
    for path in absent:
        write_text_atomically(path, contents[path])
    return bool(absent)
