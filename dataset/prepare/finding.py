"""Where the videos that an annotation asks for lie below a folder, however deep and in whatever container."""

import os
import unicodedata
from collections import defaultdict
from functools import cached_property
from pathlib import Path

from dataset.prepare.annotations import Entry, PrepareError

VIDEO_SUFFIXES = frozenset(
    (".mp4", ".webm", ".mkv", ".avi", ".mov", ".m4v", ".mpg", ".mpeg", ".ts", ".flv", ".wmv", ".3gp", ".ogv", ".y4m")
)


class MissingError(PrepareError):
    """A video that is not to be had; the message is the cause alone."""


class VideoTree:
    """All video files, or all folders, below a root, by name."""

    def __init__(self, root: Path, *, folders: bool = False) -> None:
        """Take a root, which is walked once, links included, when a video is looked for.

        Args:
            root: of the videos.
            folders: a video is a folder of pictures.

        Raises:
            PrepareError: there is no such folder.
        """
        if not root.is_dir():
            raise PrepareError(f"the root of the videos, {root}, is no folder")
        self.root = root
        self._folders = folders

    @cached_property
    def _paths(self) -> dict[str, list[str]]:
        """Paths below the root by the name that they are looked for."""
        paths: dict[str, list[str]] = defaultdict(list)
        for path in walk(self.root, folders=self._folders):
            paths[_key(Path(path).name if self._folders else Path(path).stem)].append(path)
        return paths

    def find(self, entry: Entry) -> str:
        """Return the path, below the root, of an entry's video.

        Raises:
            MissingError: there is none, or there are several and nothing decides between them.
        """
        if entry.path:
            return entry.path
        if self._folders and "/" not in entry.stem and (self.root / entry.stem).is_dir():
            return entry.stem  # walking through millions of pictures takes minutes
        paths = self._paths.get(_key(entry.stem), [])
        if not paths:
            raise MissingError("no such file")
        if len(paths) > 1:
            folders = {_key(folder) for folder in entry.folders}
            named = [path for path in paths if folders & {_key(part) for part in Path(path).parts[:-1]}]
            paths = self._not_empty(named or paths)
        if len(paths) > 1:
            raise MissingError(f"several files of that name: {', '.join(sorted(paths))}")
        return paths[0]

    def _not_empty(self, paths: list[str]) -> list[str]:
        """Those with content, or one of them if none has: that it is empty is then the cause."""
        whole = [path for path in paths if (self.root / path).is_dir() or (self.root / path).stat().st_size]
        return whole or paths[:1]


def walk(root: Path, *, folders: bool = False) -> list[str]:
    """Return the paths below a root of all video files, or of all folders, sorted; hidden ones are passed over."""
    found: list[str] = []
    seen: set[str] = set()
    for place, names, files in os.walk(root, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:  # links in a circle
            names.clear()
            continue
        seen.add(real)
        names[:] = sorted(name for name in names if not name.startswith("."))
        chosen = names if folders else [name for name in files if is_video(name)]
        below = Path(place).relative_to(root)
        found += [(below / name).as_posix() for name in chosen]
    return sorted(found)


def is_video(name: str) -> bool:
    """Whether a file's name is that of a video."""
    return not name.startswith(".") and Path(name).suffix.lower() in VIDEO_SUFFIXES


def _key(name: str) -> str:
    """A name as it is compared: archives made on a Mac have decomposed letters."""
    return unicodedata.normalize("NFC", name)
