"""How fast a loader is, stage by stage, which stage limits it, and what would help."""

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

# A random access decodes half a group of pictures on the way; 12 is what `resize` makes.
LONG_GROUP = 24
_PROBED_FILES = 8


@dataclass
class TimedReader(FrameReader):
    """A reader whose seconds are counted."""

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
    """A transform whose seconds are counted."""

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
    """Milliseconds a clip takes in each stage, in one process.

    Attributes:
        decode: Reading and decoding its frames.
        transform: Augmentation.
        transfer: Putting batches together, to the device, normalising them there.
        loader: Clips a second of the real loader with its worker processes, to the device.
        workers: How many of those there are; with 0 all happens in one process.
        cores: Processors that this process may use.
    """

    decode: float
    transform: float
    transfer: float
    loader: float
    workers: int
    cores: int

    @property
    def rates(self) -> dict[str, float]:
        """Clips a second of each stage if nothing else took time; workers share what they do."""
        shared = max(min(self.workers, self.cores), 1)
        return {
            "decode": shared * 1000 / self.decode,
            "transform": shared * 1000 / self.transform,
            "transfer": 1000 / self.transfer,
        }

    @property
    def limit(self) -> str:
        """What limits the loader: a stage of the workers, or the transfer of the main process."""
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
    """Make clips one after the other in this process.

    Args:
        clips: Clips that read from `reader` and go through `transform`.
        reader: The reader, timed.
        transform: The transform, timed.
        order: Videos to take clips of; the first batch is for warming up.
        batch_size: Clips of a batch.
        to_device: Moves and normalises a batch, and waits for the device.

    Returns:
        Milliseconds a clip of decode, transform and transfer.
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
    """Return clips a second of a loader with its worker processes.

    It is run through as often as it takes to get `most` clips; the first batch, which starts the processes, is not
    timed.
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
    """Return the mean number of frames from key frame to key frame of some video files; None if none can be read."""
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
    """Return what would make the loader faster, the best first."""
    found = []
    if stages.limit == "transfer":
        return ["batches are put together and moved in the main process: more workers do not help; smaller clips do"]
    if stages.limit == "decode" and format == "RAW":
        if group is not None and group > LONG_GROUP:
            found.append(
                f"a key frame comes every {group:.0f} frames only: `python -m dataset.prepare resize` makes one every "
                "12 and drops what is larger than needed"
            )
        found.append("`python -m dataset.prepare lmdb` trades disk space for JPEGs, which need no other frames")
    if stages.limit == "decode" and format in ("FRAME", "LMDB"):
        found.append("decoding JPEGs takes longest: frames with a shorter --short_side are quicker")
    if stages.limit == "transform":
        found.append("augmentation takes longest: frames with a shorter short side, or fewer operations, are quicker")
    if stages.workers < stages.cores:
        found.append(f"dataset.num_workers={stages.cores}: as many as there are processors, not {stages.workers}")
    else:
        found.append(f"all {stages.cores} processors are used: only more of them, or less work a clip, will help")
    return found


def describe(name: str, stages: Stages) -> str:
    """Return a row of the table."""
    rates = stages.rates
    return (
        f"{name:28}{rates['decode']:10.1f}{rates['transform']:12.1f}{rates['transfer']:11.1f}{stages.loader:10.1f}"
        f"   {stages.limit}"
    )


HEADER = f"{'clips a second':28}{'decode':>10}{'transform':>12}{'transfer':>11}{'loader':>10}   limited by"
