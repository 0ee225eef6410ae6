"""What a prediction was asked for, checked before anything is computed. No torch here."""

import re
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from dataset.listing import read_class_names
from dataset.prepare.annotations import read_class_file
from dataset.prepare.finding import describe_left_out, find_videos
from utils.config import RunConfig
from utils.config.load import find_file
from utils.errors import UserError
from utils.text import say

_STRIDE = re.compile(r"(?P<frames>[0-9]{1,9})|(?P<seconds>[0-9]{0,9}\.?[0-9]{1,9})s")


class PredictionError(UserError):
    """Something that no prediction can be made of, or written to."""


@dataclass(frozen=True)
class Source:
    """A file to look at.

    Attributes:
        path: Of the file.
        name: What its results are called, a path below any folder of results.
        problem: Why there is nothing to look at, empty where there is.
    """

    path: Path
    name: str
    problem: str = ""


@dataclass(frozen=True)
class Stride:
    """From the beginning of a window to that of the next one: a number of frames or, where that is 0, of seconds."""

    frames: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class Outputs:
    """Where results go, None for what is not asked for: three files, and a folder each with a file for every video."""

    json: Path | None = None
    csv: Path | None = None
    segments: Path | None = None
    annotate: Path | None = None
    timeline: Path | None = None
    features: Path | None = None

    @property
    def want_windows(self) -> bool:
        """Whether something is asked for that is made of a video's windows."""
        return any((self.segments, self.annotate, self.timeline, self.features))

    def require_new(self, names: Sequence[str]) -> None:
        """Refuse to overwrite results, and two videos whose results have the same name.

        Raises:
            PredictionError: Names the file.
        """
        files = [path for path in (self.json, self.csv, self.segments) if path]
        folders = ((self.annotate, (".mp4",)), (self.timeline, (".png",)), (self.features, (".npy", ".csv")))
        for folder, suffixes in folders:
            files += [folder / f"{name}{suffix}" for name in names for suffix in suffixes] if folder else []
        for file, count in Counter(files).items():
            if file.exists():
                raise PredictionError(f"{file} is there already; choose another name")
            if count > 1:
                raise PredictionError(f"two of the results are called {file}; rename a video, or choose another folder")


@dataclass(frozen=True)
class Request:
    """What to look at, with which weights, and what to write.

    Attributes:
        sources: The files.
        weights: The file of weights.
        class_names: That the user gave; empty where the weights or the record know them.
        top_k: Classes to name.
        stride: Of the windows; None: a window begins where the one before ends.
        outputs: What to write.
    """

    sources: tuple[Source, ...]
    weights: Path
    class_names: tuple[str, ...]
    top_k: int
    stride: Stride | None
    outputs: Outputs


def parse_stride(text: str) -> Stride:
    """Read a stride: '8' is frames, '0.5s' seconds.

    Raises:
        PredictionError: It is neither, or nothing.
    """
    match = _STRIDE.fullmatch(text)
    if match is None or not float(match["frames"] or match["seconds"]):
        raise PredictionError(f"--stride {text}: expected frames, such as 8, or seconds, such as 0.5s")
    return Stride(int(match["frames"] or 0), float(match["seconds"] or 0))


def make_request(
    config: RunConfig,
    paths: Sequence[Path],
    *,
    classes: Path | None,
    top_k: int,
    stride: str | None,
    outputs: Outputs,
) -> Request:
    """Find the videos, the weights and the names that were given.

    Args:
        config: The record; its weights are looked for from the working directory, then from the project's root.
        paths: Video files, and folders that stand for all videos below them.
        classes: A file of class names, None for those that the weights or the record know.
        top_k: Classes to name.
        stride: Of the windows, in words.
        outputs: What to write.

    Raises:
        UserError: What was asked for cannot be done for any video.
    """
    if config.dataset.use_flow:
        raise PredictionError(f"{config.name} looks at optical flow (dataset.use_flow), which no video file holds")
    weights = find_file(config.eva_model)
    if not weights.is_file():
        raise PredictionError(f"no weights: {config.eva_model} is not there; train {config.name}, or give --weights")
    names = read_class_file(classes) if classes else ()
    if classes and len(names) != config.dataset.num_classes:
        raise PredictionError(f"{classes}: {len(names)} names for dataset.num_classes {config.dataset.num_classes}")
    step = None if stride is None else parse_stride(stride)
    sources = tuple(_find(paths))
    outputs.require_new([source.name for source in sources if not source.problem])
    return Request(sources, weights, names, top_k, step, outputs)


def _find(paths: Sequence[Path]) -> Iterator[Source]:
    for path in paths:
        if not path.is_dir():
            yield Source(path, path.name)
            continue
        found = find_videos(path)
        for line in describe_left_out(found.left_out):
            say(f"{path}: {line}", file=sys.stderr)
        if not found.videos:
            yield Source(path, path.name, f"{path}: no video in this folder")
        yield from (Source(path / video, video) for video in found.videos)


def choose_names(config: RunConfig, given: Sequence[str], carried: Sequence[str]) -> tuple[str, ...]:
    """Return what the classes are called; without any name a class is called by its number.

    Args:
        config: The record; names beside its lists count last.
        given: By the user; empty for none.
        carried: By the weights; empty for none.
    """
    numbers = [str(number) for number in range(config.dataset.num_classes)]
    lists = (config.dataset.eva_list_file, config.dataset.list_file)
    found = (read_class_names(str(find_file(Path(file))), len(numbers)) for file in lists)
    named = (list(names) for group in ([given, carried], found) for names in group)
    return tuple(next((names for names in named if names and names != numbers), numbers))
