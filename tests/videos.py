"""Encoded videos for tests: every frame shows its number as black and white blocks that survive lossy codecs."""

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
# Three B-frames between references, pyramid, closed groups of 12: decoding order differs much from display order.
X264 = {"preset": "ultrafast", "bf": "3", "b-adapt": "0", "g": "12", "refs": "2", "threads": "1"}


def numbered_frame(number: int, *, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """Return a frame that shows `number` in binary at the top, above a drifting texture, so that frames predict others.

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
    """Return the number that a decoded frame, [H, W, 3], shows."""
    code = np.asarray(frame)[: ROWS * BLOCK, : COLUMNS * BLOCK].astype(np.float64).mean(axis=2)
    means = code.reshape(ROWS, BLOCK, COLUMNS, BLOCK)[:, 2:-2, :, 2:-2].mean(axis=(1, 3))
    assert np.all(np.abs(means - 128) > 50), f"no frame number can be read: {means.round()}"
    return int(((means.reshape(-1) > 128).astype(np.int64) << np.arange(ROWS * COLUMNS)).sum())


def frame_numbers(frames: Sequence[np.ndarray] | np.ndarray) -> list[int]:
    """Return the numbers that decoded frames, [N, H, W, 3], show."""
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
    """Encode frames 0..num_frames-1 to `path`, whose suffix determines the container.

    Args:
        path: The new file; its folders are created.
        num_frames: Number of frames.
        codec: FFmpeg's encoder.
        options: Options of the encoder.
        rate: Frames per second.
        pts: Time stamp of each frame in units of 1 / rate (default 0, 1, 2, ...).
        pix_fmt: Pixel format of the encoded frames.
        rotation: Counter-clockwise rotation of the stored frames by a player, degrees.
        size: Height and width of the frames, pixels.
        container_options: Options of the muxer.
        title: Title in the file's metadata.
        with_sound: Whether to put an audio stream before the video stream.
        cover: Whether to put a cover picture before the video stream.
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
    """Add an audio stream."""
    sound = container.add_stream("aac", rate=8000)
    sound.layout = "mono"
    return sound


def mux_silence(container: OutputContainer, sound: AudioStream, *, seconds: float) -> None:
    """Fill an audio stream with silence."""
    for start in range(0, int(8000 * seconds), 1024):
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), dtype=np.float32), format="fltp", layout="mono")
        frame.sample_rate, frame.pts = 8000, start
        container.mux(sound.encode(frame))
    container.mux(sound.encode(None))


def add_cover(container: OutputContainer) -> VideoStream:
    """Add a stream for a cover picture."""
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
        source: An encoded video.
        target: The new file.
        shift: Offset added to all time stamps, in units of the source's time base.
        drop: Number of packets to drop at the start.
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
    """Replace the content of a packet, by its index in the file, by another one of the same length."""
    with av.open(str(path)) as container:
        packet = [packet for packet in container.demux(video=0) if packet.size][number]
        start, content = packet.pos, bytes(packet)
        assert start is not None
    data = path.read_bytes()
    assert data[start : start + len(content)] == content
    path.write_bytes(data[:start] + change(content) + data[start + len(content) :])


def decode_all(path: Path) -> list[av.VideoFrame]:
    """Return all frames, decoding every packet in one thread and skipping those that cannot be decoded."""
    frames = []
    with av.open(str(path), metadata_errors="replace") as container:
        stream = next(stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic)
        stream.thread_type, stream.codec_context.thread_count = "NONE", 1
        for packet in container.demux(stream):
            with suppress(av.error.InvalidDataError):
                frames += stream.codec_context.decode(packet if packet.size else None)
    return frames


def sequential_frames(path: Path) -> list[np.ndarray]:
    """Return all frames, decoded sequentially, as uint8 [H, W, 3] each."""
    return [frame.to_ndarray(format="rgb24") for frame in decode_all(path)]
