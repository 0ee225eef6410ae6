"""Frames to JPEGs and H.264 files: the one writer of each. No torch."""

import io
import itertools
from collections.abc import Iterable
from fractions import Fraction

import av
import cv2
import numpy as np
from av.video.stream import VideoStream

_MAX_RATE_TERM = 1 << 16  # H.264 in MP4 keeps rates as fractions of small numbers


def encode_jpeg(picture: np.ndarray, quality: int) -> bytes:
    """Encode a picture, uint8 [H, W, 3] in RGB or [H, W] in gray, with a quality of 1 to 100."""
    pixels = np.ascontiguousarray(picture[..., ::-1] if picture.ndim == 3 else picture)  # OpenCV has blue first
    return cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


def encode_h264(
    frames: Iterable[np.ndarray],
    *,
    rate: Fraction | int,
    options: dict[str, str],
    times: Iterable[int | None] = (),
    time_base: Fraction | None = None,
) -> bytes:
    """Encode frames as `H264Writer` does, in memory; no frames give no bytes that are a video."""
    file = io.BytesIO()
    with H264Writer(file, rate=Fraction(rate), options=options, time_base=time_base) as writer:
        for frame, time in zip(frames, times or itertools.cycle([None]), strict=False):  # a video may end early
            writer.write(frame, time=time)
    return file.getvalue()


class H264Writer:
    """Writes frames as an MP4 file; use it in a `with`."""

    def __init__(
        self, file: object, *, rate: Fraction, options: dict[str, str], time_base: Fraction | None = None
    ) -> None:
        """Begin a file.

        Args:
            file: Path, or a binary file to write to.
            rate: Frames a second, on average where they have times of their own.
            options: Of x264.
            time_base: Seconds of one unit of the frames' times; None: frames follow each other at the rate.
        """
        self._container = av.open(file, "w", format="mp4")
        self._rate, self._options = rate.limit_denominator(_MAX_RATE_TERM), options
        self._time_base = time_base or 1 / self._rate
        self._stream: VideoStream | None = None
        self._count = 0

    def __enter__(self) -> "H264Writer":
        """Return itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        """Write what the encoder holds back, unless something went wrong, and end the file."""
        if kind is None and self._stream is not None:
            self._container.mux(self._stream.encode(None))
        self._container.close()

    def write(self, frame: np.ndarray, *, time: int | None = None) -> None:
        """Add a frame.

        Args:
            frame: Uint8 [H, W, 3] of even height and width, the same for all.
            time: When it is shown, in units of the time base; later than the one before. None: its number.
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
