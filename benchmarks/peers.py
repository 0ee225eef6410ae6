r"""Our reader, transforms and loader against torchcodec, decord2, PyAV, OpenCV, torchvision v2 and mmaction2.

Four parts, each with its table; a ratio is other / ours in time (ours / other in clips per second), the median of
paired repeats, smallest and largest in brackets, so that above 1 ours is faster:

decoding      milliseconds per clip of 340 x 256 from H.264 with a key frame every 12 or 250 frames, 16 consecutive
              frames ("dense") or 8 frames at a distance of 4 ("sparse"); one thread each; each call opens the file
              again. "ours" has indexed the files before, "ours, new files" has not. Then the number of frames that
              equal those of a decode from the start.
accuracy      the same count on files on which readers differ; "~" marks right frames in slightly different colors;
              frames that are neither right nor "wrong" ended in an error
augmentation  milliseconds per clip of 16 frames for `default` and `rand_augment`, uint8 to uint8 of 224 x 224, one
              thread
loaders       clips per second with worker processes, up to normalized floats: as a user writes it with torchcodec and
              torchvision v2, and mmaction2's pipeline (decord, OpenCV frame by frame, floats from the workers);
              both decode the JPEGs of FRAME and LMDB with OpenCV, as we do

Packages that are not installed are skipped by name. torchcodec and decord2 are not required; install them outside of
the environment:

    python -m pip install --no-deps --target peers torchcodec==0.13.0 decord2

torchcodec 0.13 is the last version that loads with a CPU build of torch (0.11 to 0.13 do with torch 2.13; later wheels
require CUDA's libraries). It uses FFmpeg's libraries of the system (`apt-get install ffmpeg`), or those in PyAV's wheel
under FFmpeg's names, which gives both the same decoder:

    mkdir ffmpeg && for library in .venv/lib/python3*/site-packages/av.libs/*; do
        name=$(basename "$library"); ln -s "$PWD/$library" ffmpeg/
        ln -sf "$PWD/$library" "ffmpeg/$(echo "$name" | sed -E 's/-[0-9a-f]{8}(\.so\.[0-9]+).*/\1/')"
    done
    PYTHONPATH=peers LD_LIBRARY_PATH=ffmpeg python benchmarks/peers.py 2> decoders.txt

The part `accuracy` uses videos of the tests, which need pytest. Close other programs first.
"""

import argparse
import os
import statistics
import sys
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from importlib import metadata
from pathlib import Path

import cv2
import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.loader import (
    STORES,
    TRANSFORM_TYPES,
    Contender,
    add_loader_options,
    make_data,
    make_ours,
    make_peer_loader,
    make_transform,
)
from benchmarks.measuring import Parser, alternate, describe_machine, ratio_text, seconds_of
from benchmarks.peer_loaders import make_peer_clips, make_video_transforms
from benchmarks.peer_readers import Accuracy, Reader, check_reader, make_readers
from dataset.listing import VideoList, read_list
from dataset.readers import open_reader
from dataset.sampling import draw_clip
from dataset.video_dataset import worker_init
from tests.video_kinds import VIDEOS
from tests.videos import sequential_frames
from utils.clip_shape import ClipShape

SHAPES = {"dense": ClipShape(1, 16, 1), "sparse": ClipShape(1, 8, 4)}
# Names in tests.video_kinds: files whose frames a reader may number differently from the frames that a player shows.
KINDS = (
    *("B-frames", "open groups", "variable rate", "edit list", "edit list within a group", "late start"),
    *("transport stream", "within a group", "avi, mpeg4", "interlaced"),
)
Clips = list[tuple[Path, list[int]]]


def settings_of(options: argparse.Namespace) -> dict[str, int]:
    """Return the settings of the transforms."""
    return {"size": options.size, "ra_n": options.ra_n, "ra_m": options.ra_m}


def draw_clips(videos: VideoList, folder: Path, shape: ClipShape, *, count: int, repeat: int) -> Clips:
    """Draw `count` clips, cycling through the videos."""
    rng = np.random.default_rng((repeat, count))
    records = [videos[number % len(videos)] for number in range(count)]
    return [(folder / record.path, draw_clip(record.num_frames, shape, rng=rng).tolist()) for record in records]


def report_times(
    acts: Mapping[str, Callable[[int], None]], notes: Mapping[str, object], *, count: int, repeats: int
) -> None:
    """Call all in alternation, each for `count` clips; print milliseconds per clip, ratios to ours, and notes."""

    def measure(act: Callable[[int], None], repeat: int) -> float:
        return 1000 * seconds_of(partial(act, repeat)) / count

    found = alternate({name: partial(measure, act) for name, act in acts.items()}, repeats=repeats, untimed=1)
    for name, times in found.items():
        text = f"{statistics.median(times):9.2f} ms   {ratio_text(times, found['ours']):22}{notes.get(name, '')}"
        print(f"  {name:22}{text}", flush=True)


def decode(reader: Reader, clips: list[Clips], repeat: int) -> None:
    """Decode the clips of a repeat."""
    for path, numbers in clips[repeat]:
        reader(path, numbers)


def measure_decoding(options: argparse.Namespace, root: Path) -> None:
    """Print times and accuracy of the readers on the loaders' videos."""
    readers, skipped = make_readers()
    for name, reason in skipped.items():
        print(f"  {name}: skipped: {reason}")
    for store in (name for name, (format, _) in STORES.items() if format == "RAW"):
        videos, folder = read_list(root / f"{store}.txt"), root / store
        for shape_name, shape in SHAPES.items():
            clips = [
                draw_clips(videos, folder, shape, count=options.decoded, repeat=repeat)
                for repeat in range(options.repeats + 1)
            ]
            print(f"decoding, {store}, {shape_name}: per clip, / ours, right frames")
            acts = {name: partial(decode, reader, clips) for name, reader in readers.items()}
            notes = check_readers(readers, clips[0][: len(videos)])
            report_times(acts, notes, count=options.decoded, repeats=options.repeats)


def check_readers(readers: Mapping[str, Reader], clips: Clips) -> dict[str, Accuracy]:
    """Compare all readers on one clip of each file."""
    found = dict.fromkeys(readers, Accuracy())
    for path, numbers in clips:
        truth = np.stack(sequential_frames(path))
        for name, reader in readers.items():
            found[name] += check_reader(reader, path, [numbers], truth)
    return found


def measure_accuracy(_options: argparse.Namespace, root: Path) -> None:
    """Print the number of right frames of unusual files, one line per file and one column per reader."""
    readers, _ = make_readers()
    print(f"{'right frames of clips of 8':26}" + "".join(f"{name:>20}" for name in readers))
    for number, kind in enumerate(KINDS):
        folder = root / f"kind{number}"
        folder.mkdir(exist_ok=True)
        path = VIDEOS[kind](folder)
        truth = np.stack(sequential_frames(path))
        clips = [list(range(first, first + 8)) for first in range(0, len(truth) - 7, 5)]
        cells = (str(check_reader(reader, path, clips, truth)) for reader in readers.values())
        print(f"{kind:26}" + "".join(f"{cell:>20}" for cell in cells), flush=True)


def measure_augmentation(options: argparse.Namespace, root: Path) -> None:
    """Print times of the transforms alone."""
    name = next(name for name, (format, _) in STORES.items() if format == "RAW")
    videos, folder = read_list(root / f"{name}.txt"), root / name
    reader = open_reader("RAW", folder)
    shape = ClipShape(1, options.length, 1)
    frames = [
        reader.read(video, draw_clip(video.num_frames, shape, rng=np.random.default_rng(0))).numpy() for video in videos
    ]
    for transform_type in TRANSFORM_TYPES:
        transforms: dict[str, Callable[..., object]] = {
            "ours": make_transform(options, transform_type),
            **make_video_transforms(transform_type, **settings_of(options)),
        }
        print(f"augmentation, {transform_type}: per clip, / ours")
        acts = {name: partial(augment, it, frames, options.augmented) for name, it in transforms.items()}
        report_times(acts, {}, count=options.augmented, repeats=options.repeats)


def augment(transform: Callable[..., object], frames: list[np.ndarray], count: int, repeat: int) -> None:
    """Transform `count` clips; the repeat seeds the random draws."""
    for number in range(count):
        torch.manual_seed(1000 * repeat + number)
        transform(frames[number % len(frames)], np.random.default_rng((repeat, number)))


def make_contenders(
    options: argparse.Namespace, root: Path, *, store: str, transform_type: str
) -> dict[str, Contender | str]:
    """Return our loader and the others by name; for one that is not available, the reason."""
    format, folder = STORES[store][0], root / store
    videos, settings = read_list(root / f"{store}.txt"), settings_of(options)
    others = make_peer_clips(
        videos, folder, format=format, transform_type=transform_type, length=options.length, settings=settings
    )
    ours = make_ours(options, videos, open_reader(format, folder), make_transform(options, transform_type))
    return {"ours": ours} | {
        name: clips if isinstance(clips, str) else make_peer_loader(options, videos, clips, worker_init_fn=worker_init)
        for name, clips in others.items()
    }


def measure_loaders(options: argparse.Namespace, root: Path) -> None:
    """Print clips per second of whole loaders."""
    for store in options.stores:
        for transform_type in TRANSFORM_TYPES:
            found = make_contenders(options, root, store=store, transform_type=transform_type)
            print(f"loader, {store}, {transform_type}: clips/s, ours / this")
            runs = {name: it.run for name, it in found.items() if isinstance(it, Contender)}
            speeds = alternate(runs, repeats=options.repeats, untimed=1)
            for name, it in found.items():
                if isinstance(it, str):
                    print(f"  {name:22}skipped: {it}")
                    continue
                text = f"{statistics.median(speeds[name]):9.1f}   {ratio_text(speeds['ours'], speeds[name])}"
                print(f"  {name:22}{text}", flush=True)


PARTS: dict[str, Callable[[argparse.Namespace, Path], None]] = {
    "decoding": measure_decoding,
    "accuracy": measure_accuracy,
    "augmentation": measure_augmentation,
    "loaders": measure_loaders,
}


def describe_peers() -> str:
    """Return the versions of the other projects that are installed."""
    distributions = {found.name: found.version for found in metadata.distributions()}
    return " ".join(
        f"{name} {distributions.get(name, 'not installed')}" for name in ("torchcodec", "decord2", "torchvision")
    )


def parse_options() -> argparse.Namespace:
    """Parse the command line."""
    parser = Parser(__doc__)
    add_loader_options(parser, videos=6, clips=32, repeats=3)
    parser.add_number("--decoded", 12, "clips decoded per reader and repeat")
    parser.add_number("--augmented", 12, "clips transformed per transform and repeat")
    parser.add_argument("--stores", nargs="+", choices=STORES, default=list(STORES))
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    return parser.parse_args()


def main() -> None:
    """Make the videos, measure, print."""
    options = parse_options()
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # silences an error for each frame of interlaced videos
    torch.set_num_threads(1)  # as in a loader's worker
    cv2.setNumThreads(0)
    print(f"{describe_machine()}\n{describe_peers()}", flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        root = options.root or Path(temporary)
        make_data(root, videos=options.videos, frames=options.frames)
        for part in options.parts:
            PARTS[part](options, root)


if __name__ == "__main__":
    main()
