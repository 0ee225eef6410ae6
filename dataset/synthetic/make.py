"""Makes the embedded data set: labelled real H.264 videos of moving sprites, without any download.

    python -m dataset.synthetic --root data/synthetic

writes 600 training and 180 test videos of 12 motion classes (`dataset.synthetic.scene` says what they show),
`train_list.txt` and `test_list.txt` ("path frames label"), and `classes.txt` (one class name a line). A video depends
on (seed, split, its index) and on nothing else, so any number of worker processes makes the same set. A killed run is
continued by the same command; a folder with another set in it is left alone.
"""

from __future__ import annotations

import argparse
import errno
import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import lmdb
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from dataset.listing import CLASSES_FILE
from dataset.synthetic.scene import CLASSES, MOTIONS, Scene, make_scene, render
from dataset.synthetic.store import FORMATS
from utils.cli import Parser
from utils.errors import UserError
from utils.files import write_text_atomically
from utils.text import printable
from utils.workers import process_pool, usable_cores

GENERATOR_VERSION = 2  # raised when the same parameters begin to make other videos
SPLITS = ("train", "test")
DESCRIPTION = "synthetic.json"
SMALLEST_FREE_SPACE = 1 << 20  # bytes; about what LMDB adds to the disk for one video


class SyntheticError(UserError):
    """The data set cannot be made as asked."""


@dataclass(frozen=True, slots=True)
class Parameters:
    """What a data set is made from; `size` is the height of a frame, in pixels."""

    num_train: int
    num_test: int
    size: int
    frames: int
    format: str
    seed: int
    generator: int = GENERATOR_VERSION

    def __post_init__(self) -> None:
        """Refuse what no data set can be made of."""
        limits = {"num_train": 1, "num_test": 1, "size": 32, "frames": 4, "seed": 0}
        for name, low in limits.items():
            if getattr(self, name) < low:
                raise SyntheticError(f"{name} must be at least {low}, not {getattr(self, name)}")
        if self.size % 2:
            raise SyntheticError(f"size must be even for H.264 video, not {self.size}")
        if self.format not in FORMATS:
            raise SyntheticError(f"format must be one of {', '.join(FORMATS)}, not {self.format!r}")


@dataclass(frozen=True, slots=True)
class Video:
    """One video to make; its class follows from its index, so that classes are balanced."""

    split: str
    index: int

    @property
    def label(self) -> int:
        """Row of the class in `CLASSES`."""
        return self.index % len(CLASSES)

    @property
    def stem(self) -> str:
        """Path below the data set's folder, without the format's suffix."""
        return f"{self.split}/{CLASSES[self.label]}/{self.index:05d}"


def make_video(video: Video, parameters: Parameters) -> tuple[Scene, NDArray[np.uint8]]:
    """Return the video's scene and its frames, uint8 [T, H, W, 3], before any encoding."""
    rng = np.random.default_rng((parameters.seed, SPLITS.index(video.split), video.index))
    motion = MOTIONS[CLASSES[video.label]]
    scene = make_scene(rng, motion=motion, size=parameters.size, num_frames=parameters.frames)
    return scene, render(scene, rng)


def make_synthetic(
    root: str | Path,
    *,
    num_train: int = 600,
    num_test: int = 180,
    size: int = 72,
    frames: int = 40,
    format: str = "RAW",
    seed: int = 0,
    workers: int | None = None,
) -> None:
    """Make the data set in a folder, or complete it; return at once if it is there already.

    Args:
        root: Folder of the data set; made if absent.
        num_train: Training videos; classes take turns.
        num_test: Test videos, drawn with other seeds.
        size: Height in pixels, even; the width is four thirds of it.
        frames: Frames a video.
        format: RAW (MP4 files), FRAME (folders of JPEGs), LMDB (an environment a video), LMDB_SET (one environment).
        seed: Another one gives other videos.
        workers: Processes; the number of usable processors if None. It does not change the videos.

    Raises:
        SyntheticError: Parameters out of range, the folder holds something else, or the disk is full.
    """
    root = Path(root)
    parameters = Parameters(num_train, num_test, size, frames, format, seed)
    if workers is not None and workers < 1:
        raise SyntheticError(f"workers must be at least 1, not {workers}")
    try:
        if _claim(root, parameters):
            return
        _make_missing(root, parameters, workers or usable_cores())
        _write_lists(root, parameters)
        _describe(root, parameters, complete=True)
    except (OSError, lmdb.Error) as error:
        raise SyntheticError(_explain(error, root)) from error


def _explain(error: OSError | lmdb.Error, root: Path) -> str:
    # LMDB reports a write that was cut short by a full disk as an input/output error.
    out_of_space = root.exists() and shutil.disk_usage(root).free < SMALLEST_FREE_SPACE
    if out_of_space or getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
        return f"the disk of {root} is full; finished videos are kept: free some space and run the same command again"
    return f"cannot write the data set in {root}: {error}"


def _claim(root: Path, parameters: Parameters) -> bool:
    """Check that the folder is empty or holds this very set, and note the parameters. True if it is complete."""
    description = root / DESCRIPTION
    if description.exists():
        found = json.loads(description.read_text(encoding="utf-8"))
        wanted = asdict(parameters)
        differing = [name for name in wanted if found["parameters"].get(name) != wanted[name]]
        if differing:
            have = ", ".join(f"{name} {found['parameters'].get(name)}" for name in differing)
            want = ", ".join(f"{name} {wanted[name]}" for name in differing)
            raise SyntheticError(
                f"{root} holds a data set with {have}, but {want} was asked for; "
                "nothing was changed: take another folder or delete that one"
            )
        return bool(found["complete"]) and all((root / f"{split}_list.txt").exists() for split in SPLITS)
    if root.exists() and any(root.iterdir()):
        raise SyntheticError(f"{root} is not empty and has no {DESCRIPTION}: take another folder for the data set")
    _describe(root, parameters, complete=False)
    return False


def _describe(root: Path, parameters: Parameters, *, complete: bool) -> None:
    content = json.dumps({"complete": complete, "parameters": asdict(parameters)}, indent=2)
    write_text_atomically(root / DESCRIPTION, f"{content}\n")


def _videos(parameters: Parameters) -> list[Video]:
    counts = {"train": parameters.num_train, "test": parameters.num_test}
    return [Video(split, index) for split in SPLITS for index in range(counts[split])]


def _make_missing(root: Path, parameters: Parameters, workers: int) -> None:
    """Workers draw and encode; this process alone writes, so that one place handles a full disk and a kill."""
    store = FORMATS[parameters.format][0](root)
    videos = _videos(parameters)
    missing = [v for v in videos if not store.holds(v.stem + store.suffix, num_frames=parameters.frames)]
    title = printable(f"making {root}")
    with tqdm(total=len(videos), initial=len(videos) - len(missing), desc=title, unit="video") as bar:
        for video, parts in zip(missing, _encoded(missing, parameters, workers), strict=True):
            store.write(video.stem + store.suffix, parts)
            bar.update()


def _encoded(videos: Sequence[Video], parameters: Parameters, workers: int) -> Iterator[list[bytes]]:
    """Encode the videos in order, in this process or in several fresh ones."""
    workers = min(workers, len(videos))
    if workers <= 1:
        for video in videos:
            yield _encode(video, parameters)
        return
    with process_pool(workers) as pool:
        yield from pool.map(_encode, videos, [parameters] * len(videos), chunksize=4)


def _encode(video: Video, parameters: Parameters) -> list[bytes]:
    return FORMATS[parameters.format][1](make_video(video, parameters)[1])


def _write_lists(root: Path, parameters: Parameters) -> None:
    suffix = FORMATS[parameters.format][0](root).suffix
    for split in SPLITS:
        videos = (video for video in _videos(parameters) if video.split == split)
        lines = [f"{video.stem}{suffix} {parameters.frames} {video.label}\n" for video in videos]
        write_text_atomically(root / f"{split}_list.txt", "".join(lines))
    write_text_atomically(root / CLASSES_FILE, "".join(f"{name}\n" for name in CLASSES))


def build_parser() -> argparse.ArgumentParser:
    """Return the command line."""
    parser = Parser(
        prog="python -m dataset.synthetic",
        description="Make the embedded data set: labelled videos of moving sprites in 12 motion classes.",
        epilog="A killed run is continued by the same command. Classes: " + ", ".join(CLASSES) + ".",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--root", default="data/synthetic", help="folder of the data set")
    parser.add_argument("--num_train", type=int, default=600, help="training videos")
    parser.add_argument("--num_test", type=int, default=180, help="test videos")
    parser.add_argument("--size", type=int, default=72, help="height in pixels, even; the width is four thirds of it")
    parser.add_argument("--frames", type=int, default=40, help="frames a video")
    parser.add_argument("--format", choices=tuple(FORMATS), default="RAW", help="LMDB_SET: one environment for all")
    parser.add_argument("--seed", type=int, default=0, help="another one gives other videos")
    parser.add_argument(
        "--workers", type=int, help="processes (default: usable processors); the videos do not depend on it"
    )
    return parser


def main() -> None:
    """Run the command line."""
    make_synthetic(**vars(build_parser().parse_args()))
