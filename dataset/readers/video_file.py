"""An open video file: its packets, from the start or from a key frame, and its decoder."""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.error
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition
from av.video.codeccontext import VideoCodecContext
from av.video.frame import PictureType, VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from dataset.readers.errors import MAX_PIXELS, ReadError, oversize

DEFAULT_RATE = 25  # frames per second of a file that does not give its rate

# Largest number of B frames shown before a frame that they refer to; H.264 and HEVC keep 16 reference frames.
_MAX_HELD = 16

# Containers whose header has all parameters that decoding needs, except the reorder depth.
_COMPLETE_HEADER_FORMAT = "mov,mp4,m4a,3gp,3g2,mj2"
# By default FFmpeg probes the format of a file and decodes its beginning, which takes 1 ms. A given format avoids the
# first, an empty list of codecs the second; the packets are decoded by PyAV's own codec context, which is not affected.
_NO_PROBING = {"format": "mov", "container_options": {"codec_whitelist": "none"}}


def unreadable(path: Path, cause: str) -> ReadError:
    """Return the error for a video that cannot be read."""
    return ReadError(f"cannot read the video {path}: {cause}")


def damaged_frame(path: Path, number: int) -> ReadError:
    """Return the error for a frame, by index from 0, that is damaged or depends on a damaged one."""
    return unreadable(path, f"frame {number} (from 0) is damaged or depends on a damaged one")


def cause_of(error: av.error.FFmpegError | OSError) -> str:
    """Return the message of an FFmpeg or system error without its number and path."""
    return error.strerror or type(error).__name__


@contextmanager
def translate_errors(path: Path) -> Iterator[None]:
    """Convert FFmpeg and system errors into a ReadError that names the video."""
    try:
        yield
    except (av.error.FFmpegError, OSError) as error:
        raise unreadable(path, cause_of(error)) from None


def file_version(path: Path) -> tuple[int, int]:
    """Return size and modification time of a file, bytes and nanoseconds.

    Raises:
        ReadError: The file does not exist.
    """
    with translate_errors(path):
        status = path.stat()
    return status.st_size, status.st_mtime_ns


class VideoFile:
    """An open video file, read packet by packet; a context manager.

    Decoding uses one thread: FFmpeg's threads deadlock in forked loader workers and cost more than they save on clips.
    FFmpeg's logging stays off, PyAV's default, as its Python callback takes the interpreter lock.

    As in players, a packet that cannot be decoded loses its own frames only: decoding goes on behind it, and `damage`
    reports it. FFmpeg's defaults decide what is damaged. Its stricter settings (`err_detect`) find no more damage in
    fuzzed HEVC, VP8, VP9 and motion JPEG files, and reject what some encoders write.

    Attributes:
        path: Path of the file.
        version: Size and modification time of the file, bytes and nanoseconds.
        decoder: FFmpeg's codec context.
        num_lost: Packets of the current pass that could not be decoded.
    """

    def __init__(self, path: Path, *, max_pixels: int = MAX_PIXELS, reorder_depth: int | None = None) -> None:
        """Open the file.

        Args:
            path: Path of the file.
            max_pixels: Largest number of pixels of a frame.
            reorder_depth: `reorder_depth` of the same file when it was opened before, which allows to open it without
                probing; None if unknown.

        Raises:
            ReadError: The file does not exist, has no video stream that FFmpeg reads, or too large frames.
        """
        self.path = path
        self._max_pixels = max_pixels
        self._reorder_depth = reorder_depth
        self._cause = ""
        self._lost_key: int | None = None
        self.version = file_version(path)
        if self.version[0] == 0:
            raise unreadable(path, "the file is empty")
        self._open()

    def __enter__(self) -> "VideoFile":
        """Return the open file."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
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
    def is_interlaced(self) -> bool:
        """Whether the stream, as far as FFmpeg has seen it, is interlaced: each field may be a packet of its own."""
        return self.decoder.field_order > 1  # 0 is unknown, 1 progressive

    @property
    def reorder_depth(self) -> int | None:
        """The decoder's reordering delay, frames; None for a container that needs probing."""
        is_complete = self.format_name == _COMPLETE_HEADER_FORMAT and len(self._container.streams.video) == 1
        return self.decoder.reorder_depth if is_complete else None

    @property
    def damage(self) -> str:
        """What the current pass could not decode; empty for no damage."""
        counts = (
            (self.num_lost, "packet", f" cannot be decoded ({self._cause})"),
            (self._num_unsound, "frame", " damaged"),
        )
        named = [f"{n} {name}{'s' if n > 1 else ''}{what}" for n, name, what in counts if n]
        return ", ".join(named) or self._cause

    @property
    def declared_frames(self) -> int:
        """Number of packets according to the header; 0 if it gives none."""
        return self._stream.frames

    @property
    def time_base(self) -> Fraction | None:
        """Seconds per unit of the time stamps; None if the container gives none."""
        return self._stream.time_base

    @property
    def frame_rate(self) -> Fraction | None:
        """Average frame rate, frames per second; None if neither container nor codec gives it."""
        return self._stream.average_rate or self._stream.guessed_rate

    def packets_from_start(self) -> Iterator[Packet]:
        """Yield all packets of the stream, with a fresh decoder."""
        if self._touched:
            self._container.close()
            self._open()
        self._begin()
        self._is_primed = True  # by the first packet, which the caller decodes
        return self._packets()

    def packets_from_key(self, aim: int, *, latest: int, known_keys: Sequence[int]) -> Iterator[Packet] | None:
        """Yield the packets from a key frame on, with a decoder that has only seen the first packet of the file.

        Where a seek lands depends on the container: MPEG-TS lands behind the target key frame, AVI compares decoding
        times, some files have no index at all. Packets before the first key packet cannot be decoded and are skipped;
        if that packet is a known key frame and not too late, everything from there on decodes correctly.

        Args:
            aim: Time stamp to seek to, in the stream's time base.
            latest: Time stamp of the last acceptable key frame.
            known_keys: Time stamps of all key packets, increasing.

        Returns:
            None if the seek failed or landed too late.
        """
        if not self._touched and latest == known_keys[0]:
            return self.packets_from_start()
        self._prime()
        self._begin()
        try:
            self._container.seek(aim, stream=self._stream)
        except av.error.FFmpegError:
            return None
        packets = self._packets()
        for packet in packets:
            if packet.is_keyframe:
                if packet.pts is None or packet.pts > latest or packet.pts not in known_keys:
                    return None
                return itertools.chain([packet], packets)
        return None

    def frames_from_start(self) -> Iterator[tuple[VideoFrame, bool]]:
        """Yield all frames of the stream, each with whether it is sound (see `judged`)."""
        return self.judged(self.frames(self.packets_from_start()))

    def frames(self, packets: Iterable[Packet]) -> Iterator[VideoFrame]:
        """Decode packets, and drain the decoder after the last one."""
        for packet in packets:
            yield from self.decode(packet)
        yield from self.drain()

    def judged(self, frames: Iterable[VideoFrame]) -> Iterator[tuple[VideoFrame, bool]]:
        """Yield frames in order, each with whether it is sound.

        A frame is unsound if the decoder marks it as corrupt, or if it depends on an unsound frame or a lost key frame:
        all frames up to the next key frame, and the B frames before it, which may refer to it. In fuzzed H.264, MPEG-4
        and MPEG-2 files the decoder marks one in six of the garbled frames; with their dependents it is five in six.
        """
        held: list[VideoFrame] = []
        is_sound = True
        for frame in frames:
            if frame.pict_type == PictureType.B and not frame.is_corrupt and len(held) < _MAX_HELD:
                held.append(frame)
                continue
            was_sound = is_sound
            if self._lost_key is not None and (frame.pts is None or frame.pts >= self._lost_key):
                is_sound, self._lost_key = False, None
            is_sound = not frame.is_corrupt and (is_sound or frame.key_frame)
            yield from self._judge(held, sound=was_sound and is_sound)
            yield from self._judge([frame], sound=is_sound)
            held = []
        yield from self._judge(held, sound=is_sound)

    def decode(self, packet: Packet | None) -> list[VideoFrame]:
        """Decode a packet and return the frames that are ready; none if it cannot be decoded."""
        try:
            return self.decoder.decode(packet)
        except av.error.FFmpegError as error:
            self._note(error)
            self.num_lost += 1
            if packet is not None and packet.is_keyframe:
                self._lost_key = packet.pts or 0
            return []

    def drain(self) -> list[VideoFrame]:
        """Return the frames that the decoder still buffers; it accepts no packet after this."""
        return self.decode(None)

    def inspect(self, packet: Packet) -> None:
        """Let the decoder parse a packet without decoding it; a packet of invalid structure counts as lost."""
        self.decoder.skip_frame = "ALL"
        self.decode(packet)
        self.decoder.skip_frame = "DEFAULT"

    def _judge(self, frames: list[VideoFrame], *, sound: bool) -> Iterator[tuple[VideoFrame, bool]]:
        self._num_unsound += 0 if sound else len(frames)
        return ((frame, sound) for frame in frames)

    def _note(self, error: av.error.FFmpegError) -> None:
        """Record the cause of damage; raise a memory error, which is none."""
        if isinstance(error, MemoryError):
            raise error
        self._cause = self._cause or cause_of(error)

    def _begin(self) -> None:
        """Start a pass over the packets."""
        self._touched = True
        self.num_lost = self._num_unsound = 0
        self._cause = ""
        self._lost_key = None

    def _prime(self) -> None:
        """Let the decoder parse the first packet of the file.

        That packet may name an encoder whose bugs the decoder works around (x264 up to version 150, Xvid), or hold
        parameters that the container lacks.
        """
        if not self._is_primed:
            if self._touched:
                self._container.close()
                self._open()
            self._is_primed = True
            for packet in itertools.islice(self._packets(), 1):
                self.inspect(packet)
            self.decoder.flush_buffers()

    def _open(self) -> None:
        # The explicit protocol keeps FFmpeg from reading one out of a file name with a colon. metadata_errors: titles
        # and comments are often in an unknown 8-bit encoding, which must not be an error.
        probing: dict[str, Any] = {} if self._reorder_depth is None else _NO_PROBING
        with translate_errors(self.path):
            container = av.open(f"file:{self.path}", mode="r", metadata_errors="replace", **probing)
        try:
            stream = _video_stream(container, self.path)
            if cause := oversize(stream.codec_context.width, stream.codec_context.height, self._max_pixels):
                raise unreadable(self.path, cause)
        except ReadError:
            container.close()
            raise
        stream.thread_type = "NONE"
        stream.codec_context.thread_count = 1
        if self._reorder_depth is not None:
            stream.codec_context.reorder_depth = self._reorder_depth
        # Frames may become larger than the header says: the decoder then refuses them.
        stream.codec_context.options = {"max_pixels": str(self._max_pixels)}
        self._container: InputContainer = container
        self._stream: VideoStream = stream
        self.decoder: VideoCodecContext = stream.codec_context
        self._begin()
        self._touched = self._is_primed = False

    def _packets(self) -> Iterator[Packet]:
        try:
            for packet in self._container.demux(self._stream):
                if packet.size:  # PyAV ends with an empty packet, which would drain the decoder
                    yield packet
        except av.error.FFmpegError as error:
            self._note(error)  # the file ends here, as in players


def quarter_turns(frame: VideoFrame) -> int:
    """Return the number of counter-clockwise 90-degree rotations that make a frame upright; 0 for invalid metadata."""
    return round(frame.rotation / 90) % 4 if abs(frame.rotation) <= 360 else 0


def _video_stream(container: InputContainer, path: Path) -> VideoStream:
    """Return FFmpeg's choice of video stream, never a cover image."""
    streams = [stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic]
    if not streams:
        cause = "it holds only a cover picture" if container.streams.video else "it holds no video stream"
        raise unreadable(path, cause)
    best = container.streams.best("video")
    stream = next((stream for stream in streams if stream is best), streams[0])
    if stream.codec_context is None:
        raise unreadable(path, "FFmpeg has no decoder for its codec")
    return stream


def decode_frames(path: Path, *, first: int = 0, max_pixels: int = MAX_PIXELS) -> Iterator[np.ndarray]:
    """Decode a video file from start to end; damaged frames at the end are dropped.

    Args:
        path: Path of the file.
        first: Index of the first frame to yield.
        max_pixels: Largest number of pixels of a frame.

    Yields:
        Frames, uint8 [H, W, 3], upright, all of the size of the first.

    Raises:
        ReadError: No frame can be decoded, or a damaged frame is followed by a sound one.
    """
    reformatter = VideoReformatter()
    size: tuple[int, int] | None = None
    damaged = number = -1
    with VideoFile(path, max_pixels=max_pixels) as video:
        for number, (frame, is_sound) in enumerate(video.frames_from_start()):
            if number < first:
                continue
            if not is_sound:
                damaged = number if damaged < 0 else damaged
                continue
            if damaged >= 0:
                raise damaged_frame(path, damaged)
            if size is None:
                size, turns = (frame.width, frame.height), quarter_turns(frame)
            rgb = reformatter.reformat(frame, width=size[0], height=size[1], format="rgb24", threads=1)
            yield np.rot90(rgb.to_ndarray(), turns)
        if number < 0:
            raise unreadable(path, video.damage or "no frame of it can be decoded")
        if size is None and damaged >= 0:
            raise damaged_frame(path, damaged)
