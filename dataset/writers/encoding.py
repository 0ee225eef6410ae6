"""Encode frames as JPEG or H.264. No torch."""

import io
import itertools
from collections.abc import Iterable
from fractions import Fraction

import av
import cv2
import numpy as np
from av.video.stream import VideoStream

_MAX_RATE_TERM = 1 << 16  # largest denominator of a frame rate: H.264 in MP4 stores fractions of small numbers


def encode_jpeg(picture: np.ndarray, quality: int) -> bytes:
    """Encode an image, uint8 [H, W, 3] (RGB) or [H, W] (gray), as JPEG of quality 1 to 100."""
    pixels = np.ascontiguousarray(picture[..., ::-1] if picture.ndim == 3 else picture)  # OpenCV takes BGR
    return cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


def encode_h264(
    frames: Iterable[np.ndarray],
    *,
    rate: Fraction | int,
    options: dict[str, str],
    times: Iterable[int | None] = (),
    time_base: Fraction | None = None,
) -> bytes:
    """Encode frames with `H264Writer` in memory; without frames, the result is not a readable video."""
    file = io.BytesIO()
    with H264Writer(file, rate=Fraction(rate), options=options, time_base=time_base) as writer:
        for frame, time in zip(frames, times or itertools.cycle([None]), strict=False):  # a video may end early
            writer.write(frame, time=time)
    return file.getvalue()


class H264Writer:
    """A context manager that writes frames to an MP4 file."""

    def __init__(
        self, file: object, *, rate: Fraction, options: dict[str, str], time_base: Fraction | None = None
    ) -> None:
        """Open the file.

        Args:
            file: A path or a binary file object.
            rate: Frame rate, frames per second; the average if frames have times.
            options: Options of x264.
            time_base: Seconds per unit of the frames' times; None for a constant frame rate.
        """
        self._container = av.open(file, "w", format="mp4")
        self._rate, self._options = rate.limit_denominator(_MAX_RATE_TERM), options
        self._time_base = time_base or 1 / self._rate
        self._stream: VideoStream | None = None
        self._count = 0

    def __enter__(self) -> "H264Writer":
        """Return the writer."""
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        """Flush the encoder, unless there was an error, and close the file."""
        if kind is None and self._stream is not None:
            self._container.mux(self._stream.encode(None))
        self._container.close()

    def write(self, frame: np.ndarray, *, time: int | None = None) -> None:
        """Append a frame.

        Args:
            frame: uint8 [H, W, 3], all of one size, height and width even.
            time: Presentation time in units of the time base, later than that of the frame before; None for the index
                of the frame.
        """
        if self._stream is None:
            stream = self._container.add_stream("libx264", rate=self._rate, options=self._options)
            stream.height, stream.width = frame.shape[:2]
            stream.pix_fmt = "yuv420p"
            stream.codec_context.time_base = self._time_base
            self._stream = stream
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
        picture.pts, picture.time_base = self._count if time is None else time, self._time_base
        self._count += 1
        self._container.mux(self._stream.encode(picture))
