"""What becomes of a video's frames: JPEGs, or a smaller H.264 file with many key frames."""

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


@dataclass(frozen=True, slots=True)
class PictureEncoder:
    """A JPEG of every frame; as all encoders, it can be pickled.

    Attributes:
        layout: FRAME, LMDB (an environment a video) or LMDB_SET (environments of many videos).
        short_side: Larger frames are made smaller to this, in pixels; 0: none.
        quality: Quality of the JPEGs, 1 to 100.
        use_flow: The result is optical flow.
        suffix: That files of the result have.
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
        """Return where results go."""
        return PICTURE_STORES[self.layout](root, suffixes=FLOW_SUFFIXES if self.use_flow else RGB_SUFFIXES)

    def encode(self, footage: Footage, *, sample: int) -> Encoded:
        """Encode all frames; number `sample` is kept for the verification, beside the first and the last."""
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
        """Return where results go."""
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
            raise PrepareError(f"x264 does not encode it: {cause_of(error)}") from None
        return encoded


Encoder = PictureEncoder | VideoEncoder


def spread(count: int, at_most: int) -> Sequence[int]:
    """Numbers evenly spread over 0..count-1, the first and the last among them."""
    return sorted({int(position) for position in np.linspace(0, count - 1, min(count, at_most))})
