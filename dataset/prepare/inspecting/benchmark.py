"""Measure the speed of a loader by stage, name the stage that limits it, and advise."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dataset.listing import VideoList, VideoRecord, split_segment
from dataset.readers import FrameReader, ReadError
from dataset.readers.frame_reader import Put
from dataset.readers.video_file import VideoFile
from dataset.readers.video_index import build_index
from dataset.video_dataset import ClipBatch, TrainingClips, collate_clips

# Frames from key frame to key frame from which on advice is given: random access decodes half of them on average.
# `resize` makes groups of 12.
LONG_GROUP = 24
_PROBED_FILES = 8


@dataclass
class TimedReader(FrameReader):
    """A reader that measures its time, seconds."""

    inside: FrameReader
    seconds: float = 0.0

    def decode(self, record: VideoRecord, numbers: Sequence[int], put: Put) -> None:
        """See FrameReader."""
        began = time.perf_counter()
        self.inside.decode(record, numbers, put)
        self.seconds += time.perf_counter() - began

    def times(self, record: VideoRecord) -> NDArray[np.float64]:
        """See FrameReader."""
        began = time.perf_counter()
        times = self.inside.times(record)
        self.seconds += time.perf_counter() - began
        return times


@dataclass
class TimedTransform:
    """A transform that measures its time, seconds."""

    inside: Callable[[np.ndarray, np.random.Generator], np.ndarray]
    seconds: float = 0.0

    def __call__(self, clip: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Transform a clip."""
        began = time.perf_counter()
        result = self.inside(clip, rng)
        self.seconds += time.perf_counter() - began
        return result


@dataclass(frozen=True, slots=True)
class Stages:
    """Time per clip of each stage in one process, milliseconds, and the speed of the real loader.

    Attributes:
        decode: Reading and decoding the frames, ms per clip.
        transform: Augmentation, ms per clip.
        transfer: Collating batches, moving them to the device and normalizing them there, ms per clip.
        loader: Clips per second of the loader with its worker processes, up to the device.
        workers: Number of worker processes; 0: everything in one process.
        cores: Number of processors that this process may use.
    """

    decode: float
    transform: float
    transfer: float
    loader: float
    workers: int
    cores: int

    @property
    def rates(self) -> dict[str, float]:
        """Clips per second of each stage if the others took no time; workers share decoding and augmentation."""
        shared = max(min(self.workers, self.cores), 1)
        return {
            "decode": shared * 1000 / self.decode,
            "transform": shared * 1000 / self.transform,
            "transfer": 1000 / self.transfer,
        }

    @property
    def limit(self) -> str:
        """Stage that limits the loader: decode or transform in the workers, or transfer in the main process."""
        rates = self.rates
        workers = 1 / (1 / rates["decode"] + 1 / rates["transform"])
        if rates["transfer"] < workers:
            return "transfer"
        return "decode" if self.decode >= self.transform else "transform"


def measure_stages(
    clips: TrainingClips,
    reader: TimedReader,
    transform: TimedTransform,
    *,
    order: Sequence[int],
    batch_size: int,
    to_device: Callable[[ClipBatch], object],
) -> tuple[float, float, float]:
    """Make clips in this process, one after the other, and measure the stages.

    Args:
        clips: Training clips that use `reader` and `transform`.
        reader: The timed reader.
        transform: The timed transform.
        order: Indices of the videos to take clips of; the first batch is a warm-up.
        batch_size: Number of clips in a batch.
        to_device: Moves a batch to the device, normalizes it and synchronizes.

    Returns:
        Milliseconds per clip of decode, transform and transfer.
    """
    transfer, moved = 0.0, 0
    for start in range(0, len(order), batch_size):
        if start == batch_size:
            reader.seconds = transform.seconds = transfer = 0.0
            moved = 0
        samples = [clips[start, video] for video in order[start : start + batch_size]]  # an epoch for each batch
        began = time.perf_counter()
        to_device(collate_clips(samples))
        transfer += time.perf_counter() - began
        moved += len(samples)
    scale = 1000 / max(moved, 1)
    return scale * reader.seconds, scale * transform.seconds, scale * transfer


def measure_loader(loader: Iterable[ClipBatch], *, to_device: Callable[[ClipBatch], object], most: int) -> float:
    """Return the clips per second of a loader with its worker processes.

    The loader is repeated until `most` clips are made; the first batch, which starts the processes, is not timed.
    """
    clips, began, before = 0, 0.0, -1
    while before < clips < most:
        before = clips
        for batch in loader:
            to_device(batch)
            if not began:
                began = time.perf_counter()
                before = -1
                continue
            clips += len(batch.labels)
            if clips >= most:
                break
    return clips / max(time.perf_counter() - began, 1e-9)


def mean_group(videos: VideoList, root: Path) -> float | None:
    """Return the mean number of frames per key frame of up to eight video files; None if none can be read."""
    frames, keys = 0, 0
    for index in np.unique(np.linspace(0, len(videos) - 1, _PROBED_FILES).astype(int)):
        try:
            with VideoFile(root / split_segment(videos[index].path)[0]) as video:
                found = build_index(video)
        except ReadError:
            continue
        frames, keys = frames + found.num_frames, keys + max(len(found.keys), 1)
    return frames / keys if keys else None


def advice(stages: Stages, *, format: str, group: float | None) -> list[str]:
    """Return what would make the loader faster, the most effective first."""
    found = []
    if stages.limit == "transfer":
        return ["batches are collated and moved in the main process: more workers do not help; smaller clips do"]
    if stages.limit == "decode" and format == "RAW":
        if group is not None and group > LONG_GROUP:
            found.append(
                f"there is a key frame every {group:.0f} frames only: `python -m dataset.prepare resize` makes one "
                "every 12, and frames no larger than needed"
            )
        found.append("`python -m dataset.prepare lmdb` trades disk space for JPEGs, which need no other frames")
    if stages.limit == "decode" and format in ("FRAME", "LMDB"):
        found.append("decoding JPEGs takes longest: frames with a shorter --short_side are quicker")
    if stages.limit == "transform":
        found.append("augmentation takes longest: frames with a shorter short side, or fewer operations, are quicker")
    if stages.workers < stages.cores:
        found.append(f"dataset.num_workers={stages.cores}: one for each processor, instead of {stages.workers}")
    else:
        found.append(f"all {stages.cores} processors are used: only more of them, or less work per clip, will help")
    return found


def describe(name: str, stages: Stages) -> str:
    """Return a row of the table under `HEADER`."""
    rates = stages.rates
    return (
        f"{name:28}{rates['decode']:10.1f}{rates['transform']:12.1f}{rates['transfer']:11.1f}{stages.loader:10.1f}"
        f"   {stages.limit}"
    )


HEADER = f"{'clips per second':28}{'decode':>10}{'transform':>12}{'transfer':>11}{'loader':>10}   limited by"
