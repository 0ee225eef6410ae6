"""Two folders of videos as people have them, to try `python -m dataset.prepare folder` and what follows on.

    python -m dataset.synthetic.examples motion --root data/gestures
    python -m dataset.synthetic.examples appearance --root data/materials

Each writes `train/<class>/*.mp4` and `test/<class>/*.mp4`: real H.264 of 640 x 480, of 10 to 30 frames a second and 2
to 6 seconds, before cluttered scenes that move (dataset/synthetic/clutter.py); test videos have scenes of their own.
`motion`: ten shapes that a finger draws (strokes.py). `appearance`: six materials (materials.py). A video depends on
the seed, its split and its index alone. A killed command is continued by the same one; another set is left alone.
"""

import argparse
import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from dataset.synthetic import materials, strokes
from dataset.synthetic.clutter import Backdrop, Timing, draw_timing
from dataset.synthetic.making import Drawn, make_set, require_at_least
from dataset.writers.encoding import encode_h264
from dataset.writers.stores import VideoFiles
from utils.cli import Parser, run_script

GENERATOR_VERSION = 1  # raised when the same parameters begin to make other videos
_SPLITS = ("train", "test")
_VIDEOS_OF_SCENE = 2  # of every class
_H264_OPTIONS = {"preset": "veryfast", "crf": "24", "threads": "1", "x264-params": "mbtree=0"}


@dataclass(frozen=True, slots=True)
class Example:
    """A data set: its classes, and what draws the frames of a video of one."""

    classes: Sequence[str]
    film: Callable[..., Iterator[np.ndarray]]


EXAMPLES = {
    "motion": Example(tuple(strokes.SHAPES), strokes.film),
    "appearance": Example(tuple(materials.MATERIALS), materials.film),
}


@dataclass(frozen=True, slots=True)
class Parameters:
    """What a folder is made from; `example` is one of `EXAMPLES`."""

    example: str
    num_train: int
    num_test: int
    seed: int
    generator: int = GENERATOR_VERSION

    def __post_init__(self) -> None:
        """Refuse what no folder can be made of."""
        require_at_least(self, {"num_train": 1, "num_test": 1, "seed": 0})


def make_example(parameters: Parameters, root: Path, *, workers: int | None = None) -> None:
    """Make a folder of videos, or complete it; arguments and errors as of `make_set`."""
    classes = EXAMPLES[parameters.example].classes
    videos = [
        Drawn(split, index, classes[index % len(classes)], _timing(parameters, split, index)[0].num_frames)
        for split, count in zip(_SPLITS, (parameters.num_train, parameters.num_test), strict=True)
        for index in range(count)
    ]
    encode = functools.partial(_encode, parameters=parameters)
    make_set(root, asdict(parameters), store=VideoFiles(root), videos=videos, encode=encode, texts={}, workers=workers)


def _timing(parameters: Parameters, split: str, index: int) -> tuple[Timing, np.random.Generator]:
    """Return how long a video is, and the generator that draws the rest of it."""
    rng = np.random.default_rng((parameters.seed, _SPLITS.index(split), index))
    return draw_timing(rng), rng


def frames_of(video: Drawn, parameters: Parameters) -> tuple[Timing, Iterator[np.ndarray]]:
    """Return how long a video is, and its frames, uint8 [480, 640, 3] each, before any encoding."""
    example = EXAMPLES[parameters.example]
    timing, rng = _timing(parameters, video.split, video.index)
    number = video.index // (_VIDEOS_OF_SCENE * len(example.classes))
    scene = np.random.default_rng((parameters.seed, len(_SPLITS) + _SPLITS.index(video.split), number))
    backdrop = Backdrop(scene, rng, timing=timing)
    return timing, example.film(video.class_name, backdrop, rng, timing=timing)


def _encode(video: Drawn, parameters: Parameters) -> list[bytes]:
    timing, frames = frames_of(video, parameters)
    return [encode_h264(frames, rate=timing.rate, options=_H264_OPTIONS)]


def main() -> None:
    """Run the command line."""
    parser = Parser(
        prog="python -m dataset.synthetic.examples",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("example", choices=tuple(EXAMPLES), help="what tells the classes apart")
    parser.add_argument("--root", type=Path, required=True, help="folder of the videos")
    parser.add_argument("--num_train", type=int, default=150, help="training videos (150)")
    parser.add_argument("--num_test", type=int, default=70, help="test videos (70)")
    parser.add_argument("--seed", type=int, default=0, help="another one gives other videos (0)")
    parser.add_argument("--workers", type=int, help="processes (usable processors); the videos do not depend on it")
    options = vars(parser.parse_args())
    root, workers = options.pop("root"), options.pop("workers")
    make_example(Parameters(**options), root, workers=workers)


if __name__ == "__main__":
    run_script(main)
