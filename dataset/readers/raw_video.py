"""Frames of encoded videos by number: exact for any codec and container, and no frame decoded that need not be."""

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
from dataset.readers.video_file import VideoFile, damaged_frame, file_version, naming, quarter_turns, unreadable
from dataset.readers.video_index import FrameIndex, Run, build_index, plan_runs, rebuild_index

# A frame that no other refers to can be left out without touching any other, and these codecs mark such frames. HEVC
# marks them within a temporal layer only, so others may still refer to them.
_SKIPPABLE_CODECS = frozenset({"h264", "mpeg4"})

# What a video takes in the cache beside its time stamps (name, objects), in numbers of 8 bytes; measured.
_INDEX_OVERHEAD = 80


class RawVideoReader(FrameReader):
    """Reads frames out of the video files below a root.

    Frame i is the i-th frame, in presentation order, that decoding the whole file gives; frames cut away by an edit
    list do not count. Colors are swscale's rgb24 (as OpenCV's). A rotation by quarter turns in the file's metadata is
    applied, as players, ffmpeg and OpenCV do; mirroring and the pixels' aspect ratio are not. If the resolution changes
    within a file, the frames of a call are scaled to the size of the first of them.

    A frame that the decoder marks as corrupt, or that rests on such a one, is never given: decoding starts again at an
    earlier key frame, at last at the start of the file, and what is damaged even then is a ReadError. Undecodable
    packets cost their own frames, which do not count; `take_notes` tells of them. The decoders of HEVC, VP8, VP9 and
    motion JPEG mark little: most damage within their pictures goes unseen.

    One reader serves one thread. Time stamps of the videos read last are kept, so that a file is scanned once.
    """

    def __init__(self, root_path: str | Path, *, max_pixels: int = MAX_PIXELS, index_cache_size: int = 1 << 22) -> None:
        """Make a reader; nothing is opened yet.

        Args:
            root_path: Folder that the paths of records are relative to.
            max_pixels: Pixels that a picture may have.
            index_cache_size: Memory for the time stamps that are kept, in numbers of 8 bytes.
        """
        self._root = Path(root_path)
        self._max_pixels = max_pixels
        self._index_cache_size = index_cache_size
        self._indices: BoundedCache[FrameIndex] = BoundedCache(index_cache_size, weigh=_weigh_index)
        self._reformatter = VideoReformatter()
        self._notes: tuple[str, ...] = ()

    def __reduce__(self) -> tuple:
        """Pickle the arguments alone."""
        options = {"max_pixels": self._max_pixels, "index_cache_size": self._index_cache_size}
        return partial(RawVideoReader, self._root, **options), ()

    def take_notes(self) -> tuple[str, ...]:
        """See FrameReader."""
        notes, self._notes = self._notes, ()
        return notes

    def decode(self, record: VideoRecord, numbers: Sequence[int], put: Put) -> None:
        """See FrameReader; a damaged frame is a ReadError."""
        path = self._root / record.path
        index = self._indices.get(_key(path, file_version(path)))
        depth = index.reorder_depth if index else None
        with VideoFile(path, max_pixels=self._max_pixels, reorder_depth=depth) as video, naming(path):
            self._decode(video, numbers, put)

    def verify(self, record: VideoRecord, numbers: Sequence[int]) -> None:
        """See FrameReader: all from the first to the last of the frames is decoded, in a pass from the file's start."""
        stack = FrameStack(len(numbers))
        self.decode(record, numbers, stack.put)
        passed = FrameStack(len(numbers))
        with VideoFile(self._root / record.path, max_pixels=self._max_pixels) as video, naming(video.path):
            canvas = _Canvas(numbers, self._reformatter, passed.put)
            damaged = [n for n in _decode_by_count(video, canvas) if n >= numbers[0]]
            lost = f" ({video.damage})" if video.damage else ""
        if damaged:
            text = f"{len(damaged)} frames are damaged, or rest on damaged ones, from frame {damaged[0]} (from 0) on"
            raise unreadable(video.path, text)
        if canvas.missing:
            text = f"frame {min(canvas.missing)} (from 0) does not come in a pass from the start{lost}"
            raise unreadable(video.path, text)
        for number, frame, expected in zip(numbers, stack.frames, passed.frames, strict=True):
            if not np.array_equal(frame, expected):
                raise unreadable(video.path, f"frame {number} (from 0) is not what a pass from the start shows there")

    def times(self, record: VideoRecord) -> NDArray[np.float64]:
        """See FrameReader: by time stamps where the container has them, else by the rate it says."""
        path = self._root / record.path
        index = self._indices.get(_key(path, file_version(path)))
        if index is None:
            with VideoFile(path, max_pixels=self._max_pixels) as video, naming(path):
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
            canvas = _Canvas(wanted, self._reformatter, put)
            if index.pts is None:
                _decode_by_count(video, canvas)
            elif False in [_decode_run(video, index, run, canvas) for run in plan_runs(index, wanted)]:
                self._indices.put(key, replace(index, keys=index.keys[:1]))  # the only place to start from
            if not canvas.missing and (index.is_decoded or not canvas.is_doubtful):
                self._notes += (f"{video.path}: {index.damage}",) if index.damage else ()
                return
            if index.is_decoded:
                break
            # The packets have misled: frames do not come, others are lost before them, or each came as two fields.
            index = rebuild_index(video)
        number, damage = min(canvas.missing), f" ({video.damage})" if video.damage else ""
        raise unreadable(video.path, f"frame {number} of {index.num_frames} does not come out of decoding{damage}")


def _require_whole(video: VideoFile, index: FrameIndex, wanted: Sequence[int]) -> None:
    """Refuse frames that are not there, or are known to be damaged.

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
    """Return what an index is kept under: a Path takes several times the memory of its name."""
    return (str(path), *version)


def _weigh_index(index: FrameIndex) -> int:
    """Return the memory of an index and its place in the cache, in 8 bytes each: a key frame is a Python integer."""
    return index.num_frames + 5 * (len(index.keys) + len(index.unsound)) + _INDEX_OVERHEAD


class _Canvas:
    """The wanted frames of one call: handed on as they come out of the decoder, upright and of one size.

    Attributes:
        missing: Numbers of those that have not come.
        is_doubtful: The packets before them may not be one frame each: some are lost, or there are fields.
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
        """Take a decoded frame, unless that number is not wanted or has come already."""
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


def _decode_run(video: VideoFile, index: FrameIndex, run: Run, canvas: _Canvas) -> bool:
    """Put the frames of a run on the canvas, going further back in the file while one does not come or is not sound.

    An intra-refresh key frame, for one, shows nothing until the picture is whole again some frames later.

    Returns:
        Whether a key frame before them was a place to start from, and not only the start of the file.
    """
    assert index.pts is not None
    number_of = {int(index.pts[number]): number for number in run.frames}
    for key, packets in _starts(video, index, run):
        for frame, is_sound in video.judged(_walk(video, packets, set(number_of))):
            if key is not None and frame.pts == key and not frame.key_frame:
                break  # the container lies: all from here on rests on what was not decoded
            if is_sound and frame.pts in number_of:
                canvas.put(number_of[frame.pts], frame)
        canvas.is_doubtful |= video.num_lost > 0
        if canvas.missing.isdisjoint(run.frames):
            return key is not None or run.starts[0] == index.keys[0]
    return True


def _starts(video: VideoFile, index: FrameIndex, run: Run) -> Iterator[tuple[int | None, Iterator[Packet]]]:
    """Give packets to decode, with the time stamp of the key frame that they begin with, None at the file's start."""
    for aim in run.starts:
        packets = video.packets_from_key(aim, latest=run.starts[0], known_keys=index.keys)
        if packets is not None:
            key = next(packets)
            yield key.pts, itertools.chain([key], packets)
    yield None, video.packets_from_start()


def _walk(video: VideoFile, packets: Iterator[Packet], wanted: set[int]) -> Iterator[VideoFrame]:
    """Decode up to the last wanted packet, leave out frames that nobody needs, and drain the decoder."""
    skippable = video.codec_name in _SKIPPABLE_CODECS
    to_come = set(wanted)
    for packet in packets:
        video.decoder.skip_frame = "NONREF" if skippable and packet.pts not in to_come else "DEFAULT"
        yield from video.decode(packet)
        to_come.discard(packet.pts)
        if not to_come:
            break
    yield from video.drain()


def _decode_by_count(video: VideoFile, canvas: _Canvas) -> list[int]:
    """Decode from the start and count, up to the last wanted frame; return the numbers of damaged ones on the way."""
    last = max(canvas.missing)
    damaged = []
    for number, (frame, is_sound) in enumerate(video.frames_from_start()):
        if is_sound:
            canvas.put(number, frame)
        else:
            damaged.append(number)
        if number == last:
            break
    return damaged
