"""What becomes of a video's frames: JPEGs, or a smaller H.264 file with many key frames."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import av.error
import numpy as np

from dataset.prepare.annotations import PrepareError
from dataset.prepare.converting.sources import Footage
from dataset.readers.video_file import cause_of
from dataset.writers.encoding import encode_h264, encode_jpeg
from dataset.writers.shrinking import shrink
from dataset.writers.stores import PICTURE_STORES, Store, VideoFiles


@dataclass(slots=True)
class Encoded:
    """A video as it will be stored.

    Attributes:
        parts: What the store takes.
        num_frames: Frames that it has.
        samples: Some frames, by number, as they should be read back: uint8 [H, W, C].
    """

    parts: list[bytes] = field(default_factory=list)
    num_frames: int = 0
    samples: dict[int, np.ndarray] = field(default_factory=dict)

    def keeping(self, frames: Iterable[np.ndarray], *, wanted: int) -> Iterator[np.ndarray]:
        """Hand frames on and count them; the first one, number `wanted` and the last are kept as samples."""
        for pixels in frames:
            number = self.num_frames
            if number - 1 not in (0, wanted):
                self.samples.pop(number - 1, None)
            self.samples[number] = pixels
            self.num_frames += 1
            yield pixels


class Encoder(Protocol):
    """Makes one format; can be pickled."""

    @property
    def format(self) -> str:
        """Of the result: RAW, FRAME or LMDB."""

    @property
    def short_side(self) -> int:
        """Larger frames are made smaller to this, in pixels; 0: none."""

    @property
    def use_flow(self) -> bool:
        """Whether the result is optical flow."""

    @property
    def suffix(self) -> str:
        """That files of the result have."""

    def store(self, root: Path) -> Store:
        """Where results go."""

    def encode(self, footage: Footage, *, sample: int) -> Encoded:
        """Encode all frames.

        Args:
            footage: The frames.
            sample: Number of a frame to keep for the verification, beside the first and the last.
        """


@dataclass(frozen=True, slots=True)
class PictureEncoder:
    """A JPEG of every frame.

    Attributes:
        layout: FRAME, LMDB (an environment a video) or LMDB_SET (environments of many videos).
        short_side: Larger frames are made smaller to this, in pixels; 0: none.
        quality: Quality of the JPEGs, 1 to 100.
    """

    layout: str
    short_side: int
    quality: int
    use_flow: bool = False
    suffix: str = ""

    @property
    def format(self) -> str:
        """See `Encoder`."""
        return self.layout.removesuffix("_SET")

    def store(self, root: Path) -> Store:
        """See `Encoder`."""
        return PICTURE_STORES[self.layout](root)

    def encode(self, footage: Footage, *, sample: int) -> Encoded:
        """See `Encoder`."""
        encoded = Encoded()
        kept = encoded.keeping(shrink(footage.frames, self.short_side), wanted=sample)
        encoded.parts = [encode_jpeg(frame, self.quality) for frame in kept]
        return encoded


@dataclass(frozen=True, slots=True)
class VideoEncoder:
    """An H.264 file without sound.

    Attributes:
        short_side: Larger frames are made smaller to this, in pixels; 0: none.
        key_interval: Most frames from a key frame to the next: what a random access has to decode at most.
        crf: x264's quality, 0 (lossless) to 51.
        preset: x264's, from ultrafast to veryslow.
    """

    short_side: int
    key_interval: int
    crf: int
    preset: str
    format: str = "RAW"
    use_flow: bool = False
    suffix: str = ".mp4"

    def store(self, root: Path) -> Store:
        """See `Encoder`."""
        return VideoFiles(root)

    def encode(self, footage: Footage, *, sample: int) -> Encoded:
        """See `Encoder`."""
        encoded = Encoded()
        kept = encoded.keeping(shrink(footage.frames, self.short_side, step=2), wanted=sample)
        try:
            data = encode_h264(
                kept, rate=footage.rate, options=self._options(), times=footage.times, time_base=footage.time_base
            )
            encoded.parts = [data]
        except av.error.FFmpegError as error:
            raise PrepareError(f"x264 does not encode it: {cause_of(error)}") from None
        return encoded

    def _options(self) -> dict[str, str]:
        return {"preset": self.preset, "crf": str(self.crf), "g": str(self.key_interval), "threads": "1"}


def spread(count: int, at_most: int) -> Sequence[int]:
    """Numbers evenly spread over 0..count-1, the first and the last among them."""
    return sorted({int(position) for position in np.linspace(0, count - 1, min(count, at_most))})
