"""Find the videos below a folder, in any container, and report all other files with a reason."""

import itertools
import os
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import av
import av.error

from dataset.prepare.annotations import Entry, Kind, PrepareError
from dataset.readers.errors import ReadError
from dataset.readers.video_file import VideoFile, cause_of
from utils.text import one_line

# Files with these suffixes are taken for videos, and are errors if they cannot be read. Any other file is a video if
# FFmpeg opens it as one.
VIDEO_SUFFIXES = frozenset(
    (".mp4", ".webm", ".mkv", ".avi", ".mov", ".m4v", ".mpg", ".mpeg", ".ts", ".flv", ".wmv", ".3gp", ".ogv", ".y4m")
    + (".mts", ".m2ts", ".vob", ".asf", ".3g2", ".f4v", ".mxf", ".qt", ".divx", ".rm", ".rmvb", ".m2v", ".mpe", ".dv")
)
# FFmpeg formats that are no videos: text rendered as a terminal screen, and playlists.
_TEXT_FORMATS = frozenset({"tty", "bin", "xbin", "adf", "idf"})
_LIST_FORMATS = frozenset({"hls", "concat", "dash", "imf"})
_PROBED_BYTES = "65536"  # read to detect a format; with FFmpeg's default of 1 MB a file of numbers takes 0.1 s
_SHOWN_NAMES = 5


class MissingError(PrepareError):
    """A video cannot be found; the message is the cause only."""


@dataclass(frozen=True, slots=True)
class Item:
    """An item below a folder, by relative path; `reason` says why an item of kind "left out" is left out."""

    path: str
    kind: Kind | Literal["left out"]
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Found:
    """All items below a folder, by relative path, sorted.

    Attributes:
        videos: Paths of all videos.
        folders: Paths of all folders.
        left_out: Path and reason of everything else.
    """

    videos: tuple[str, ...]
    folders: tuple[str, ...]
    left_out: tuple[tuple[str, str], ...]


def walk(root: Path) -> Iterator[Item]:
    """Yield all items below a root; each folder once, by its real path before any link to it."""
    seen: set[str] = set()
    folders, links = [""], list[str]()
    while folders or links:
        place = folders.pop() if folders else links.pop(0)
        real = os.path.realpath(root / place)
        if real in seen:
            yield Item(place, "left out", "a link to a folder that is taken already")
            continue
        seen.add(real)
        if place:
            yield Item(place, "folder")
        try:
            with os.scandir(root / place) as scan:
                entries = sorted(scan, key=lambda entry: entry.name)
        except OSError as error:
            yield Item(place, "left out", f"cannot be looked into: {error.strerror}")
            continue
        for entry in entries:
            item = _item(entry, f"{place}/{entry.name}" if place else entry.name)
            if item.kind == "folder":
                (links if entry.is_symlink() else folders).append(item.path)
            else:
                yield item


def _item(entry: os.DirEntry[str], path: str) -> Item:
    if entry.name.startswith("."):
        return Item(path, "left out", "hidden")
    target = Path(entry.path)  # its is_dir follows links, and is False for a link to itself
    if entry.is_dir(follow_symlinks=False) or (entry.is_symlink() and target.is_dir()):
        return Item(path, "folder")
    if entry.is_file(follow_symlinks=False) or (entry.is_symlink() and target.is_file()):
        return Item(path, "file")
    return Item(path, "left out", "a broken link" if entry.is_symlink() else "no regular file")


def find_videos(root: Path) -> Found:
    """Find all videos below a folder, following links; files without a video suffix are probed with FFmpeg.

    Raises:
        PrepareError: The folder does not exist.
    """
    if not root.is_dir():
        raise PrepareError(f"the root of the videos, {root}, is no folder")
    videos, folders, left_out = [], [], []
    for item in walk(root):
        reason = item.reason
        if item.kind == "folder":
            folders.append(item.path)
        elif item.kind == "file" and (is_video(item.path) or not (reason := rejection_reason(root / item.path))):
            videos.append(item.path)
        else:
            left_out.append((item.path, reason))
    return Found(tuple(sorted(videos)), tuple(sorted(folders)), tuple(sorted(left_out)))


def is_video(name: str) -> bool:
    """Return whether a file name has a video suffix."""
    return Path(name).suffix.lower() in VIDEO_SUFFIXES


def rejection_reason(path: Path) -> str:
    """Return why FFmpeg does not open a file as a video; empty if it does."""
    try:
        av.open(f"file:{path}", options={"formatprobesize": _PROBED_BYTES}, metadata_errors="replace").close()
        with VideoFile(path) as video:
            if video.format_name in _TEXT_FORMATS:
                return "text"
            if video.format_name in _LIST_FORMATS:
                return "a list of other files"
            pictures = len(list(itertools.islice(video.packets_from_start(), 2)))
            if video.format_name == "image2" or video.format_name.endswith("_pipe") or pictures < 2:
                return "a still image"
            if next(video.frames_from_start(), None) is None:
                return "no video: no frame of it can be decoded"
    except av.error.FFmpegError as error:
        return f"no video: {cause_of(error)}"
    except ReadError as error:
        return f"no video: {read_cause(error, path)}"
    return ""


def read_cause(error: ReadError, path: Path) -> str:
    """Return the message of a ReadError without the name of the video."""
    return str(error).removeprefix(f"cannot read the video {path}: ")


def describe_left_out(left_out: Iterable[tuple[str, str]]) -> list[str]:
    """Return a line for each reason, with the number of items and the first names."""
    names: dict[str, list[str]] = defaultdict(list)
    for path, reason in left_out:
        names[reason].append(one_line(path))
    return [
        f"left out: {len(found)} x {reason}: {', '.join(found[:_SHOWN_NAMES])}"
        + (", ..." if len(found) > _SHOWN_NAMES else "")
        for reason, found in names.items()
    ]


class VideoTree:
    """Looks up videos below a root by name."""

    def __init__(self, root: Path, kind: Kind = "file") -> None:
        """Use a root folder; it is walked once, following links, at the first lookup.

        Args:
            root: Folder of the videos.
            kind: Whether a video is a file or a folder.

        Raises:
            PrepareError: The folder does not exist.
        """
        if not root.is_dir():
            raise PrepareError(f"the root of the videos, {root}, is no folder")
        self.root = root
        self._kind = kind

    @cached_property
    def _paths(self) -> dict[str, list[str]]:
        """Paths relative to the root, by name."""
        paths: dict[str, list[str]] = defaultdict(list)
        for item in walk(self.root):
            if item.kind == self._kind:
                name = Path(item.path).name if self._kind == "folder" else Path(item.path).stem
                paths[normalize_name(name)].append(item.path)
        return paths

    def find(self, entry: Entry) -> str:
        """Return the path of an entry's video, relative to the root.

        Raises:
            MissingError: There is no such video, or several and the entry's folders do not decide between them.
        """
        if entry.path:
            return entry.path
        if self._kind == "folder" and "/" not in entry.stem and (self.root / entry.stem).is_dir():
            return entry.stem  # no walk, which takes minutes for millions of images
        paths = self._videos(self._paths.get(normalize_name(entry.stem), []))
        if len(paths) > 1:
            folders = {normalize_name(folder) for folder in entry.folders}
            named = [path for path in paths if folders & {normalize_name(part) for part in Path(path).parts[:-1]}]
            paths = self._not_empty(named or paths)
        if len(paths) > 1:
            raise MissingError(f"several files of that name: {', '.join(sorted(paths))}")
        return paths[0]

    def _videos(self, paths: list[str]) -> list[str]:
        """Return the paths with a video suffix or, without any, those that FFmpeg opens as videos.

        Raises:
            MissingError: There are none.
        """
        if called := [path for path in paths if self._kind == "folder" or is_video(path)]:
            return called
        reasons = {path: rejection_reason(self.root / path) for path in paths}
        if opened := [path for path, reason in reasons.items() if not reason]:
            return opened
        raise MissingError("; ".join(f"{path}: {reason}" for path, reason in reasons.items()) or "no such file")

    def _not_empty(self, paths: list[str]) -> list[str]:
        """Return the non-empty files or, if all are empty, one of them, whose emptiness is then the error."""
        whole = [path for path in paths if (self.root / path).is_dir() or (self.root / path).stat().st_size]
        return whole or paths[:1]


def normalize_name(name: str) -> str:
    """Return a name in the form used for comparison, NFC: macOS folders and archives have decomposed letters."""
    return unicodedata.normalize("NFC", name)
