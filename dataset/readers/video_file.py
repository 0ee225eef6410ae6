"""One open video file: its packets, from the start or from a key frame, and its decoder."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import av
import av.error
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from dataset.readers.errors import ReadError


def unreadable(path: Path, cause: str) -> ReadError:
    """The error for a video that cannot be read."""
    return ReadError(f"cannot read the video {path}: {cause}")


def cause_of(error: av.error.FFmpegError | OSError) -> str:
    """What FFmpeg or the system says of an error, without its number and without the path."""
    return error.strerror or type(error).__name__


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Turn what FFmpeg and the system raise into a ReadError that names the video."""
    try:
        yield
    except (av.error.FFmpegError, OSError) as error:
        raise unreadable(path, cause_of(error)) from None


class VideoFile:
    """A video file whose moving pictures can be walked packet by packet; close it, or use it in a `with`.

    One thread decodes: FFmpeg's own threads deadlock inside forked loader workers and cost more than they save on
    clips. PyAV keeps FFmpeg's logging off (its Python callback takes the interpreter lock), which stays that way here.
    """

    def __init__(self, path: Path) -> None:
        """Open the file.

        Raises:
            ReadError: no such file, nothing FFmpeg reads, or no moving pictures in it.
        """
        self.path = path
        with naming(path):
            status = path.stat()
        if status.st_size == 0:
            raise unreadable(path, "the file is empty")
        self.version = (status.st_size, status.st_mtime_ns)
        self._touched = False
        self._open()

    def __enter__(self) -> "VideoFile":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._container.close()

    @property
    def format_name(self) -> str:
        """FFmpeg's name of the container format, such as `matroska,webm`."""
        return self._container.format.name

    @property
    def codec_name(self) -> str:
        """Name of the codec (not of the decoder used), such as `h264`."""
        return self.decoder.codec.canonical_name

    @property
    def declared_frames(self) -> int:
        """The number of packets that the header claims; 0 where it says nothing."""
        return self._stream.frames

    @property
    def time_base(self) -> Fraction | None:
        """Seconds of one unit of the time stamps, None where the container does not say."""
        return self._stream.time_base

    @property
    def frame_rate(self) -> Fraction | None:
        """Frames a second on average, None where neither container nor codec says."""
        return self._stream.average_rate or self._stream.guessed_rate

    def packets_from_start(self) -> Iterator[Packet]:
        """All packets of the stream, with a decoder that has seen nothing."""
        if self._touched:
            self._container.close()
            self._open()
        self._touched = True
        return self._packets()

    def packets_from_key(self, aim: int, *, latest: int, known_keys: Sequence[int]) -> Iterator[Packet] | None:
        """Packets from a key frame on, with a decoder that has seen nothing.

        Where a seek lands is up to the container: MPEG-TS lands behind the key frame aimed at, AVI compares with
        decoding times, some files have no index at all. What comes before the first key packet could not be decoded and
        is passed over; if that packet is a known key frame and not too late, all from there on decodes as it should.

        Args:
            aim: time stamp to seek to, in the stream's time base.
            latest: time stamp of the last key frame that will do.
            known_keys: time stamps of all key packets, increasing.

        Returns:
            None if the seek failed or landed too late.
        """
        if not self._touched and latest == known_keys[0]:
            return self.packets_from_start()
        self._touched = True
        try:
            self._container.seek(aim, stream=self._stream)
        except av.error.FFmpegError:
            return None
        packets = self._packets()
        for packet in packets:
            if packet.is_keyframe:
                if packet.pts is None or packet.pts > latest or packet.pts not in known_keys:
                    return None
                return _chain(packet, packets)
        return None

    def frames_from_start(self) -> Iterator[VideoFrame]:
        """All frames of the stream."""
        for packet in self.packets_from_start():
            yield from self.decoder.decode(packet)
        yield from self.drain()

    def drain(self) -> list[VideoFrame]:
        """The frames that the decoder still holds back; it takes no packet after this."""
        return self.decoder.decode(None)

    def _open(self) -> None:
        # The protocol is spelled out, or a name with a colon could be taken for one. Titles and comments are often in
        # some 8-bit code, which must not stop anybody.
        with naming(self.path):
            container = av.open(f"file:{self.path}", metadata_errors="replace")
        try:
            stream = _moving_pictures(container, self.path)
        except ReadError:
            container.close()
            raise
        stream.thread_type = "NONE"
        stream.codec_context.thread_count = 1
        self._container: InputContainer = container
        self._stream: VideoStream = stream
        self.decoder: VideoCodecContext = stream.codec_context
        self._touched = False

    def _packets(self) -> Iterator[Packet]:
        for packet in self._container.demux(self._stream):
            if packet.size:  # the empty one at the end only tells PyAV's decode() to drain
                yield packet


def _chain(first: Packet, rest: Iterator[Packet]) -> Iterator[Packet]:
    yield first
    yield from rest


def _moving_pictures(container: InputContainer, path: Path) -> VideoStream:
    """The stream to read: FFmpeg's choice, unless that is a cover picture."""
    streams = [stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic]
    if not streams:
        cause = "it holds only a cover picture" if container.streams.video else "it holds no video stream"
        raise unreadable(path, cause)
    best = container.streams.best("video")
    stream = next((stream for stream in streams if stream is best), streams[0])
    if stream.codec_context is None:
        raise unreadable(path, "FFmpeg has no decoder for its codec")
    return stream


def decode_frames(path: Path) -> Iterator[np.ndarray]:
    """Decode a video file from its start to its end, or to where it is damaged.

    Yields:
        uint8 [H, W, 3], upright, all of the size of the first.

    Raises:
        ReadError: nothing of it can be decoded.
    """
    reformatter = VideoReformatter()
    size: tuple[int, int] | None = None
    with VideoFile(path) as video:
        try:
            for frame in video.frames_from_start():
                if size is None:
                    size, turns = (frame.width, frame.height), round(frame.rotation / 90) % 4
                rgb = reformatter.reformat(frame, width=size[0], height=size[1], format="rgb24", threads=1)
                yield np.rot90(rgb.to_ndarray(), turns)
        except av.error.FFmpegError as error:
            if size is None:
                raise unreadable(path, cause_of(error)) from None
    if size is None:
        raise unreadable(path, "no frame of it can be decoded")
