"""The reader of video files: frame-accurate for every codec and container, decoding as few frames as possible."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from dataset.listing import VideoRecord
from dataset.readers.caching import BoundedCache
from dataset.readers.errors import MAX_PIXELS, FewerFramesError, ReadError
from dataset.readers.frame_reader import FrameReader, FrameStack, Put
from dataset.readers.video_file import (
    VideoFile,
    damaged_frame,
    file_version,
    quarter_turns,
    translate_errors,
    unreadable,
)
from dataset.readers.video_index import FrameIndex, Run, build_index, plan_runs, rebuild_index

# Decoding may skip frames that are no reference for others, and these codecs mark such frames reliably. HEVC marks them
# within a temporal layer only, so frames of other layers may still refer to them.
_SKIPPABLE_CODECS = frozenset({"h264", "mpeg4"})

# Memory of a cached index besides its time stamps (name, objects), in units of 8 bytes; measured.
_INDEX_OVERHEAD = 80


class RawVideoReader(FrameReader):
    """Reads frames of video files.

    Frame i is the i-th frame, in presentation order, of a full decode of the file; frames removed by an edit list do
    not count. Colors are swscale's rgb24, like OpenCV's. A rotation by quarter turns in the metadata is applied, as
    players, ffmpeg and OpenCV do; mirroring and the pixel aspect ratio are ignored. If the resolution changes within a
    file, the frames of a call are scaled to the size of the first one decoded.

    A frame that the decoder marks as corrupt, or that depends on such a frame, is never returned: decoding is retried
    from an earlier key frame and finally from the start of the file, and a frame that is damaged even then raises a
    ReadError. The frames of undecodable packets are lost and do not count; `take_notes` reports them. The decoders of
    HEVC, VP8, VP9 and motion JPEG mark few corrupt frames, so most damage within their frames goes unnoticed.

    Not thread-safe. The indices of recently read videos are cached, so that a file is scanned once.
    """

    def __init__(self, root_path: str | Path, *, max_pixels: int = MAX_PIXELS, index_cache_size: int = 1 << 22) -> None:
        """Create a reader without opening any file.

        Args:
            root_path: Root of relative list paths.
            max_pixels: Largest number of pixels of a frame.
            index_cache_size: Memory for cached indices, in units of 8 bytes.
        """
        self._root = Path(root_path)
        self._max_pixels = max_pixels
        self._index_cache_size = index_cache_size
        self._indices: BoundedCache[FrameIndex] = BoundedCache(index_cache_size, weigh=_weigh_index)
        self._reformatter = VideoReformatter()
        self._notes: tuple[str, ...] = ()

    def __reduce__(self) -> tuple:
        """Pickle the constructor arguments only."""
        options = {"max_pixels": self._max_pixels, "index_cache_size": self._index_cache_size}
        return partial(RawVideoReader, self._root, **options), ()

    def take_notes(self) -> tuple[str, ...]:
        """See FrameReader."""
        notes, self._notes = self._notes, ()
        return notes

    def decode(self, record: VideoRecord, numbers: Sequence[int], put: Put) -> None:
        """See FrameReader; a damaged frame raises a ReadError."""
        path = self._root / record.path
        index = self._indices.get(_key(path, file_version(path)))
        depth = index.reorder_depth if index else None
        with VideoFile(path, max_pixels=self._max_pixels, reorder_depth=depth) as video, translate_errors(path):
            self._decode(video, numbers, put)

    def verify(self, record: VideoRecord, numbers: Sequence[int]) -> None:
        """See FrameReader; the sequential pass must find no damage from the first to the last of the frames."""
        stack = FrameStack(len(numbers))
        self.decode(record, numbers, stack.put)
        passed = FrameStack(len(numbers))
        with VideoFile(self._root / record.path, max_pixels=self._max_pixels) as video, translate_errors(video.path):
            sink = _FrameSink(numbers, self._reformatter, passed.put)
            damaged = [n for n in _decode_by_count(video, sink) if n >= numbers[0]]
            lost = f" ({video.damage})" if video.damage else ""
        if damaged:
            text = f"frames damaged or dependent on damaged ones: {len(damaged)}, first frame {damaged[0]} (from 0)"
            raise unreadable(video.path, text)
        if sink.missing:
            text = f"frame {min(sink.missing)} (from 0) is not decoded in a pass from the start{lost}"
            raise unreadable(video.path, text)
        for number, frame, expected in zip(numbers, stack.frames, passed.frames, strict=True):
            if not np.array_equal(frame, expected):
                raise unreadable(video.path, f"frame {number} (from 0) differs from that of a pass from the start")

    def times(self, record: VideoRecord) -> NDArray[np.float64]:
        """See FrameReader; uses the container's time stamps or, without any, its frame rate."""
        path = self._root / record.path
        index = self._indices.get(_key(path, file_version(path)))
        if index is None:
            with VideoFile(path, max_pixels=self._max_pixels) as video, translate_errors(path):
                index = build_index(video)
                self._indices.put(_key(path, video.version), index)
        if record.num_frames > index.num_frames:
            message = f"{path}: {record.num_frames} frames are wanted, there are {index.num_frames}"
            raise FewerFramesError(message, index.num_frames)
        try:
            return index.times()[: record.num_frames + 1]
        except ReadError as error:
            raise unreadable(path, str(error)) from None

    def _decode(self, video: VideoFile, wanted: Sequence[int], put: Put) -> None:
        key = _key(video.path, video.version)
        index = self._indices.get(key) or build_index(video)
        while True:
            self._indices.put(key, index)
            _require_whole(video, index, wanted)
            sink = _FrameSink(wanted, self._reformatter, put)
            if index.pts is None:
                _decode_by_count(video, sink)
            elif False in [_decode_run(video, index, run, sink) for run in plan_runs(index, wanted)]:
                self._indices.put(key, replace(index, keys=index.keys[:1]))  # only decoding from the start works
            if not sink.missing and (index.is_decoded or not sink.is_doubtful):
                self._notes += (f"{video.path}: {index.damage}",) if index.damage else ()
                return
            if index.is_decoded:
                break
            # The index by packets is wrong: frames are missing, earlier ones were lost, or frames came as two fields.
            index = rebuild_index(video)
        number, damage = min(sink.missing), f" ({video.damage})" if video.damage else ""
        raise unreadable(video.path, f"frame {number} of {index.num_frames} cannot be decoded{damage}")


def _require_whole(video: VideoFile, index: FrameIndex, wanted: Sequence[int]) -> None:
    """Require that the wanted frames exist and are not known to be damaged.

    Raises:
        FewerFramesError: A frame is beyond the end.
        ReadError: A frame is damaged.
    """
    if wanted[-1] >= index.num_frames:
        cause = f" ({index.damage})" if index.damage else ""
        message = f"{video.path}: frame {wanted[-1]} (from 0) is wanted, there are {index.num_frames}{cause}"
        raise FewerFramesError(message, index.num_frames)
    if damaged := index.unsound.intersection(wanted):
        raise damaged_frame(video.path, min(damaged))


def _key(path: Path, version: tuple[int, int]) -> tuple[str, int, int]:
    """Return the cache key of an index; with a string, as a Path takes several times its memory."""
    return (str(path), *version)


def _weigh_index(index: FrameIndex) -> int:
    """Return the memory of a cached index in units of 8 bytes; a key frame is a Python integer and counts as five."""
    return index.num_frames + 5 * (len(index.keys) + len(index.unsound)) + _INDEX_OVERHEAD


class _FrameSink:
    """The wanted frames of one call: converts each decoded frame to upright RGB of one size and passes it on.

    Attributes:
        missing: Indices of the wanted frames that are not decoded yet.
        is_doubtful: Packets may not have been one frame each (some were lost, or frames are interlaced), so frame
            indices derived from packets may be wrong.
    """

    def __init__(self, wanted: Sequence[int], reformatter: VideoReformatter, put: Put) -> None:
        self.missing = set(wanted)
        self._places = {number: place for place, number in enumerate(wanted)}
        self._reformatter = reformatter
        self._put = put
        self._size: tuple[int, int] | None = None
        self._quarter_turns = 0
        self.is_doubtful = False

    def put(self, number: int, frame: VideoFrame) -> None:
        """Pass on a decoded frame if it is wanted and still missing."""
        if number not in self.missing:
            return
        if self._size is None:
            self._size = frame.height, frame.width
            self._quarter_turns = quarter_turns(frame)
        height, width = self._size
        rgb = self._reformatter.reformat(frame, width=width, height=height, format="rgb24", threads=1)
        plane = rgb.planes[0]
        rows = np.frombuffer(memoryview(plane), dtype=np.uint8).reshape(height, plane.line_size)
        pixels = rows[:, : 3 * width].reshape(height, width, 3)
        self._put(self._places[number], np.rot90(pixels, self._quarter_turns) if self._quarter_turns else pixels)
        self.is_doubtful |= frame.interlaced_frame
        self.missing.remove(number)


def _decode_run(video: VideoFile, index: FrameIndex, run: Run, sink: _FrameSink) -> bool:
    """Decode the frames of a run, starting from earlier key frames while one of them is missing or damaged.

    With intra refresh, for example, the frames right after a key frame are incomplete until all of the image is
    refreshed.

    Returns:
        Whether decoding could start from a key frame before them; False if only the start of the file worked.
    """
    assert index.pts is not None
    number_of = {int(index.pts[number]): number for number in run.frames}
    for key, packets in _starts(video, index, run):
        for frame, is_sound in video.judged(_walk(video, packets, set(number_of))):
            if key is not None and frame.pts == key and not frame.key_frame:
                break  # not a key frame, whatever the container says: later frames depend on undecoded ones
            if is_sound and frame.pts in number_of:
                sink.put(number_of[frame.pts], frame)
        sink.is_doubtful |= video.num_lost > 0
        if sink.missing.isdisjoint(run.frames):
            return key is not None or run.starts[0] == index.keys[0]
    return True


def _starts(video: VideoFile, index: FrameIndex, run: Run) -> Iterator[tuple[int | None, Iterator[Packet]]]:
    """Yield packets to decode and the time stamp of the key frame that they begin with, None at the file's start."""
    for aim in run.starts:
        packets = video.packets_from_key(aim, latest=run.starts[0], known_keys=index.keys)
        if packets is not None:
            key = next(packets)
            yield key.pts, itertools.chain([key], packets)
    yield None, video.packets_from_start()


def _walk(video: VideoFile, packets: Iterator[Packet], wanted: set[int]) -> Iterator[VideoFrame]:
    """Decode up to the last wanted packet, skipping unwanted non-reference frames, and drain the decoder."""
    skippable = video.codec_name in _SKIPPABLE_CODECS
    to_come = set(wanted)
    for packet in packets:
        video.decoder.skip_frame = "NONREF" if skippable and packet.pts not in to_come else "DEFAULT"
        yield from video.decode(packet)
        to_come.discard(packet.pts)
        if not to_come:
            break
    yield from video.drain()


def _decode_by_count(video: VideoFile, sink: _FrameSink) -> list[int]:
    """Decode from the start up to the last wanted frame; return the indices of all damaged frames in between."""
    last = max(sink.missing)
    damaged = []
    for number, (frame, is_sound) in enumerate(video.frames_from_start()):
        if is_sound:
            sink.put(number, frame)
        else:
            damaged.append(number)
        if number == last:
            break
    return damaged
