"""Real encoded videos for tests: every frame carries its number as black and white blocks that lossy codecs keep."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

BLOCK = 8
COLUMNS = 8
ROWS = 2
HEIGHT, WIDTH = 48, COLUMNS * BLOCK
# Three B-frames between references, pyramid, closed groups of 12: frames come far from the order of packets.
X264 = {"preset": "ultrafast", "bf": "3", "b-adapt": "0", "g": "12", "refs": "2", "threads": "1"}


def numbered_frame(number: int, *, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """A frame whose top shows `number` in binary, above a texture that drifts (so that frames predict each other).

    Returns:
        uint8 [height, width, 3].
    """
    rows, columns = np.mgrid[0:height, 0:width]
    texture = 128 + 60 * np.sin((columns + 2 * number) / 5) + 40 * np.cos((rows - number) / 4)
    frame = np.repeat(texture[:, :, None], 3, axis=2)
    frame[:, :, 1] = frame[::-1, :, 1]
    bits = (number >> np.arange(ROWS * COLUMNS)) & 1
    code = np.kron(bits.reshape(ROWS, COLUMNS), np.ones((BLOCK, BLOCK), dtype=np.int64)) * 215 + 20
    frame[: ROWS * BLOCK, : COLUMNS * BLOCK] = code[:, :, None]
    return frame.astype(np.uint8)


def frame_number(frame: np.ndarray) -> int:
    """The number that a decoded frame [H, W, 3] shows."""
    code = np.asarray(frame)[: ROWS * BLOCK, : COLUMNS * BLOCK].astype(np.float64).mean(axis=2)
    means = code.reshape(ROWS, BLOCK, COLUMNS, BLOCK)[:, 2:-2, :, 2:-2].mean(axis=(1, 3))
    assert np.all(np.abs(means - 128) > 50), f"no frame number can be read: {means.round()}"
    return int(((means.reshape(-1) > 128).astype(np.int64) << np.arange(ROWS * COLUMNS)).sum())


def frame_numbers(frames: Sequence[np.ndarray] | np.ndarray) -> list[int]:
    """The numbers that decoded frames [N, H, W, 3] show."""
    return [frame_number(frame) for frame in frames]


def encode_video(
    path: Path,
    num_frames: int,
    *,
    codec: str = "libx264",
    options: dict[str, str] | None = None,
    rate: Fraction | int = 25,
    pts: Sequence[int] | None = None,
    pix_fmt: str = "yuv420p",
    rotation: int = 0,
    size: tuple[int, int] = (HEIGHT, WIDTH),
    container_options: dict[str, str] | None = None,
    title: str = "",
    with_sound: bool = False,
    cover: bool = False,
) -> Path:
    """Encode frames 0..num_frames-1 to `path`, whose suffix gives the container.

    Args:
        path: of the new file; folders are made.
        num_frames: how many.
        codec: FFmpeg's encoder.
        options: of the encoder.
        rate: frames a second.
        pts: one time stamp a frame in units of 1 / rate (default 0, 1, 2, ...).
        pix_fmt: pixels as encoded.
        rotation: degrees counter-clockwise that a player turns the stored frames by.
        size: height and width.
        container_options: of the muxer.
        title: in the file's metadata.
        with_sound: a sound track stands in front of the video.
        cover: a cover picture stands in front of the video.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width = size
    with av.open(str(path), "w", options=container_options or {}) as container:
        if title:
            container.metadata["title"] = title
        sound = add_sound(container) if with_sound else None
        picture = add_cover(container) if cover else None
        stream = cast(VideoStream, container.add_stream(codec, rate=rate, options=X264 if options is None else options))
        stream.width, stream.height, stream.pix_fmt = width, height, pix_fmt
        stream.codec_context.thread_count = 1
        if rotation:
            stream.set_display_rotation(rotation)
        if picture is not None:
            mux_cover(container, picture)
        for number in range(num_frames):
            frame = av.VideoFrame.from_ndarray(numbered_frame(number, height=height, width=width), format="rgb24")
            frame.pts = number if pts is None else pts[number]
            frame.time_base = 1 / Fraction(rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if sound is not None:
            mux_silence(container, sound, seconds=num_frames / float(rate))
    return path


def add_sound(container: OutputContainer) -> AudioStream:
    """A new sound track."""
    sound = container.add_stream("aac", rate=8000)
    sound.layout = "mono"
    return sound


def mux_silence(container: OutputContainer, sound: AudioStream, *, seconds: float) -> None:
    """Fill a sound track with silence."""
    for start in range(0, int(8000 * seconds), 1024):
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), dtype=np.float32), format="fltp", layout="mono")
        frame.sample_rate, frame.pts = 8000, start
        container.mux(sound.encode(frame))
    container.mux(sound.encode(None))


def add_cover(container: OutputContainer) -> VideoStream:
    """A new stream for a cover picture."""
    picture = container.add_stream("mjpeg", rate=1)
    picture.width, picture.height, picture.pix_fmt = 32, 32, "yuvj420p"
    picture.disposition = Disposition.attached_pic
    return picture


def mux_cover(container: OutputContainer, picture: VideoStream) -> None:
    """Write a gray cover picture."""
    frame = av.VideoFrame.from_ndarray(np.full((32, 32, 3), 90, dtype=np.uint8), format="rgb24")
    frame.pts = 0
    container.mux(picture.encode(frame))
    container.mux(picture.encode(None))


def remux(source: Path, target: Path, *, shift: int = 0, drop: int = 0) -> Path:
    """Copy the packets of a video to another container.

    Args:
        source: an encoded video.
        target: the new file.
        shift: added to all time stamps, in the source's time base.
        drop: packets left out at the start.
    """
    with av.open(str(source)) as reading, av.open(str(target), "w") as writing:
        stream = reading.streams.video[0]
        copy = writing.add_stream_from_template(stream)
        packets = [packet for packet in reading.demux(stream) if packet.size]
        for packet in packets[drop:]:
            assert packet.pts is not None and packet.dts is not None
            packet.pts += shift
            packet.dts += shift
            packet.stream = copy
            writing.mux(packet)
    return target


def overwrite_packet(path: Path, number: int, change: Callable[[bytes], bytes]) -> None:
    """Change the content of a packet, by number in the order of the file, to another of the same length."""
    with av.open(str(path)) as container:
        packet = [packet for packet in container.demux(video=0) if packet.size][number]
        start, content = packet.pos, bytes(packet)
        assert start is not None
    data = path.read_bytes()
    assert data[start : start + len(content)] == content
    path.write_bytes(data[:start] + change(content) + data[start + len(content) :])


def decode_all(path: Path) -> list[av.VideoFrame]:
    """All frames by the plainest means: decode every packet in one thread; one that cannot be decoded gives nothing."""
    frames = []
    with av.open(str(path), metadata_errors="replace") as container:
        stream = next(stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic)
        stream.thread_type, stream.codec_context.thread_count = "NONE", 1
        for packet in container.demux(stream):
            with suppress(av.error.InvalidDataError):
                frames += stream.codec_context.decode(packet if packet.size else None)
    return frames


def sequential_frames(path: Path) -> list[np.ndarray]:
    """The pixels of all frames, each decoded and converted by itself: uint8 [H, W, 3] each."""
    return [frame.to_ndarray(format="rgb24") for frame in decode_all(path)]
