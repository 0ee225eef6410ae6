"""Kinds of videos that a reader must handle, by name, and how to make them: intact, unusual, corrupt, not a video."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from tests.videos import add_cover, add_sound, encode_video, mux_cover, mux_silence, remux

N = 38
MPEG4: dict[str, Any] = {"codec": "mpeg4", "options": {"bf": "2", "g": "12"}}
VP9 = {"deadline": "realtime", "cpu-used": "8", "g": "20", "auto-alt-ref": "1", "lag-in-frames": "16"}
X265 = "log-level=none:keyint=16:bframes=3:b-adapt=0:open-gop=1:b-pyramid=1:temporal-layers=3:pools=none"


def x264(**options: str) -> dict[str, Any]:
    return {"options": {"preset": "ultrafast", "threads": "1", "g": "12", **options}}


def cut_from_key(folder: Path) -> Path:
    """Cut without re-encoding, like `ffmpeg -ss ... -c copy`: an edit list hides frames needed only for decoding."""
    return remux(encode_video(folder / "whole.mp4", N + 14), folder / "cut.mp4", shift=-512 * 14)


def cut_within_first_group(folder: Path) -> Path:
    return remux(encode_video(folder / "whole.mp4", N + 5), folder / "trimmed.mp4", shift=-512 * 5)


def cut_within_group(folder: Path) -> Path:
    return remux(encode_video(folder / "whole.ts", N), folder / "cut.ts", drop=5)


def joined_broadcasts(folder: Path) -> Path:
    """Join two videos whose time stamps start at the same value."""
    return joined(folder, (range(N // 2), range(N // 2)))


def joined_backwards(folder: Path) -> Path:
    """Join two videos; the time stamps of the first are much later than those of the second."""
    return joined(folder, (range(1000, 1000 + N // 2), range(N // 2)))


def joined_interleaved(folder: Path) -> Path:
    """Join two videos whose time stamps interleave."""
    return joined(folder, (range(0, N, 2), range(5, 5 + N, 2)))


def joined(folder: Path, pts_of_halves: tuple[range, range]) -> Path:
    halves = [encode_video(folder / f"{i}.ts", N // 2, pts=pts) for i, pts in enumerate(pts_of_halves)]
    (folder / "joined.ts").write_bytes(b"".join(half.read_bytes() for half in halves))
    return folder / "joined.ts"


def cut_off(suffix: str, **options: Any) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        content = encode_video(folder / f"whole{suffix}", N, **options).read_bytes()
        (folder / f"cut{suffix}").write_bytes(content[: int(len(content) * 0.6)])
        return folder / f"cut{suffix}"

    return make


def encoded(name: str, **options: Any) -> Callable[[Path], Path]:
    return lambda folder: encode_video(folder / name, N, **options)


VIDEOS: dict[str, Callable[[Path], Path]] = {
    "B-frames": encoded("a.mp4"),
    "no B-frames": encoded("a.mp4", **x264(bf="0")),
    "one key frame": encoded("a.mp4", **x264(g="1000", bf="3")),
    "open groups": encoded("a.mp4", **x264(bf="3", **{"b-adapt": "0", "x264-params": "open-gop=1:b-pyramid=strict"})),
    "intra refresh": encoded("a.mp4", **x264(**{"intra-refresh": "1"})),
    "interlaced": encoded("a.mp4", **x264(bf="2", **{"x264-params": "tff=1"})),
    "variable rate": encoded("a.mp4", pts=np.cumsum(np.arange(N) % 5 + 1).tolist()),
    "29.97 a second": encoded("a.mp4", rate=Fraction(30000, 1001)),
    "late start": encoded("a.mkv", pts=range(125, 125 + N)),
    "fragments": encoded("a.mp4", container_options={"movflags": "frag_keyframe+empty_moov"}),
    "edit list": cut_from_key,
    "edit list within a group": cut_within_first_group,
    "sound": encoded("a.mp4", with_sound=True),
    "sound in mkv": encoded("a.mkv", with_sound=True),
    "cover picture": encoded("a.mp4", cover=True),
    "mkv": encoded("a.mkv"),
    "flv": encoded("a.flv"),
    "avi, mpeg4": encoded("a.avi", **MPEG4),
    "avi, short groups": encoded("a.avi", codec="mpeg4", options={"bf": "2", "g": "3"}),
    "avi, h264": encoded("a.avi"),
    "mp4, mpeg4": encoded("a.mp4", **MPEG4),
    "motion jpeg": encoded("a.avi", codec="mjpeg", pix_fmt="yuvj420p", options={}),
    "transport stream": encoded("a.ts"),
    "within a group": cut_within_group,
    "joined": joined_broadcasts,
    "joined backwards": joined_backwards,
    "joined interleaved": joined_interleaved,
    "program stream": encoded("a.mpg", codec="mpeg2video", options={"bf": "2", "g": "12"}),
    "bare h264": encoded("a.h264"),
    "vp9": encoded("a.webm", codec="libvpx-vp9", options=VP9),
    "vp8": encoded("a.webm", codec="libvpx", options=VP9),
    "hevc": encoded("a.mp4", codec="libx265", options={"preset": "ultrafast", "x265-params": X265}),
    "lossless rgb": encoded("a.mkv", codec="libx264rgb", pix_fmt="rgb24", **x264(qp="0")),
    "wmv": encoded("a.wmv", codec="wmv2", options={"g": "12"}),
    "cut off mkv": cut_off(".mkv"),
    "cut off mp4": cut_off(".mp4", container_options={"movflags": "faststart"}),
    "cut off fragments": cut_off(".mp4", container_options={"movflags": "frag_keyframe+empty_moov"}),
    "cut off ts": cut_off(".ts"),
}


WHOLE = [name for name in VIDEOS if not name.startswith(("cut off", "edit", "joined", "within"))]


def sound_only(folder: Path) -> Path:
    with av.open(str(folder / "a.m4a"), "w") as container:
        mux_silence(container, add_sound(container), seconds=0.5)
    return folder / "a.m4a"


def cover_only(folder: Path) -> Path:
    with av.open(str(folder / "a.m4a"), "w", format="mp4") as container:
        picture, sound = add_cover(container), add_sound(container)
        mux_cover(container, picture)
        mux_silence(container, sound, seconds=0.5)
    return folder / "a.m4a"


def content(data: bytes) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / "a.mp4").write_bytes(data)
        return folder / "a.mp4"

    return make


def first_frame_damaged(folder: Path) -> Path:
    path = encode_video(folder / "a.mp4", 5, **x264(bf="0"))
    with av.open(str(path)) as container:
        packet = next(iter(container.demux(video=0)))
        start, size = packet.pos, packet.size
        assert start is not None
    data = path.read_bytes()
    path.write_bytes(data[:start] + b"\0" * size + data[start + size :])
    return path


INVALID = "Invalid data found when processing input"
BAD_VIDEOS: dict[str, tuple[Callable[[Path], Path], str]] = {
    "missing": (lambda folder: folder / "none.mp4", "No such file or directory"),
    "folder": (lambda folder: folder, "Is a directory"),
    "empty": (content(b""), "the file is empty"),
    "text": (content(b"this is no video\n" * 100), INVALID),
    "noise": (content(np.random.default_rng(0).bytes(5000)), INVALID),
    "cut off before its index": (cut_off(".mp4"), INVALID),
    "sound only": (sound_only, "it holds no video stream"),
    "cover only": (cover_only, "it holds only a cover picture"),
    "damaged": (first_frame_damaged, f"1 packet cannot be decoded ({INVALID})"),
}


def make_video(kind: str, folder: Path) -> Path:
    """Make a video of VIDEOS, or skip the test if FFmpeg lacks the encoder."""
    try:
        return VIDEOS[kind](folder)
    except av.codec.codec.UnknownCodecError as error:
        pytest.skip(f"this FFmpeg has no such encoder: {error}")
