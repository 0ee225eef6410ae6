"""The frame index of a video file: time stamps in presentation order, and the key frames where decoding can start.

Frame i of a video is the i-th frame of a full decode. Neither i / rate nor the order of packets locates it (variable
frame rates, B frames, edit lists), but one pass over the packets without decoding does if every packet becomes one
frame with its time stamp. Where that is not certain, the file is decoded once instead.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from dataset.readers.errors import ReadError
from dataset.readers.video_file import VideoFile, unreadable

# In these codecs every packet is one frame, and these containers store presentation times. Elsewhere packets may show
# nothing (MPEG-4's not coded frames, VP8's alternate references), or FFmpeg makes up the times (AVI).
_PLAIN_FORMATS = frozenset({"mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "mpegts", "flv"})
_PLAIN_CODECS = frozenset({"h264", "hevc", "vp9", "av1"})

# A checked seek costs about as much as decoding this many small frames.
FRAMES_WORTH_A_SEEK = 2


@dataclass(frozen=True, slots=True)
class FrameIndex:
    """The frames of one file.

    Attributes:
        num_frames: Number of frames of a full decode, without damaged frames at the end.
        pts: Presentation time stamps, strictly increasing int64 [num_frames]; None where they do not identify frames,
            so that a frame is only found by counting from the start.
        keys: Time stamps of the key frames, increasing; the first is not after the first frame.
        is_decoded: Whether the index comes from a full decode, not from packets alone.
        unsound: Indices of frames that are damaged or depend on damaged ones; known only after a full decode.
        damage: What cannot be decoded; empty for an undamaged file.
        time_base: Seconds per unit of the time stamps; None if the container gives none.
        frame_rate: Average frame rate, frames per second; None if unknown.
        reorder_depth: Argument of VideoFile to open the file again without probing; None if it must be probed.
    """

    num_frames: int
    pts: np.ndarray | None
    keys: tuple[int, ...]
    is_decoded: bool = False
    unsound: frozenset[int] = frozenset()
    damage: str = ""
    time_base: Fraction | None = None
    frame_rate: Fraction | None = None
    reorder_depth: int | None = None

    def times(self) -> NDArray[np.float64]:
        """Return the start of every frame and the end of the last, seconds from the first, float64 [num_frames + 1].

        The last frame lasts the median duration of the others.

        Raises:
            ReadError: The file has neither time stamps nor a frame rate.
        """
        if self.pts is not None and self.time_base is not None:
            begins = (self.pts - self.pts[0]) * float(self.time_base)
            return np.append(begins, begins[-1] + (np.median(np.diff(begins)) if len(begins) > 1 else 0.0))
        if self.frame_rate is not None:
            return np.arange(self.num_frames + 1) / float(self.frame_rate)
        raise ReadError("it has neither time stamps nor a frame rate, so its frames have no times")


@dataclass(frozen=True, slots=True)
class Run:
    """Wanted frames that are decoded after one seek.

    Attributes:
        starts: Time stamps of key frames to start from, the nearest first, the others as fallbacks.
        frames: Indices of the wanted frames, increasing.
    """

    starts: tuple[int, ...]
    frames: tuple[int, ...]


@dataclass(slots=True)
class _Scan:
    """Result of one pass over the packets of a file."""

    shown: list[int | None] = field(default_factory=list)
    keys: list[int | None] = field(default_factory=list)
    num_packets: int = 0
    starts_with_key: bool = False
    damaged: bool = False
    in_order: bool = True


def build_index(video: VideoFile) -> FrameIndex:
    """Index a file by its packets where that is certain to be right, otherwise by a full decode.

    Raises:
        ReadError: No frame can be decoded.
    """
    scan = _scan(video)
    if _is_plain(video, scan):
        pts = np.sort(np.array(scan.shown, dtype=np.int64))
        keys = tuple(sorted(key for key in scan.keys if key is not None))
        rate, depth = video.frame_rate, video.reorder_depth
        return FrameIndex(len(pts), pts, keys, time_base=video.time_base, frame_rate=rate, reorder_depth=depth)
    return _decode_index(video, scan)


def rebuild_index(video: VideoFile) -> FrameIndex:
    """Index a file by a full decode, after its index by packets turned out wrong."""
    return _decode_index(video, _scan(video))


def _decode_index(video: VideoFile, scan: _Scan) -> FrameIndex:
    """Index a file by a full decode.

    Raises:
        ReadError: No frame can be decoded.
    """
    times: list[int | None] = []
    no_keys: set[int | None] = set()  # time stamps of other frames, which the container may still mark as key frames
    unsound: set[int] = set()
    interlaced = False
    for number, (frame, is_sound) in enumerate(video.frames_from_start()):
        times.append(frame.pts)
        interlaced |= frame.interlaced_frame
        if not frame.key_frame:
            no_keys.add(frame.pts)
        if not is_sound:
            unsound.add(number)
    while times and len(times) - 1 in unsound:
        unsound.remove(len(times) - 1)
        times.pop()
    if not times:
        raise unreadable(video.path, video.damage or "no frame of it can be decoded")
    keys = tuple(sorted({key for key in scan.keys[:1] + [k for k in scan.keys if k not in no_keys] if key is not None}))
    pts = _distinct_times(times, scan, keys=keys, interlaced=interlaced)
    return FrameIndex(len(times), pts, keys, True, frozenset(unsound), video.damage, video.time_base, video.frame_rate)


def plan_runs(index: FrameIndex, wanted: Sequence[int]) -> list[Run]:
    """Group wanted frames into runs; a new run starts where a seek to a key frame is cheaper than decoding on.

    Args:
        index: Index with time stamps (`pts` is not None).
        wanted: Frame indices, strictly increasing.
    """
    assert index.pts is not None
    key_of = np.searchsorted(index.keys, index.pts[list(wanted)], side="right") - 1
    first_shown = np.searchsorted(index.pts, index.keys)
    groups: list[tuple[int, list[int]]] = []
    for frame, key in zip(wanted, key_of.tolist(), strict=True):
        if groups and first_shown[key] - groups[-1][1][-1] - 1 <= FRAMES_WORTH_A_SEEK:
            groups[-1][1].append(frame)
        else:
            groups.append((key, [frame]))
    return [Run(index.keys[max(key - 1, 0) : key + 1][::-1], tuple(frames)) for key, frames in groups]


def _scan(video: VideoFile) -> _Scan:
    scan = _Scan()
    last_dts: int | None = None
    for packet in video.packets_from_start():
        if not scan.num_packets:
            scan.starts_with_key = packet.is_keyframe
        scan.num_packets += 1
        scan.damaged |= packet.is_corrupt
        if packet.dts is not None:
            scan.in_order &= last_dts is None or packet.dts >= last_dts
            last_dts = packet.dts
        if packet.is_keyframe:
            scan.keys.append(packet.pts)
        if not packet.is_discard:  # an edit list hides a discarded packet, though others may depend on it
            scan.shown.append(packet.pts)
        if video.codec_name in _PLAIN_CODECS:
            video.inspect(packet)
    scan.damaged |= bool(video.damage)
    return scan


def _is_plain(video: VideoFile, scan: _Scan) -> bool:
    """Return whether every shown packet certainly becomes one frame with the packet's time stamp."""
    if video.format_name not in _PLAIN_FORMATS or video.codec_name not in _PLAIN_CODECS or video.is_interlaced:
        return False
    if scan.damaged or not scan.in_order or not scan.starts_with_key or not scan.shown:
        return False
    if video.declared_frames not in (0, scan.num_packets):
        return False
    if None in scan.shown or None in scan.keys or len(set(scan.shown)) < len(scan.shown):
        return False
    first_key = scan.keys[0]
    return first_key is not None and all(pts is not None and pts >= first_key for pts in scan.shown)


def _distinct_times(
    times: list[int | None], scan: _Scan, *, keys: tuple[int, ...], interlaced: bool
) -> np.ndarray | None:
    """Return the time stamps of decoded frames as an array, or None if they do not identify the frames."""
    known = [time for time in times if time is not None]
    shown = set(scan.shown)
    if len(known) < len(times) or len(shown) < len(scan.shown) or not shown.issuperset(known):
        return None
    if any(before >= after for before, after in itertools.pairwise(known)) or not keys or keys[0] > known[0]:
        return None
    if interlaced and len(known) < len(shown):
        return None  # the two fields of a frame may be separate packets, and one of them would be half the frame
    return np.array(known, dtype=np.int64)
