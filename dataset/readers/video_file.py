"""One open video file: its packets, from the start or from a key frame, and its decoder."""

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

USUAL_RATE = 25  # frames a second where a file does not say

# B pictures that may come before a picture which they refer to; H.264 and HEVC keep 16 pictures.
_MOST_HELD = 16

# The containers that say of a video track all that decoding takes, but for the reorder depth.
_TELLING_FORMAT = "mov,mp4,m4a,3gp,3g2,mj2"
# FFmpeg finds out the format of a file as it opens it, and decodes how it begins, which takes 1 ms together; not where
# it is told, and may use no codec for that. The decoder of the packets is PyAV's own and does not come under this.
_NO_PROBING = {"format": "mov", "container_options": {"codec_whitelist": "none"}}


def unreadable(path: Path, cause: str) -> ReadError:
    """Return the error for a video that cannot be read."""
    return ReadError(f"cannot read the video {path}: {cause}")


def damaged_frame(path: Path, number: int) -> ReadError:
    """Return the error for a frame, by number from 0, that is damaged or rests on a damaged one."""
    return unreadable(path, f"frame {number} (from 0) is damaged, or rests on a damaged one")


def cause_of(error: av.error.FFmpegError | OSError) -> str:
    """Return what FFmpeg or the system says of an error, without its number and without the path."""
    return error.strerror or type(error).__name__


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Turn what FFmpeg and the system raise into a ReadError that names the video."""
    try:
        yield
    except (av.error.FFmpegError, OSError) as error:
        raise unreadable(path, cause_of(error)) from None


def file_version(path: Path) -> tuple[int, int]:
    """Return size and time of the last change of a file, bytes and nanoseconds.

    Raises:
        ReadError: There is no such file.
    """
    with naming(path):
        status = path.stat()
    return status.st_size, status.st_mtime_ns


class VideoFile:
    """A video file whose moving pictures can be walked packet by packet; close it, or use it in a `with`.

    One thread decodes: FFmpeg's own threads deadlock inside forked loader workers and cost more than they save on
    clips. PyAV keeps FFmpeg's logging off (its Python callback takes the interpreter lock), which stays that way here.

    What cannot be decoded costs its own pictures only, as in players: decoding goes on behind it, and `damage` says it.
    FFmpeg's defaults decide what that is. Its stricter settings (`err_detect`) find no more of it in fuzzed HEVC, VP8,
    VP9 and motion JPEG files, and take what some encoders write for damage.

    Attributes:
        path: Of the file.
        version: Size and time of the last change, bytes and nanoseconds.
        decoder: FFmpeg's.
        num_lost: Packets since the last start of a pass that could not be decoded.
    """

    def __init__(self, path: Path, *, max_pixels: int = MAX_PIXELS, reorder_depth: int | None = None) -> None:
        """Open the file.

        Args:
            path: Of the file.
            max_pixels: Pixels that a picture may have.
            reorder_depth: Of the same file as it was opened before, which makes opening cheap; None: not known.

        Raises:
            ReadError: No such file, nothing FFmpeg reads, no moving pictures in it, or too large ones.
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
        """Whether what FFmpeg has seen of the stream holds two fields a frame; each may come in a packet of its own."""
        return self.decoder.field_order > 1  # 0 is unknown, 1 progressive

    @property
    def reorder_depth(self) -> int | None:
        """Frames that the decoder holds back for their order, if a file of this kind can be opened by it; or None."""
        is_telling = self.format_name == _TELLING_FORMAT and len(self._container.streams.video) == 1
        return self.decoder.reorder_depth if is_telling else None

    @property
    def damage(self) -> str:
        """What the pass since its start could not decode; empty for nothing."""
        counts = (
            (self.num_lost, "packet", f" cannot be decoded ({self._cause})"),
            (self._num_unsound, "picture", " damaged"),
        )
        named = [f"{n} {name}{'s' if n > 1 else ''}{what}" for n, name, what in counts if n]
        return ", ".join(named) or self._cause

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
        """Give all packets of the stream, with a decoder that has seen nothing."""
        if self._touched:
            self._container.close()
            self._open()
        self._begin()
        self._is_primed = True  # by the first packet, which goes to the decoder
        return self._packets()

    def packets_from_key(self, aim: int, *, latest: int, known_keys: Sequence[int]) -> Iterator[Packet] | None:
        """Give packets from a key frame on, with a decoder that has seen nothing but how the file begins.

        Where a seek lands is up to the container: MPEG-TS lands behind the key frame aimed at, AVI compares with
        decoding times, some files have no index at all. What comes before the first key packet could not be decoded and
        is passed over; if that packet is a known key frame and not too late, all from there on decodes as it should.

        Args:
            aim: Time stamp to seek to, in the stream's time base.
            latest: Time stamp of the last key frame that will do.
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
        """Give all frames of the stream, each with whether it is sound (see `judged`)."""
        return self.judged(self.frames(self.packets_from_start()))

    def frames(self, packets: Iterable[Packet]) -> Iterator[VideoFrame]:
        """Decode packets, and drain the decoder behind the last one."""
        for packet in packets:
            yield from self.decode(packet)
        yield from self.drain()

    def judged(self, frames: Iterable[VideoFrame]) -> Iterator[tuple[VideoFrame, bool]]:
        """Give frames as they come, each with whether it is sound.

        A frame that the decoder marks as corrupt is not, nor is what rests on it: all up to the next key frame, and
        the B pictures before it, which may refer to it; nor what rests on a key frame that cannot be decoded. In fuzzed
        H.264, MPEG-4 and MPEG-2 files the decoder marks one in six of the garbled pictures, and with those that rest on
        them it is five in six.
        """
        held: list[VideoFrame] = []
        is_sound = True
        for frame in frames:
            if frame.pict_type == PictureType.B and not frame.is_corrupt and len(held) < _MOST_HELD:
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
        """Return the frames that a packet brings out of the decoder; none where it cannot be decoded."""
        try:
            return self.decoder.decode(packet)
        except av.error.FFmpegError as error:
            self._note(error)
            self.num_lost += 1
            if packet is not None and packet.is_keyframe:
                self._lost_key = packet.pts or 0
            return []

    def drain(self) -> list[VideoFrame]:
        """Return the frames that the decoder still holds back; it takes no packet after this."""
        return self.decode(None)

    def inspect(self, packet: Packet) -> None:
        """Let the decoder look at a packet without decoding it; one whose structure is damaged counts as lost."""
        self.decoder.skip_frame = "ALL"
        self.decode(packet)
        self.decoder.skip_frame = "DEFAULT"

    def _judge(self, frames: list[VideoFrame], *, sound: bool) -> Iterator[tuple[VideoFrame, bool]]:
        self._num_unsound += 0 if sound else len(frames)
        return ((frame, sound) for frame in frames)

    def _note(self, error: av.error.FFmpegError) -> None:
        """Keep the cause of damage; having no memory left is none."""
        if isinstance(error, MemoryError):
            raise error
        self._cause = self._cause or cause_of(error)

    def _begin(self) -> None:
        """Begin a pass over the packets."""
        self._touched = True
        self.num_lost = self._num_unsound = 0
        self._cause = ""
        self._lost_key = None

    def _prime(self) -> None:
        """Let the decoder see how the file begins, without decoding it.

        Only the first packet may say which encoder's faults to allow for (x264 up to version 150, Xvid), or bring
        parameters that the container has not.
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
        # The protocol is spelled out, or a name with a colon could be taken for one. Titles and comments are often in
        # some 8-bit code, which must not stop anybody.
        probing: dict[str, Any] = {} if self._reorder_depth is None else _NO_PROBING
        with naming(self.path):
            container = av.open(f"file:{self.path}", mode="r", metadata_errors="replace", **probing)
        try:
            stream = _moving_pictures(container, self.path)
            if cause := oversize(stream.codec_context.width, stream.codec_context.height, self._max_pixels):
                raise unreadable(self.path, cause)
        except ReadError:
            container.close()
            raise
        stream.thread_type = "NONE"
        stream.codec_context.thread_count = 1
        if self._reorder_depth is not None:
            stream.codec_context.reorder_depth = self._reorder_depth
        # Pictures may turn larger than the header says: the decoder itself refuses them then.
        stream.codec_context.options = {"max_pixels": str(self._max_pixels)}
        self._container: InputContainer = container
        self._stream: VideoStream = stream
        self.decoder: VideoCodecContext = stream.codec_context
        self._begin()
        self._touched = self._is_primed = False

    def _packets(self) -> Iterator[Packet]:
        try:
            for packet in self._container.demux(self._stream):
                if packet.size:  # the empty one at the end only tells PyAV's decode() to drain
                    yield packet
        except av.error.FFmpegError as error:
            self._note(error)  # the file ends here, as for players


def quarter_turns(frame: VideoFrame) -> int:
    """Return how often a frame has to be turned by 90 degrees counter-clockwise to be upright; never, for no angle."""
    return round(frame.rotation / 90) % 4 if abs(frame.rotation) <= 360 else 0


def _moving_pictures(container: InputContainer, path: Path) -> VideoStream:
    """Return the stream to read: FFmpeg's choice, unless that is a cover picture."""
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
    """Decode a video file from its start to its end; damaged pictures at the end are left out.

    Args:
        path: Of the file.
        first: Number of the first frame to give.
        max_pixels: Pixels that a picture may have.

    Yields:
        uint8 [H, W, 3], upright, all of the size of the first.

    Raises:
        ReadError: Nothing of it can be decoded, or a frame with sound ones behind it is damaged.
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
