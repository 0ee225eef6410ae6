"""The data sets: clips for training and for validation, whole videos for the extraction of scores."""

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple, TypeVar, cast

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset, get_worker_info

from dataset.batch_memory import BatchMemory
from dataset.listing import VideoList, VideoRecord
from dataset.now_reading import say_video
from dataset.readers import FewerFramesError, FrameReader, ReadError
from dataset.readers.frame_reader import FrameStack
from dataset.sampling import draw_clip, frames_at_rate, spread_clips
from dataset.transforms.label_flip import LabelFlip
from dataset.transforms.recipes import evaluation_transform, resize_short_side
from utils.clip_shape import ClipShape
from utils.stopping import init_worker

Item = TypeVar("Item")
Result = TypeVar("Result")
Read = Callable[[VideoRecord, np.ndarray], Result]  # of a video and the frames of its ticks

# Unreadable videos in a row before training gives up: then it is the disk or the root path, not a video here and there.
MAX_DRAWS = 10

# What the batches of this process are written to, if it is a worker.
_memory = BatchMemory()


class ClipSample(NamedTuple):
    """One clip.

    Attributes:
        clip: uint8 [T, H, W, C]; empty if the video could not be read and nothing may stand in for it.
        label: Its class.
        video: Number of the list's record that the clip is of.
        notes: What a user should hear about the videos involved.
        skipped: How many videos could not be read on the way to this sample.
    """

    clip: torch.Tensor
    label: int
    video: int
    notes: tuple[str, ...] = ()
    skipped: int = 0


class ClipBatch(NamedTuple):
    """Clips uint8 [N, T, H, W, C], labels and videos int64 [N], all their notes, and how many videos were skipped."""

    clips: torch.Tensor
    labels: torch.Tensor
    videos: torch.Tensor
    notes: tuple[str, ...]
    skipped: int


class VideoFrames(NamedTuple):
    """All that is needed of one video for every one of its views.

    Attributes:
        video: Number of the list's record.
        label: Its class.
        frames: Every frame that some clip uses, once: uint8 [U, C, H, W], short side resized. Empty if missing.
        clip_frames: int64 [num_clips, T], rows of `frames`. Empty if missing.
        missing: Why the video could not be read; empty if it could.
        notes: What a user should hear about the video.
    """

    video: int
    label: int
    frames: torch.Tensor
    clip_frames: torch.Tensor
    missing: str
    notes: tuple[str, ...]


class _Videos(Dataset[Item]):
    """What the data sets share: a list, the reader of its videos, and which of their frames make a clip."""

    def __init__(self, videos: VideoList, reader: FrameReader, *, shape: ClipShape, on_error: str) -> None:
        self.videos = videos
        self._reader = reader
        self._shape = shape
        self._on_error = on_error

    def __len__(self) -> int:
        """Return the number of videos in the list."""
        return len(self.videos)

    def ticks(self, record: VideoRecord) -> np.ndarray:
        """Return the frame of every tick that clips are counted in, int64 [ticks]: every frame, or some by their times.

        Raises:
            ReadError: The times cannot be read.
        """
        if not self._shape.frame_rate:
            return np.arange(record.num_frames)
        return frames_at_rate(self._reader.times(record), self._shape.frame_rate)

    def _read(self, record: VideoRecord, read: Read[Result]) -> tuple[Result, tuple[str, ...]]:
        """Read a video; should its list claim more frames than there are, choose and read again with the true number.

        Returns:
            What `read` gives, and notes about the list and of the reader.
        """
        notes: tuple[str, ...] = ()
        say_video(record.path)
        try:
            result = self._read_by_ticks(record, read)
        except FewerFramesError as error:
            notes = (f"{record.path}: list says {record.num_frames} frames, the file has {error.num_frames}",)
            result = self._read_by_ticks(replace(record, num_frames=error.num_frames), read)
        return result, notes + self._reader.take_notes()

    def _read_by_ticks(self, record: VideoRecord, read: Read[Result]) -> Result:
        """Return what `read` gives of a video's ticks; once more where decoding shows that its times were others."""
        ticks = self.ticks(record)
        result = read(record, ticks)
        now = self.ticks(record)
        return result if np.array_equal(ticks, now) else read(record, now)


class TrainingClips(_Videos[ClipSample]):
    """Random clips for training, addressed by (epoch, index): the same sample whichever worker or rank makes it.

    A further number makes another clip of the same video: (epoch, index, 1).
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
        """Wire the data set.

        Args:
            videos: The training list.
            reader: Gives their frames.
            transform: From a clip uint8 [T, H, W, C] and a generator to the augmented clip, uint8 as well.
            shape: Which frames make a clip.
            seed: With epoch and index, all that a sample depends on.
            on_error: What to do about a video that cannot be read, or whose wanted frames are damaged: `raise` a
                ReadError, or `skip` it, that is draw another one, say so in the sample's notes and count it.
            label_flip: Mirrors half of the transformed clips together with their labels; None: labels stay as they are.
        """
        super().__init__(videos, reader, shape=shape, on_error=on_error)
        self._transform = transform
        self._seed = seed
        self._label_flip = label_flip

    def __getitem__(self, key: tuple[int, ...]) -> ClipSample:
        """Make the sample of (epoch, index) or (epoch, index, number).

        Raises:
            ReadError: The video cannot be read, or, where such are skipped, neither can MAX_DRAWS - 1 others.
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
    """The first evenly spread clip of each video, center crop: the validation's view.

    No other video ever stands in for one that cannot be read: with `skip` its sample is empty and counts as skipped.
    """

    def __init__(
        self, videos: VideoList, reader: FrameReader, *, crop_size: int, shape: ClipShape, on_error: str = "raise"
    ) -> None:
        """Wire the data set; arguments as for TrainingClips, `crop_size` is the side of the crop in pixels."""
        super().__init__(videos, reader, shape=shape, on_error=on_error)
        self._crop_size = crop_size

    def __getitem__(self, index: int) -> ClipSample:
        """Make the sample of a video.

        Raises:
            ReadError: The video cannot be read, and such are not to be skipped.
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
    """Whole videos for the extraction of scores: each is decoded once, whatever the number of clips and crops."""

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
        """Wire the data set.

        Args:
            videos: The evaluation list.
            reader: Gives their frames.
            short_side: Of the frames after resizing, in pixels.
            num_clips: Evenly spread clips a video.
            shape: Which frames make a clip.
            on_error: `raise` a ReadError for a video that cannot be read, or `skip` it: its item says that it is
                missing and why. Nothing stands in for it.
        """
        super().__init__(videos, reader, shape=shape, on_error=on_error)
        self._short_side = short_side
        self._num_clips = num_clips

    def __getitem__(self, index: int) -> VideoFrames:
        """Read a video.

        Raises:
            ReadError: The video cannot be read, and such are not to be skipped.
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
        """Read clips of a video, each of their frames once.

        Args:
            record: The video.
            clips: Frames of each clip, int64 [clips, T].

        Returns:
            `frames` and `clip_frames` of VideoFrames.

        Raises:
            ReadError: The video cannot be read.
        """
        unique, rows = np.unique(clips, return_inverse=True)
        stack = FrameStack(len(unique))

        def put(place: int, frame: np.ndarray) -> None:
            """Resize the frame, so that no larger one is kept, and take it apart into the planes of network input."""
            # Not frame[None]: its stride of 0 between frames keeps torch from resizing it the fast way.
            clip = frame.reshape(1, *frame.shape)
            stack.put(place, resize_short_side(clip, self._short_side)[0].transpose(2, 0, 1))

        self._reader.decode(record, unique.tolist(), put)
        return torch.from_numpy(stack.frames), torch.from_numpy(rows.reshape(clips.shape))


def collate_clips(samples: list[ClipSample]) -> ClipBatch:
    """Put samples together; empty ones are left out but for their notes and their count, so N may even be 0."""
    whole = [sample for sample in samples if sample.clip.numel()]
    clips = torch.empty((0,) * 5, dtype=torch.uint8)
    if whole:
        parts = [sample.clip for sample in whole]
        in_worker = get_worker_info() is not None
        clips = cast(torch.Tensor, _memory.stack(parts)) if in_worker else torch.stack(parts)  # one where it arrives
    return ClipBatch(
        clips=clips,
        labels=torch.tensor([sample.label for sample in whole], dtype=torch.int64),
        videos=torch.tensor([sample.video for sample in whole], dtype=torch.int64),
        notes=tuple(note for sample in samples for note in sample.notes),
        skipped=sum(sample.skipped for sample in samples),
    )


def worker_init(_worker_id: int) -> None:
    """Set up a loader's worker process: one thread each, as the workers share the cores; its parent ends it."""
    init_worker()
    torch.set_num_threads(1)
    cv2.setNumThreads(0)


def _same_draws(rng: np.random.Generator) -> Callable[[], np.random.Generator]:
    """Return what gives generators of the same draws: a clip is the same however often its times were corrected."""
    seed = int(rng.integers(1 << 62))
    return lambda: np.random.default_rng(seed)
