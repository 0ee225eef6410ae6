"""Writes the lists of an annotation: found, measured, counted, and never over another file."""

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
from dataset.prepare.measuring import Measure, Measured, Measurement, measure_all
from utils.files import file_sha256, write_text_atomically
from utils.text import one_line, say


@dataclass(frozen=True, slots=True)
class ListFile:
    """One list and what belongs to it.

    Attributes:
        path: File of the list.
        videos: Its lines.
        missing: What is not in it: title and cause of each.
        damaged: Path and cause of videos that are in it although not all of them can be decoded.
        groups: Path of a video and its group, for those that are no group of their own.
        frame_rate: Frames a second of all its videos, 0 where that is not known.
    """

    path: Path
    videos: Sequence[VideoRecord]
    missing: Sequence[tuple[str, str]] = ()
    damaged: Sequence[tuple[str, str]] = ()
    groups: dict[str, str] = field(default_factory=dict)
    frame_rate: float = 0.0

    @classmethod
    def of(cls, path: Path, videos: VideoList, *, missing: Sequence[tuple[str, str]] = ()) -> "ListFile":
        """Return a list of videos of another one, in their groups and of its rate.

        Raises:
            ListError: A file beside the other list cannot be read.
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
    """Find and measure the videos of every split, write the lists, print the counts.

    Args:
        annotations: What there should be below the folder `root`.
        root: Folder of the videos.
        output: Folder of the lists, `name`_<split>_list.txt.
        name: Start of their names; the annotations' own if empty.
        workers: Processes.
        measure: Counts frames.

    Raises:
        PrepareError: Nothing was found, or a list of another content is there already.
    """
    name = name or annotations.name
    if "/" in name:
        raise PrepareError(f"--name {name}: a name without folders; --output says where the lists go")
    notes, splits = list(annotations.notes), annotations.splits
    splits = {split: without_repeats(entries, notes=notes, split=split) for split, entries in splits.items()}
    found = _find(splits, VideoTree(root, annotations.kind))
    tasks = _measurements(found, root, annotations.kind)
    first = next((pairs[0][0] for pairs in found.values() if pairs), None)
    if first and not tasks:
        example = f"'{first.title}' ({first.where})"
        raise PrepareError(f"{root}: none of the videos is in there; the annotations ask for {example}, for one")
    measured = measure_all(tasks, measure, journal_path=output / f"{name}.counts.jsonl", workers=workers)
    _say_notes(notes, measured.values())
    lists = [_compose(output / f"{name}_{split}_list.txt", pairs, measured) for split, pairs in found.items()]
    for made in lists:
        write_list(made, annotations.classes, root=root, files=annotations.files)
    _report_left_out(annotations.left_out, output / f"{name}.left_out.txt")
    return lists


def _say_notes(notes: Iterable[str], measured: Iterable[Measured]) -> None:
    """Print what a user should know, and how many videos were counted without decoding them."""
    for note in notes:
        say(f"note: {note}")
    if count := sum(not (found.is_decoded or found.cause) for found in measured):
        say(f"note: {count} videos were not decoded: damaged pictures in them are not seen (--verify)")


def _report_left_out(left_out: Sequence[tuple[str, str]], path: Path) -> None:
    """Print what is in no list, and write all names to a file where they are many."""
    lines = describe_left_out(left_out)
    for line in lines:
        say(line)
    if any(line.endswith(", ...") for line in lines):
        write_text_atomically(path, "".join(f"{one_line(name)}\t{one_line(reason)}\n" for name, reason in left_out))
        say(f"  each by name: {path}")


def _find(splits: Mapping[str, Sequence[Entry]], tree: VideoTree) -> dict[str, list[tuple[Entry, str, str]]]:
    """Each entry of every split with its path, or the cause for there being none."""
    found: dict[str, list[tuple[Entry, str, str]]] = {split: [] for split in splits}
    for split, entries in splits.items():
        for entry in entries:
            try:
                found[split].append((entry, tree.find(entry), ""))
            except MissingError as error:
                found[split].append((entry, "", str(error)))
    return found


def _measurements(found: dict[str, list[tuple[Entry, str, str]]], root: Path, kind: Kind) -> list[Measurement]:
    """One measurement for each path, of all segments that any split takes of it."""
    segments: dict[str, dict[tuple[float, float], None]] = {}
    for pairs in found.values():
        for entry, path, _ in pairs:
            if path:
                taken = segments.setdefault(path, {})
                if entry.seconds is not None:
                    taken[entry.seconds] = None
    return [Measurement(str(root), path, kind, tuple(taken)) for path, taken in segments.items()]


def _compose(path: Path, pairs: Sequence[tuple[Entry, str, str]], measured: Mapping[Measurement, Measured]) -> ListFile:
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
            cause = "" if num_frames else f"the segment shows none of the {result.num_frames} frames"
        if cause := cause or name_fault(video):
            missing.append((entry.title if entry.seconds else video, cause))
            continue
        if result.damage:
            damaged[video] = f"listed with {result.num_frames} frames, but damaged: {result.damage}"
        videos.append(VideoRecord(where, num_frames, entry.label))
        groups[video] = entry.group or video
    return ListFile(path, videos, missing, list(damaged.items()), groups)


def name_fault(path: str) -> str:
    """Return why a path cannot stand in a list; empty if it can."""
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
    """Write a list with its class names, fingerprint and missing videos, and print the counts.

    Raises:
        PrepareError: Files of another content are there; nothing is overwritten.
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
    state = "" if is_new else " (there already, the same)"
    in_groups = f", {len(set(made.groups.values()))} groups" if _groups_file(made) else ""
    say(f"{made.path}: {len(made.videos)} of {total} videos, {fingerprint['frames']} frames{in_groups}{state}")
    for cause, count in Counter(cause for _, cause in faults).most_common(5):
        say(f"  {count} x {cause}")
    if faults:
        say(f"  each by name: {missing}")


def _groups_file(made: ListFile) -> dict[Path, str]:
    """Return the file of a list's groups; none where every video is its own group."""
    if all(path == group for path, group in made.groups.items()):
        return {}
    lines = [f"{one_line(group).replace(chr(9), ' ')}\t{path}\n" for path, group in made.groups.items()]
    return {made.path.with_suffix(GROUPS_SUFFIX): "".join(lines)}


def write_new(contents: dict[Path, str]) -> bool:
    """Write files of which none may be there with another content.

    Returns:
        Whether any was written.

    Raises:
        PrepareError: One is there and differs; none is written then.
    """
    absent = []
    for path, content in contents.items():
        if not path.exists():
            absent.append(path)
        elif path.read_bytes() != content.encode():
            raise PrepareError(f"{path} is there with another content; move it away, or choose another name")
    for path in absent:
        write_text_atomically(path, contents[path])
    return bool(absent)
