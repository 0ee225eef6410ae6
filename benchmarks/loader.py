"""Helpers of the benchmarks of loading: generated videos, our loader and others' loaders."""

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from benchmarks.measuring import Parser
from dataset.listing import VideoList
from dataset.loading import VideoLoader
from dataset.readers import FrameReader
from dataset.synthetic.store import encode_jpegs
from dataset.transforms.normalization import ClipNormalizer
from dataset.transforms.recipes import TrainTransform, build_train_transform
from dataset.video_dataset import TrainingClips, collate_clips, worker_init
from dataset.writers.encoding import encode_h264
from dataset.writers.stores import FrameFolders, VideoEnvironments
from utils.clip_shape import ClipShape

HEIGHT, WIDTH = 256, 340
# Format and distance of key frames, by the name of the folder.
STORES = {"RAW-250": ("RAW", 250), "RAW-12": ("RAW", 12), "FRAME": ("FRAME", 0), "LMDB": ("LMDB", 0)}
TRANSFORM_TYPES = ("default", "rand_augment")


def make_frames(number: int, num_frames: int) -> np.ndarray:
    """Draw a pan with zoom over a texture with the spectrum of photographs, moving discs and sensor noise."""
    rng = np.random.default_rng(number)
    size = 640
    texture = np.zeros((size, size, 3), np.float32)
    for octave in range(1, 8):
        cells = rng.standard_normal((2**octave, 2**octave, 3)).astype(np.float32)
        cells *= 90 / 2 ** (octave / 1.5)
        texture += np.asarray(cv2.resize(cells, (size, size), interpolation=cv2.INTER_CUBIC))
    noise = rng.normal(0, 1.5, (4, HEIGHT, WIDTH, 3)).astype(np.float32)
    course = rng.uniform(-0.7, 0.7, (4, 2))
    colors = rng.integers(0, 256, (3, 3)).tolist()
    frames = np.empty((num_frames, HEIGHT, WIDTH, 3), np.uint8)
    for time_step, frame in enumerate(frames):
        zoom = 1 + 0.2 * np.sin(time_step / 40)
        shift = 100 + time_step * course[3] / 4
        matrix = np.array([[zoom, 0, shift[0]], [0, zoom, shift[1]]])
        view = cv2.warpAffine(texture, matrix, (WIDTH, HEIGHT), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
        view = view + noise[time_step % 4] + 128
        frame[...] = view.clip(0, 255)
        for sprite in range(3):
            center = (np.array([WIDTH, HEIGHT]) * (0.2 + 0.3 * sprite) + time_step * course[sprite]).astype(int)
            cv2.circle(frame, center.tolist(), 20 + 8 * sprite, colors[sprite], -1, cv2.LINE_AA)
    return frames


def write_video(path: Path, frames: np.ndarray, *, key_interval: int) -> None:
    """Encode with x264's defaults, except for the distance of key frames."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode_h264(frames, rate=30, options={"crf": "23", "g": str(key_interval)}))


def make_data(root: Path, *, videos: int, frames: int) -> None:
    """Write every store and its list below `root`, unless they exist."""
    if (root / "done").exists():
        return
    lists: dict[str, list[str]] = {name: [] for name in STORES}
    for number in range(videos):
        pixels = make_frames(number, frames)
        jpegs = encode_jpegs(pixels)
        for name, (format, key_interval) in STORES.items():
            path = f"video{number}.mp4" if format == "RAW" else f"video{number}"
            if format == "RAW":
                write_video(root / name / path, pixels, key_interval=key_interval)
            else:
                (FrameFolders if format == "FRAME" else VideoEnvironments)(root / name).write(path, jpegs)
            lists[name].append(f"{path} {frames} {number}")
    for name, lines in lists.items():
        (root / f"{name}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (root / "done").touch()


class Keys:
    """Batch sampler of (epoch, video) keys: `clips` per repeat, cycling through the videos; new epochs per repeat."""

    def __init__(self, *, videos: int, clips: int, batch: int) -> None:
        """Start with repeat 0."""
        self.videos, self.clips, self.batch = videos, clips, batch
        self.repeat = 0

    def __len__(self) -> int:
        """Return the number of batches."""
        return -(-self.clips // self.batch)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        """Yield the batches of this repeat."""
        keys = [(self.repeat * self.clips + number, number % self.videos) for number in range(self.clips)]
        for start in range(0, self.clips, self.batch):
            yield keys[start : start + self.batch]


@dataclass(frozen=True, slots=True)
class Contender:
    """A loader, its batch sampler, and a function from its batches to floats on the device."""

    loader: DataLoader
    keys: Keys
    finish: Callable[[Any], torch.Tensor]

    def run(self, repeat: int) -> float:
        """Load the clips of a repeat; return clips per second."""
        self.keys.repeat = repeat
        clips = 0
        start = time.perf_counter()
        for batch in self.loader:
            clips += len(self.finish(batch))
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return clips / (time.perf_counter() - start)


def make_ours(options: argparse.Namespace, videos: VideoList, reader: FrameReader, transform: Any) -> Contender:
    """Return our loader, with `options.workers` processes."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    normalizer = ClipNormalizer()
    # The network's input is reused: allocating memory costs more than writing to it.
    memory = torch.empty((options.batch, 3, options.length, options.size, options.size), device=device)
    keys = Keys(videos=len(videos), clips=options.clips, batch=options.batch)
    loader = VideoLoader(
        TrainingClips(videos, reader, transform, shape=ClipShape(1, options.length, 1), seed=(0,)),
        batch_sampler=keys,
        collate_fn=collate_clips,
        num_workers=options.workers,
        worker_init_fn=worker_init,
        pin_memory=device.type == "cuda",
        persistent_workers=True,
    )
    return Contender(
        loader,
        keys,
        lambda batch: normalizer(batch.clips.to(device, non_blocking=True), out=memory[: len(batch.clips)]),
    )


def make_transform(options: argparse.Namespace, transform_type: str) -> TrainTransform:
    """Build our transform of the given type."""
    return build_train_transform(
        transform_type, crop_size=options.size, ra_n=options.ra_n, ra_m=options.ra_m, horizontal_flip=True
    )


def make_peer_loader(options: argparse.Namespace, videos: VideoList, clips: Dataset, **settings: Any) -> Contender:
    """Return a DataLoader of clips that are floats already, [C, T, H, W]; `settings` are its further arguments."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    keys = Keys(videos=len(videos), clips=options.clips, batch=options.batch)
    loader = DataLoader(clips, batch_sampler=keys, num_workers=options.workers, persistent_workers=True, **settings)
    return Contender(loader, keys, lambda batch: batch[0].to(device))


def add_loader_options(parser: Parser, *, videos: int, clips: int, repeats: int) -> None:
    """Add what a loader is measured with; the numbers are defaults."""
    parser.add_number("--videos", videos, "how many to make")
    parser.add_number("--frames", 300, "of each video")
    parser.add_number("--workers", 2, "processes of each loader")
    parser.add_number("--batch", 8, "clips a batch")
    parser.add_number("--length", 16, "frames a clip")
    parser.add_number("--size", 224, "of the crop, in pixels")
    parser.add_number("--clips", clips, "clips per repeat")
    parser.add_number("--repeats", repeats, "timed runs of each contender, after one that is not")
    parser.add_number("--ra_n", 2, "operations of rand_augment")
    parser.add_number("--ra_m", 9, "their magnitude of 30")
    parser.add_argument("--root", type=Path, help="folder to keep the videos in (default: temporary)")
