"""Make a folder of videos by class, to try `python -m dataset.prepare folder` and the steps after it.

    python -m dataset.synthetic.examples motion --root data/gestures
    python -m dataset.synthetic.examples appearance --root data/materials

Each writes `train/<class>/*.mp4` and `test/<class>/*.mp4`: H.264 videos of 640 x 480 pixels, 10 to 30 frames per second
and 2 to 6 seconds, with cluttered, moving backgrounds (dataset/synthetic/clutter.py), other ones in the test videos.
`motion`: ten shapes that a finger draws (strokes.py). `appearance`: six materials (materials.py). A video depends on
the seed, its split and its index only. A killed command is continued by running it again; a folder that holds another
set is not changed.
"""

import argparse
import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from dataset.synthetic import materials, strokes
from dataset.synthetic.clutter import Backdrop, Timing, draw_timing
from dataset.synthetic.generation import VideoSpec, make_set, require_at_least
from dataset.writers.encoding import encode_h264
from dataset.writers.stores import VideoFiles
from utils.cli import Parser, run_script

GENERATOR_VERSION = 1  # incremented whenever the same parameters make different videos
_SPLITS = ("train", "test")
_VIDEOS_OF_SCENE = 2  # videos of each class that share a scene
_H264_OPTIONS = {"preset": "veryfast", "crf": "24", "threads": "1", "x264-params": "mbtree=0"}


@dataclass(frozen=True, slots=True)
class Example:
    """An example set: its classes, and the function that renders the frames of a video."""

    classes: Sequence[str]
    render: Callable[..., Iterator[np.ndarray]]


EXAMPLES = {
    "motion": Example(tuple(strokes.SHAPES), strokes.render),
    "appearance": Example(tuple(materials.MATERIALS), materials.render),
}


@dataclass(frozen=True, slots=True)
class Parameters:
    """Parameters of a folder; `example` is a key of EXAMPLES."""

    example: str
    num_train: int
    num_test: int
    seed: int
    generator: int = GENERATOR_VERSION

    def __post_init__(self) -> None:
        """Check the ranges."""
        require_at_least(self, {"num_train": 1, "num_test": 1, "seed": 0})


def make_example(parameters: Parameters, root: Path, *, workers: int | None = None) -> None:
    """Make a folder of videos, or complete it; arguments and errors as for `make_set`."""
    classes = EXAMPLES[parameters.example].classes
    videos = [
        VideoSpec(split, index, classes[index % len(classes)], _timing(parameters, split, index)[0].num_frames)
        for split, count in zip(_SPLITS, (parameters.num_train, parameters.num_test), strict=True)
        for index in range(count)
    ]
    encode = functools.partial(_encode, parameters=parameters)
    make_set(root, asdict(parameters), store=VideoFiles(root), videos=videos, encode=encode, texts={}, workers=workers)


def _timing(parameters: Parameters, split: str, index: int) -> tuple[Timing, np.random.Generator]:
    """Return the timing of a video, and the generator for the rest of it."""
    rng = np.random.default_rng((parameters.seed, _SPLITS.index(split), index))
    return draw_timing(rng), rng


def frames_of(video: VideoSpec, parameters: Parameters) -> tuple[Timing, Iterator[np.ndarray]]:
    """Return the timing of a video, and its frames before encoding, uint8 [480, 640, 3] each."""
    example = EXAMPLES[parameters.example]
    timing, rng = _timing(parameters, video.split, video.index)
    number = video.index // (_VIDEOS_OF_SCENE * len(example.classes))
    scene = np.random.default_rng((parameters.seed, len(_SPLITS) + _SPLITS.index(video.split), number))
    backdrop = Backdrop(scene, rng, timing=timing)
    return timing, example.render(video.class_name, backdrop, rng, timing=timing)


def _encode(video: VideoSpec, parameters: Parameters) -> list[bytes]:
    timing, frames = frames_of(video, parameters)
    return [encode_h264(frames, rate=timing.rate, options=_H264_OPTIONS)]


def main() -> None:
    """Run the command line."""
    parser = Parser(
        prog="python -m dataset.synthetic.examples",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("example", choices=tuple(EXAMPLES), help="what distinguishes the classes")
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
