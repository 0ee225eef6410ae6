"""Survey the videos of a training list: length, frame rate, size, decoding time, single-frame accuracy."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import cv2
import numpy as np

from dataset.listing import VideoRecord
from dataset.prepare.parallel import run_parallel
from dataset.prepare.single_frame import frame_accuracy, image_features
from dataset.readers import ReadError
from dataset.readers.video_file import DEFAULT_RATE, VideoFile, decode_frames

MOST_VIDEOS = 200  # videos probed at most, spread evenly over the list; takes some ten seconds
_FRAMES = 12  # frames decoded of each; features are taken from the last, as the first may be black


@dataclass(frozen=True, slots=True)
class Survey:
    """Statistics of the training videos.

    Attributes:
        num_videos: Number of training videos.
        class_names: Class names, by label.
        seconds: Shortest, median and 95th percentile of the durations, seconds.
        rates: Smallest, median and largest frame rate, frames per second.
        height: Median of the short sides, pixels.
        width: Median of the long sides, pixels.
        frames: Median number of frames.
        decode_seconds: Median CPU time to decode a frame, seconds, which the load of the machine does not change.
        frame_accuracy: Accuracy of a simple classifier of single frames, tested on other groups of videos, 0 to 1.
        chance: Fraction of the largest class, 0 to 1.
    """

    num_videos: int
    class_names: tuple[str, ...]
    seconds: tuple[float, float, float]
    rates: tuple[float, float, float]
    height: int
    width: int
    frames: float
    decode_seconds: float
    frame_accuracy: float
    chance: float

    def describe(self) -> str:
        """Return a one-line summary of durations, frame rates and sizes."""
        low, median, high = self.seconds
        slow, _, fast = self.rates
        rates = f"{slow:.3g}" if f"{slow:.3g}" == f"{fast:.3g}" else f"{slow:.3g} to {fast:.3g}"
        return (
            f"{low:.1f} to {high:.1f} s long, median {median:.1f} s; {rates} frames per second; "
            f"{self.width} x {self.height} pixels; {1000 * self.decode_seconds:.2g} ms to decode a frame"
        )


@dataclass(frozen=True, slots=True)
class _Probe:
    """Measurements of one video: frames per second, sides in pixels, seconds to decode a frame, image features."""

    rate: float
    sides: tuple[int, int]
    decode_seconds: float
    features: np.ndarray


def probe(path: str) -> _Probe | None:
    """Measure the first frames of a video; None if it cannot be read."""
    try:
        with VideoFile(Path(path)) as video:
            rate = float(video.frame_rate or DEFAULT_RATE)
        began = time.process_time()
        frames = list(islice(decode_frames(Path(path)), _FRAMES))
    except ReadError:
        return None
    seconds = (time.process_time() - began) / len(frames)
    height, width = frames[-1].shape[:2]
    small = cv2.resize(frames[-1], (64, 64), interpolation=cv2.INTER_AREA)
    return _Probe(rate, (min(height, width), max(height, width)), seconds, image_features(small))


def survey(
    root: Path, videos: Sequence[VideoRecord], *, groups: Mapping[str, str], class_names: Sequence[str], workers: int
) -> Survey | None:
    """Survey at most MOST_VIDEOS videos of a training list.

    Args:
        root: Folder of the videos.
        videos: The training list.
        groups: Group of each video, by path.
        class_names: Class names, by label.
        workers: Number of processes.

    Returns:
        The statistics; None if no video can be read.
    """
    chosen = np.linspace(0, len(videos) - 1, min(len(videos), MOST_VIDEOS)).round().astype(int).tolist()
    by_path = {str(root / videos[index].path): videos[index] for index in chosen}
    done = run_parallel(probe, list(by_path), workers=workers, title="surveying videos")
    probes = {path: one for path, one in done if one}
    if not probes:
        return None
    paths = sorted(probes)  # results arrive in any order
    found, listed = [probes[path] for path in paths], [by_path[path] for path in paths]
    seconds = [video.num_frames / one.rate for video, one in zip(listed, found, strict=True)]
    rates = [one.rate for one in found]
    labels = np.array([video.label for video in listed])
    features = np.stack([one.features for one in found])
    return Survey(
        num_videos=len(videos),
        class_names=tuple(class_names),
        seconds=(min(seconds), float(np.median(seconds)), float(np.percentile(seconds, 95))),
        rates=(min(rates), float(np.median(rates)), max(rates)),
        height=round(float(np.median([one.sides[0] for one in found]))),
        width=round(float(np.median([one.sides[1] for one in found]))),
        frames=float(np.median([video.num_frames for video in videos])),
        decode_seconds=float(np.median([one.decode_seconds for one in found])),
        frame_accuracy=frame_accuracy(features, labels, groups=[groups[video.path] for video in listed]),
        chance=float(np.bincount(labels).max() / len(labels)),
    )
