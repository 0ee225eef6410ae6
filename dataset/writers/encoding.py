"""Frames to JPEGs and H.264 files."""

from collections.abc import Iterable, Iterator
from fractions import Fraction

import av
import cv2
import numpy as np
from av.video.stream import VideoStream

from dataset.transforms import operations
from utils.errors import UserError

_MAX_RATE_TERM = 1 << 16  # H.264 in MP4 keeps rates as fractions of small numbers


class EncodingError(UserError):
    """Frames that cannot be encoded as asked."""


def shrink(frames: Iterable[np.ndarray], short_side: int, *, even: bool = False) -> Iterator[np.ndarray]:
    """Resize frames whose short side is longer than `short_side` pixels (0: none); the shape stays.

    Args:
        frames: uint8 [H, W, 3] each.
        short_side: of the result.
        even: height and width become even numbers, as chroma subsampling wants; a frame that is not resized loses
            a row or a column for that.

    Raises:
        EncodingError: nothing is left of a frame by that.
    """
    for frame in frames:
        height, width = frame.shape[:2]
        short = min(height, width)
        if short_side and short > short_side:
            sizes = [round(side * short_side / short) for side in (height, width)]
            rows, columns = (side + side % 2 if even else side for side in sizes)
            yield operations.crop_resize(frame[None], (0, 0, height, width), height=rows, width=columns)[0]
        else:
            step = 2 if even else 1
            if short < step:
                raise EncodingError(f"frames of {width} x {height} pixels are too small for H.264")
            yield frame[: height - height % step, : width - width % step]


def encode_jpeg(picture: np.ndarray, quality: int) -> bytes:
    """Encode a picture, uint8 [H, W] or [H, W, 3] with blue first."""
    return cv2.imencode(".jpg", np.ascontiguousarray(picture), [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


class H264Writer:
    """Writes frames as an MP4 file; use it in a `with`."""

    def __init__(self, file: object, *, rate: Fraction, options: dict[str, str]) -> None:
        """Begin a file.

        Args:
            file: path, or a binary file to write to.
            rate: frames a second.
            options: of x264.
        """
        self._container = av.open(file, "w", format="mp4")
        self._rate, self._options = rate.limit_denominator(_MAX_RATE_TERM), options
        self._stream: VideoStream | None = None
        self._count = 0

    def __enter__(self) -> "H264Writer":
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if kind is None and self._stream is not None:
            self._container.mux(self._stream.encode(None))
        self._container.close()

    def write(self, frame: np.ndarray) -> None:
        """Add a frame, uint8 [H, W, 3] of even height and width, the same for all."""
        if self._stream is None:
            stream = self._container.add_stream("libx264", rate=self._rate, options=self._options)
            stream.height, stream.width = frame.shape[:2]
            stream.pix_fmt = "yuv420p"
            self._stream = stream
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
        picture.pts, picture.time_base = self._count, 1 / self._rate
        self._count += 1
        self._container.mux(self._stream.encode(picture))
