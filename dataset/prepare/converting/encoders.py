"""Encode the frames of a video as JPEGs, or as a smaller H.264 file with many key frames."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import av.error
import numpy as np

from dataset.prepare.annotations import PrepareError
from dataset.prepare.converting.sources import Footage
from dataset.readers.images import FLOW_SUFFIXES, RGB_SUFFIXES
from dataset.readers.video_file import cause_of
from dataset.writers.encoding import encode_h264, encode_jpeg
from dataset.writers.shrinking import shrink
from dataset.writers.stores import PICTURE_STORES, Store, VideoFiles


@dataclass(slots=True)
class Encoded:
    """An encoded video.

    Attributes:
        parts: Encoded parts for the store.
        num_frames: Number of frames.
        samples: Some frames before encoding, by index, to verify the result: uint8 [H, W, C].
    """

    parts: list[bytes] = field(default_factory=list)
    num_frames: int = 0
    samples: dict[int, np.ndarray] = field(default_factory=dict)

    def keeping(self, frames: Iterable[np.ndarray], *, wanted: int) -> Iterator[np.ndarray]:
        """Yield the frames and count them; keep the first, the last and frame `wanted` as samples."""
        for pixels in frames:
            number = self.num_frames
            if number - 1 not in (0, wanted):
                self.samples.pop(number - 1, None)
            self.samples[number] = pixels
            self.num_frames += 1
            yield pixels


@dataclass(frozen=True, slots=True)
class PictureEncoder:
    """Encodes every frame as a JPEG; picklable, like all encoders.

    Attributes:
        layout: FRAME, LMDB (an environment per video) or LMDB_SET (environments of many videos).
        short_side: Larger frames are downscaled to this short side, pixels; 0 keeps all sizes.
        quality: Quality of the JPEGs, 1 to 100.
        use_flow: Whether the result is optical flow.
        suffix: File suffix of the results.
    """

    layout: str
    short_side: int
    quality: int
    use_flow: bool = False
    suffix: str = ""

    @property
    def format(self) -> str:
        """Format of the result."""
        return self.layout.removesuffix("_SET")

    def store(self, root: Path) -> Store:
        """Return the store of the results."""
        return PICTURE_STORES[self.layout](root, suffixes=FLOW_SUFFIXES if self.use_flow else RGB_SUFFIXES)

    def encode(self, footage: Footage, *, sample: int) -> Encoded:
        """Encode all frames; keep the first, the last and frame `sample` to verify the result."""
        encoded = Encoded()
        kept = encoded.keeping(shrink(footage.frames, self.short_side), wanted=sample)
        encoded.parts = [encode_jpeg(frame, self.quality) for frame in kept]
        return encoded


@dataclass(frozen=True, slots=True)
class VideoEncoder:
    """Encodes a video as an H.264 file without sound.

    Attributes:
        short_side: Larger frames are downscaled to this short side, pixels; 0 keeps all sizes.
        key_interval: Largest distance between key frames, which bounds the frames decoded for a random access.
        crf: x264's quality, 0 (lossless) to 51.
        preset: x264's preset, from ultrafast to veryslow.
        format: Format of the result.
        use_flow: Whether the result is optical flow.
        suffix: File suffix of the results.
    """

    short_side: int
    key_interval: int
    crf: int
    preset: str
    format: str = "RAW"
    use_flow: bool = False
    suffix: str = ".mp4"

    def store(self, root: Path) -> Store:
        """Return the store of the results."""
        return VideoFiles(root)

    def encode(self, footage: Footage, *, sample: int) -> Encoded:
        """Encode all frames; see `PictureEncoder`."""
        encoded = Encoded()
        kept = encoded.keeping(shrink(footage.frames, self.short_side, step=2), wanted=sample)
        options = {"preset": self.preset, "crf": str(self.crf), "g": str(self.key_interval), "threads": "1"}
        times, time_base = footage.times, footage.time_base
        try:
            encoded.parts = [encode_h264(kept, rate=footage.rate, options=options, times=times, time_base=time_base)]
        except av.error.FFmpegError as error:
            raise PrepareError(f"x264 cannot encode it: {cause_of(error)}") from None
        return encoded


Encoder = PictureEncoder | VideoEncoder


def evenly_spaced(count: int, at_most: int) -> Sequence[int]:
    """Return at most `at_most` distinct integers, evenly spaced over 0..count-1, including both ends."""
    return sorted({int(position) for position in np.linspace(0, count - 1, min(count, at_most))})
