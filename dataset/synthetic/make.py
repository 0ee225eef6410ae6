"""Make the embedded dataset: labeled H.264 videos of moving sprites, without any download.

    python -m dataset.synthetic --root data/synthetic

writes 600 training and 180 test videos of 12 motion classes (described in `dataset.synthetic.scene`), `train_list.txt`
and `test_list.txt` ("path frames label"), and `classes.txt` (one class name per line). A video depends on (seed, split,
index) only, so any number of worker processes makes the same set. A killed run is continued by running it again; a
folder that holds another set is not changed.
"""

from __future__ import annotations

import argparse
import functools
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dataset.listing import CLASSES_FILE
from dataset.synthetic.generation import SyntheticError, VideoSpec, make_set, require_at_least
from dataset.synthetic.scene import CLASSES, MOTIONS, NOISE, Scene, make_scene, render
from dataset.synthetic.store import FORMATS
from utils.cli import Parser

GENERATOR_VERSION = 2  # incremented whenever the same parameters make different videos
SPLITS = ("train", "test")
IMPLIED = {"noise": NOISE}  # parameters of sets made before these could be chosen


@dataclass(frozen=True, slots=True)
class Parameters:
    """Parameters of a dataset; `size` is the height of a frame, pixels, `noise` is in gray levels."""

    num_train: int
    num_test: int
    size: int
    frames: int
    format: str
    seed: int
    noise: float = NOISE
    generator: int = GENERATOR_VERSION

    def __post_init__(self) -> None:
        """Check the ranges and the format."""
        require_at_least(self, {"num_train": 1, "num_test": 1, "size": 32, "frames": 4, "seed": 0, "noise": 0})
        if self.size % 2:
            raise SyntheticError(f"size must be even for H.264 video, not {self.size}")
        if self.format not in FORMATS:
            raise SyntheticError(f"format must be one of {', '.join(FORMATS)}, not {self.format!r}")


def make_video(split: str, index: int, *, parameters: Parameters) -> tuple[Scene, NDArray[np.uint8]]:
    """Return the scene of a video of class `class_of(index)`, and its frames before encoding, uint8 [T, H, W, 3]."""
    rng = np.random.default_rng((parameters.seed, SPLITS.index(split), index))
    motion = MOTIONS[class_of(index)]
    scene = make_scene(rng, motion=motion, size=parameters.size, num_frames=parameters.frames)
    return scene, render(scene, rng, noise=parameters.noise)


def class_of(index: int) -> str:
    """Return the class of a video by its index; classes are balanced."""
    return CLASSES[index % len(CLASSES)]


def make_synthetic(
    root: str | Path,
    *,
    num_train: int = 600,
    num_test: int = 180,
    size: int = 72,
    frames: int = 40,
    format: str = "RAW",
    seed: int = 0,
    noise: float = NOISE,
    workers: int | None = None,
) -> None:
    """Make the embedded dataset in a folder, or complete it; return at once if it is complete.

    Args:
        root: Folder of the dataset, created if missing.
        num_train: Number of training videos; classes alternate.
        num_test: Number of test videos, drawn with other seeds.
        size: Height of a frame, pixels, even; the width is four thirds of it.
        frames: Number of frames per video.
        format: RAW (MP4 files), FRAME (folders of JPEGs), LMDB (an environment per video), LMDB_SET (one environment).
        seed: Seed of all videos.
        noise: Standard deviation of the camera noise, gray levels; more noise makes the set harder.
        workers: Number of processes, None for the number of usable processors. It does not change the videos.

    Raises:
        SyntheticError: A parameter is out of range, the folder holds something else, or the disk is full.
    """
    parameters = Parameters(num_train, num_test, size, frames, format, seed, noise)
    store = FORMATS[format][0](Path(root))
    counts = zip(SPLITS, (num_train, num_test), strict=True)
    videos = [VideoSpec(split, index, class_of(index), frames) for split, count in counts for index in range(count)]
    encode, texts = functools.partial(_encode, parameters=parameters), _texts(videos, store.suffix, frames)
    values = asdict(parameters)
    make_set(
        Path(root), values, store=store, videos=videos, encode=encode, texts=texts, workers=workers, implied=IMPLIED
    )


def _texts(videos: Sequence[VideoSpec], suffix: str, frames: int) -> dict[str, str]:
    """Return the contents of the lists and of the file of class names, by file name."""
    texts = {f"{split}_list.txt": "" for split in SPLITS}
    for video in videos:
        texts[f"{video.split}_list.txt"] += f"{video.stem}{suffix} {frames} {CLASSES.index(video.class_name)}\n"
    return {**texts, CLASSES_FILE: "".join(f"{name}\n" for name in CLASSES)}


def _encode(video: VideoSpec, parameters: Parameters) -> list[bytes]:
    return FORMATS[parameters.format][1](make_video(video.split, video.index, parameters=parameters)[1])


def main() -> None:
    """Run the command line."""
    parser = Parser(
        prog="python -m dataset.synthetic",
        description="Make the embedded dataset: labeled videos of moving sprites in 12 motion classes.",
        epilog="A killed run is continued by running it again. Classes: " + ", ".join(CLASSES) + ".",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--root", default="data/synthetic", help="folder of the dataset")
    parser.add_argument("--num_train", type=int, default=600, help="training videos")
    parser.add_argument("--num_test", type=int, default=180, help="test videos")
    parser.add_argument("--size", type=int, default=72, help="height in pixels, even; the width is four thirds of it")
    parser.add_argument("--frames", type=int, default=40, help="frames per video")
    parser.add_argument("--format", choices=tuple(FORMATS), default="RAW", help="LMDB_SET: one environment for all")
    parser.add_argument("--seed", type=int, default=0, help="another one gives other videos")
    parser.add_argument(
        "--noise", type=float, default=NOISE, help="camera noise, gray levels: more of it makes the set harder"
    )
    parser.add_argument(
        "--workers", type=int, help="processes (default: usable processors); the videos do not depend on it"
    )
    make_synthetic(**vars(parser.parse_args()))
