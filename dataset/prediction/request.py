"""A prediction request: parse and check videos, weights and outputs before anything is computed. No torch."""

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
    """A prediction request that cannot be carried out."""


@dataclass(frozen=True)
class Source:
    """A video file to predict.

    Attributes:
        path: Path of the file.
        name: Name of its results, a path relative to an output folder.
        problem: Why there is nothing to predict; empty if there is a file.
    """

    path: Path
    name: str
    problem: str = ""


@dataclass(frozen=True)
class Stride:
    """Distance from the start of one window to the start of the next: in frames or, if that is 0, in seconds."""

    frames: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class Outputs:
    """Output paths, None for outputs that are not wanted.

    `json`, `csv` and `segments` are files for all videos; `annotate`, `timeline` and `features` are folders with one
    file per video.
    """

    json: Path | None = None
    csv: Path | None = None
    segments: Path | None = None
    annotate: Path | None = None
    timeline: Path | None = None
    features: Path | None = None

    @property
    def want_windows(self) -> bool:
        """Whether a wanted output needs the scores of windows."""
        return any((self.segments, self.annotate, self.timeline, self.features))

    def require_new(self, names: Sequence[str]) -> None:
        """Require that no output exists already and that no two videos have outputs of the same name.

        Raises:
            PredictionError: One of them does; the message names the file.
        """
        files = [path for path in (self.json, self.csv, self.segments) if path]
        folders = ((self.annotate, (".mp4",)), (self.timeline, (".png",)), (self.features, (".npy", ".csv")))
        for folder, suffixes in folders:
            files += [folder / f"{name}{suffix}" for name in names for suffix in suffixes] if folder else []
        for file, count in Counter(files).items():
            if file.exists():
                raise PredictionError(f"{file} exists already; choose another name")
            if count > 1:
                raise PredictionError(f"two results would be called {file}; rename a video, or choose another folder")


@dataclass(frozen=True)
class Request:
    """A checked prediction request.

    Attributes:
        sources: The video files.
        weights: The file of weights.
        class_names: Class names given by the user; empty to use those of the weights or the record.
        top_k: Number of classes to report.
        stride: Stride of the windows; None for the length of a window.
        outputs: The outputs to write.
    """

    sources: tuple[Source, ...]
    weights: Path
    class_names: tuple[str, ...]
    top_k: int
    stride: Stride | None
    outputs: Outputs


def parse_stride(text: str) -> Stride:
    """Parse a stride: '8' is 8 frames, '0.5s' half a second.

    Raises:
        PredictionError: It has another form, or is zero.
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
    """Check a request: find its videos and weights, read the class names.

    Args:
        config: The record; a relative path of its weights is looked up in the working directory, then in the project's
            root.
        paths: Video files, or folders whose videos are all predicted.
        classes: A file of class names; None to use those of the weights or the record.
        top_k: Number of classes to report.
        stride: Stride of the windows as given on the command line.
        outputs: The outputs to write.

    Raises:
        UserError: The request cannot be carried out for any video.
    """
    if config.dataset.use_flow:
        raise PredictionError(f"{config.name} takes optical flow (dataset.use_flow), which video files do not hold")
    weights = find_file(config.eva_model)
    if not weights.is_file():
        raise PredictionError(f"no weights: {config.eva_model} does not exist; train {config.name}, or pass --weights")
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
    """Return the class names: the first given of the user's, the weights' and the lists', else the class indices.

    Args:
        config: The record, which names the lists.
        given: Names given by the user; empty for none.
        carried: Names stored with the weights; empty for none.
    """
    numbers = [str(number) for number in range(config.dataset.num_classes)]
    lists = (config.dataset.eva_list_file, config.dataset.list_file)
    found = (read_class_names(str(find_file(Path(file))), len(numbers)) for file in lists)
    named = (list(names) for group in ([given, carried], found) for names in group)
    return tuple(next((names for names in named if names and names != numbers), numbers))
