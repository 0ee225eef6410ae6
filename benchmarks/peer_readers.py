"""Video readers of other projects, each used as in its documentation, with one decoding thread."""

import importlib
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from types import ModuleType
from typing import Protocol

import av
import cv2
import numpy as np

from dataset.listing import VideoRecord
from dataset.readers import ReadError, open_reader
from dataset.readers.frame_reader import FrameReader

SEEK_GAP = 16  # frames; shorter gaps are decoded, not seeked over


class ReadFailure(RuntimeError):
    """A reader failed to return the requested frames."""


class Reader(Protocol):
    """Reads frames of a video file."""

    def __call__(self, path: Path, numbers: Sequence[int], /) -> np.ndarray:
        """Return the frames with the given ascending numbers, uint8 [N, H, W, 3].

        Raises:
            ReadFailure: The reader fails.
        """


@dataclass(frozen=True)
class Ours:
    """Our reader; `make` returns the same reader for all calls, or a new one, which has no time stamps yet."""

    make: Callable[[], FrameReader]

    def __call__(self, path: Path, numbers: Sequence[int]) -> np.ndarray:
        """See Reader."""
        try:
            return self.make().read(VideoRecord(str(path), 1, 0), numbers).numpy()
        except ReadError as error:
            raise ReadFailure(str(error)) from None


@dataclass(frozen=True)
class TorchCodec:
    """torchcodec's VideoDecoder with a `seek_mode`, "exact" (its default: it scans the file first) or "approximate"."""

    seek_mode: str

    def __call__(self, path: Path, numbers: Sequence[int]) -> np.ndarray:
        """See Reader."""
        decoders = importlib.import_module("torchcodec.decoders")
        try:
            decoder = decoders.VideoDecoder(
                str(path), seek_mode=self.seek_mode, dimension_order="NHWC", num_ffmpeg_threads=1
            )
            return decoder.get_frames_at(list(numbers)).data.numpy()
        except (RuntimeError, IndexError, ValueError) as error:
            raise ReadFailure(str(error)) from None


def read_decord(path: Path, numbers: Sequence[int]) -> np.ndarray:
    """See Reader: decord's VideoReader and get_batch."""
    decord = importlib.import_module("decord")
    try:
        return decord.VideoReader(str(path), num_threads=1).get_batch(list(numbers)).asnumpy()
    except (decord.DECORDError, IndexError) as error:
        raise ReadFailure(str(error)) from None


def read_pyav(path: Path, numbers: Sequence[int]) -> np.ndarray:
    """See Reader: seek to the first frame's time, then decode; a frame's number is its time x the mean frame rate."""
    frames: dict[int, np.ndarray] = {}
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            stream.codec_context.thread_count = 1
            assert stream.average_rate is not None and stream.time_base is not None
            start, ticks = stream.start_time or 0, 1 / (stream.average_rate * stream.time_base)
            container.seek(start + int(numbers[0] * ticks), stream=stream)
            for frame in container.decode(stream):
                number = round(((frame.pts or 0) - start) / ticks)
                if number in numbers:
                    frames[number] = frame.to_ndarray(format="rgb24")
                if number >= numbers[-1]:
                    break
    except av.FFmpegError as error:
        raise ReadFailure(str(error)) from None
    if len(frames) < len(numbers):
        raise ReadFailure(f"{len(numbers) - len(frames)} frames are missing")
    return np.stack([frames[number] for number in numbers])


def capture_arrays(capture: cv2.VideoCapture, numbers: Sequence[int]) -> list[np.ndarray]:
    """Return frames, uint8 [H, W, 3] each, of a video opened by OpenCV, by ascending number."""
    frames, position = [], 0
    for number in numbers:
        if not 0 <= number - position <= SEEK_GAP:
            capture.set(cv2.CAP_PROP_POS_FRAMES, number)
            position = number
        while position <= number:
            _, frame = capture.read()
            position += 1
        frames.append(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))
    capture.release()
    return frames


def read_opencv(path: Path, numbers: Sequence[int]) -> np.ndarray:
    """See Reader: VideoCapture, which seeks to a frame's number if it is far ahead."""
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
    try:
        return np.stack(capture_arrays(capture, numbers))
    except cv2.error as error:
        raise ReadFailure(str(error)) from None


def load_module(name: str) -> ModuleType | str:
    """Import a module of another project; if that fails, return the reason in one line."""
    try:
        return importlib.import_module(name)
    except (ImportError, OSError, RuntimeError) as error:
        return f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"


def make_readers() -> tuple[dict[str, Reader], dict[str, str]]:
    """Return the readers by name, ours first, and the reasons why others cannot be loaded."""
    kept = open_reader("RAW", ".")
    readers: dict[str, Reader] = {
        "ours": Ours(lambda: kept),
        "ours, new files": Ours(lambda: open_reader("RAW", ".")),
    }
    others: dict[str, tuple[str, Reader]] = {
        "torchcodec exact": ("torchcodec.decoders", TorchCodec("exact")),
        "torchcodec approx.": ("torchcodec.decoders", TorchCodec("approximate")),
        "decord2": ("decord", read_decord),
        "PyAV": ("av", read_pyav),
        "OpenCV": ("cv2", read_opencv),
    }
    skipped: dict[str, str] = {}
    for name, (module, reader) in others.items():
        found = load_module(module)
        if isinstance(found, str):
            skipped[name] = found
        else:
            readers[name] = reader
    return readers, skipped


@dataclass(frozen=True)
class Accuracy:
    """Number of frames that were requested, refused, right, and right and bit-equal."""

    asked: int = 0
    refused: int = 0
    right: int = 0
    same: int = 0

    def __add__(self, other: "Accuracy") -> "Accuracy":
        """Add the counts."""
        return Accuracy(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    def __str__(self) -> str:
        """Show right / requested frames, "~" for slightly different colors, and the number of wrong frames."""
        wrong = self.asked - self.refused - self.right
        return f"{self.right}/{self.asked}" + "~" * (self.same < self.right) + f" ({wrong} wrong)" * (wrong > 0)


def check_reader(read: Reader, path: Path, clips: Sequence[Sequence[int]], truth: np.ndarray) -> Accuracy:
    """Compare a reader's clips with all frames of a decode from the start, `truth`, uint8 [T, H, W, 3].

    A frame is right if the requested frame of `truth` is the nearest one, so that color conversions may differ.
    """
    small = truth[:, ::4, ::4].astype(np.int16)
    found = Accuracy()
    for numbers in clips:
        try:
            frames = read(path, numbers)
        except ReadFailure:
            found += Accuracy(asked=len(numbers), refused=len(numbers))
            continue
        for number, frame in zip(numbers, frames, strict=True):
            is_same = bool(np.array_equal(frame, truth[number]))
            found += Accuracy(asked=1, right=int(is_same or _is_nearest(frame, number, small)), same=int(is_same))
    return found


def _is_nearest(frame: np.ndarray, number: int, small: np.ndarray) -> bool:
    """Return whether `small[number]` is the nearest of the subsampled frames `small` to a frame."""
    thinned = frame[::4, ::4]
    if thinned.shape != small.shape[1:]:
        return False
    distances = np.abs(small - thinned).mean(axis=(1, 2, 3))
    return bool(distances[number] <= distances.min())
