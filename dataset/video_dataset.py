"""Datasets: clips for training and for validation, whole videos for score extraction."""

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple, TypeVar, cast

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset, get_worker_info

from dataset.batch_memory import BatchMemory
from dataset.listing import VideoList, VideoRecord
from dataset.readers import FewerFramesError, FrameReader, ReadError
from dataset.readers.frame_reader import FrameStack
from dataset.sampling import draw_clip, frames_at_rate, spread_clips
from dataset.transforms.label_flip import LabelFlip
from dataset.transforms.recipes import evaluation_transform, resize_short_side
from dataset.worker_board import publish_video
from utils.clip_shape import ClipShape
from utils.stopping import init_worker

Item = TypeVar("Item")
Result = TypeVar("Result")
Read = Callable[[VideoRecord, np.ndarray], Result]  # takes a video and the frame index of each of its ticks

# Training stops after this many unreadable videos in a row: the disk or the root path is wrong, not a single video.
MAX_DRAWS = 10

# The shared memory that this process, if a worker, writes its batches to.
_memory = BatchMemory()


class ClipSample(NamedTuple):
    """One clip.

    Attributes:
        clip: uint8 [T, H, W, C]; empty if the video could not be read and may not be replaced.
        label: Class index.
        video: Index of the clip's video in the list.
        notes: Warnings for the user about the videos involved.
        skipped: Number of unreadable videos drawn before this sample.
    """

    clip: torch.Tensor
    label: int
    video: int
    notes: tuple[str, ...] = ()
    skipped: int = 0


class ClipBatch(NamedTuple):
    """A batch: clips uint8 [N, T, H, W, C], labels and video indices int64 [N], notes, number of skipped videos."""

    clips: torch.Tensor
    labels: torch.Tensor
    videos: torch.Tensor
    notes: tuple[str, ...]
    skipped: int


class VideoFrames(NamedTuple):
    """The decoded frames of a video for all of its views.

    Attributes:
        video: Index of the video in the list.
        label: Class index.
        frames: The U unique frames of all clips, uint8 [U, C, H, W], short side resized. Empty if missing.
        clip_frames: Row of `frames` for each frame of each clip, int64 [num_clips, T]. Empty if missing.
        missing: Why the video could not be read; empty if it was read.
        notes: Warnings for the user about the video.
    """

    video: int
    label: int
    frames: torch.Tensor
    clip_frames: torch.Tensor
    missing: str
    notes: tuple[str, ...]


class _Videos(Dataset[Item]):
    """Base of the datasets: a list of videos, their reader, and the shape of a clip."""

    def __init__(self, videos: VideoList, reader: FrameReader, *, shape: ClipShape, on_error: str) -> None:
        self.videos = videos
        self._reader = reader
        self._shape = shape
        self._on_error = on_error

    def __len__(self) -> int:
        """Return the number of videos in the list."""
        return len(self.videos)

    def ticks(self, record: VideoRecord) -> np.ndarray:
        """Return the frame index of every tick, int64 [ticks]: all frames, or those nearest to a constant frame rate.

        Raises:
            ReadError: The time stamps cannot be read.
        """
        if not self._shape.frame_rate:
            return np.arange(record.num_frames)
        return frames_at_rate(self._reader.times(record), self._shape.frame_rate)

    def _read(self, record: VideoRecord, read: Read[Result]) -> tuple[Result, tuple[str, ...]]:
        """Read a video; if it has fewer frames than listed, sample and read again with the true number.

        Returns:
            The result of `read`, and notes about the list and from the reader.
        """
        notes: tuple[str, ...] = ()
        publish_video(record.path)
        try:
            result = self._read_by_ticks(record, read)
        except FewerFramesError as error:
            notes = (f"{record.path}: list says {record.num_frames} frames, the file has {error.num_frames}",)
            result = self._read_by_ticks(replace(record, num_frames=error.num_frames), read)
        return result, notes + self._reader.take_notes()

    def _read_by_ticks(self, record: VideoRecord, read: Read[Result]) -> Result:
        """Call `read` with a video's ticks, and again if decoding has corrected its time stamps."""
        ticks = self.ticks(record)
        result = read(record, ticks)
        now = self.ticks(record)
        return result if np.array_equal(ticks, now) else read(record, now)


class TrainingClips(_Videos[ClipSample]):
    """Random training clips, indexed by (epoch, index): a sample does not depend on the worker or rank that makes it.

    A third number gives another clip of the same video: (epoch, index, 1).
    """

    def __init__(
        self,
        videos: VideoList,
        reader: FrameReader,
        transform: Callable[[np.ndarray, np.random.Generator], np.ndarray],
        *,
        shape: ClipShape,
        seed: tuple[int, ...],
        on_error: str = "raise",
        label_flip: LabelFlip | None = None,
    ) -> None:
        """Create the dataset.

        Args:
            videos: The training list.
            reader: Reads frames of the videos.
            transform: Maps a clip, uint8 [T, H, W, C], and a generator to the augmented clip, uint8.
            shape: Shape of a clip.
            seed: Seeds every sample, together with epoch and index.
            on_error: For a video that cannot be read, or whose sampled frames are damaged: `raise` a ReadError, or
                `skip` it, which draws another video, adds a note to the sample and counts the skip.
            label_flip: Mirrors half of the transformed clips together with their labels; None keeps all labels.
        """
        super().__init__(videos, reader, shape=shape, on_error=on_error)
        self._transform = transform
        self._seed = seed
        self._label_flip = label_flip

    def __getitem__(self, key: tuple[int, ...]) -> ClipSample:
        """Return the sample of (epoch, index) or (epoch, index, number).

        Raises:
            ReadError: The video cannot be read, or, with `skip`, neither can MAX_DRAWS - 1 others.
        """
        rng, video = np.random.default_rng((*self._seed, *key)), key[1]
        draws = _same_draws(rng) if self._shape.frame_rate else lambda: rng

        def read(record: VideoRecord, ticks: np.ndarray) -> torch.Tensor:
            return self._reader.read(record, ticks[draw_clip(len(ticks), self._shape, rng=draws())])

        notes: tuple[str, ...] = ()
        for skipped in range(MAX_DRAWS):
            record = self.videos[video]
            try:
                frames, new_notes = self._read(record, read)
            except ReadError as error:
                if self._on_error == "raise":
                    raise
                notes += (f"skipped: {error}",)
                video = int(rng.integers(len(self.videos)))
                continue
            clip, label = self._transform(frames.numpy(), rng), record.label
            if self._label_flip is not None:
                clip, label = self._label_flip(clip, label, rng)
            return ClipSample(torch.from_numpy(clip), label, video, notes + new_notes, skipped)
        raise ReadError(f"{MAX_DRAWS} videos drawn in a row could not be read; last {notes[-1]}")


class EvaluationClips(_Videos[ClipSample]):
    """The clip of each video for validation: the first evenly spaced one, center crop.

    An unreadable video is never replaced by another: with `skip` its sample is empty and counts as skipped.
    """

    def __init__(
        self, videos: VideoList, reader: FrameReader, *, crop_size: int, shape: ClipShape, on_error: str = "raise"
    ) -> None:
        """Create the dataset; arguments as for TrainingClips, and `crop_size`, the side of the crop, pixels."""
        super().__init__(videos, reader, shape=shape, on_error=on_error)
        self._crop_size = crop_size

    def __getitem__(self, index: int) -> ClipSample:
        """Return the sample of a video.

        Raises:
            ReadError: The video cannot be read, and on_error is `raise`.
        """

        def read(record: VideoRecord, ticks: np.ndarray) -> torch.Tensor:
            return self._reader.read(record, ticks[spread_clips(len(ticks), self._shape, num_clips=1)[0]])

        record = self.videos[index]
        try:
            frames, notes = self._read(record, read)
        except ReadError as error:
            if self._on_error == "raise":
                raise
            nothing = torch.empty((0, 0, 0, 0), dtype=torch.uint8)
            return ClipSample(nothing, record.label, index, (f"skipped: {error}",), skipped=1)
        clip = evaluation_transform(frames.numpy(), size=self._crop_size)
        return ClipSample(torch.from_numpy(clip), record.label, index, notes)


class VideoViews(_Videos[VideoFrames]):
    """Whole videos for score extraction: each is decoded once, whatever the number of clips and crops."""

    def __init__(
        self,
        videos: VideoList,
        reader: FrameReader,
        *,
        short_side: int,
        num_clips: int,
        shape: ClipShape,
        on_error: str = "raise",
    ) -> None:
        """Create the dataset.

        Args:
            videos: The evaluation list.
            reader: Reads frames of the videos.
            short_side: Short side of the resized frames, pixels.
            num_clips: Number of evenly spaced clips per video.
            shape: Shape of a clip.
            on_error: For a video that cannot be read: `raise` a ReadError, or `skip` it, which returns an item whose
                `missing` gives the cause. It is never replaced by another video.
        """
        super().__init__(videos, reader, shape=shape, on_error=on_error)
        self._short_side = short_side
        self._num_clips = num_clips

    def __getitem__(self, index: int) -> VideoFrames:
        """Return the frames of a video.

        Raises:
            ReadError: The video cannot be read, and on_error is `raise`.
        """

        def read(record: VideoRecord, ticks: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
            return self.read_clips(record, ticks[spread_clips(len(ticks), self._shape, num_clips=self._num_clips)])

        record = self.videos[index]
        try:
            (frames, rows), notes = self._read(record, read)
        except ReadError as error:
            if self._on_error == "raise":
                raise
            nothing = torch.empty((0, 0, 0, 0), dtype=torch.uint8)
            no_rows = torch.empty((0, 0), dtype=torch.int64)
            return VideoFrames(index, record.label, nothing, no_rows, str(error), ())
        return VideoFrames(index, record.label, frames, rows, "", notes)

    def read_clips(self, record: VideoRecord, clips: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """Read clips of a video and decode each unique frame once.

        Args:
            record: The video.
            clips: Frame indices of each clip, int64 [clips, T].

        Returns:
            `frames` and `clip_frames` of VideoFrames.

        Raises:
            ReadError: The video cannot be read.
        """
        unique, rows = np.unique(clips, return_inverse=True)
        stack = FrameStack(len(unique))

        def put(place: int, frame: np.ndarray) -> None:
            """Resize a frame before it is stored, to bound memory, and store it channels first."""
            # Not frame[None]: its stride of 0 between frames keeps torch off its fast resize kernel.
            clip = frame.reshape(1, *frame.shape)
            stack.put(place, resize_short_side(clip, self._short_side)[0].transpose(2, 0, 1))

        self._reader.decode(record, unique.tolist(), put)
        return torch.from_numpy(stack.frames), torch.from_numpy(rows.reshape(clips.shape))


def collate_clips(samples: list[ClipSample]) -> ClipBatch:
    """Collate samples into a batch; of empty ones only notes and skip counts are kept, so N may be 0."""
    whole = [sample for sample in samples if sample.clip.numel()]
    clips = torch.empty((0,) * 5, dtype=torch.uint8)
    if whole:
        parts = [sample.clip for sample in whole]
        in_worker = get_worker_info() is not None
        # The parent unpickles what a worker stacks as a tensor.
        clips = cast(torch.Tensor, _memory.stack(parts)) if in_worker else torch.stack(parts)
    return ClipBatch(
        clips=clips,
        labels=torch.tensor([sample.label for sample in whole], dtype=torch.int64),
        videos=torch.tensor([sample.video for sample in whole], dtype=torch.int64),
        notes=tuple(note for sample in samples for note in sample.notes),
        skipped=sum(sample.skipped for sample in samples),
    )


def worker_init(_worker_id: int) -> None:
    """Set up a loader's worker process: one thread, as workers share the cores, and stop signals left to the parent."""
    init_worker()
    torch.set_num_threads(1)
    cv2.setNumThreads(0)


def _same_draws(rng: np.random.Generator) -> Callable[[], np.random.Generator]:
    """Return a factory of identical generators, so that reading again after a correction draws the same clip."""
    seed = int(rng.integers(1 << 62))
    return lambda: np.random.default_rng(seed)
