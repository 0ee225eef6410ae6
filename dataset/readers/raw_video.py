"""Frames of encoded videos by number: exact for any codec and container, and no frame decoded that need not be."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import av.error
import numpy as np
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter

from dataset.listing import VideoRecord
from dataset.readers.caching import BoundedCache
from dataset.readers.errors import FewerFramesError
from dataset.readers.frame_reader import FrameReader, Put
from dataset.readers.video_file import VideoFile, naming, unreadable
from dataset.readers.video_index import FrameIndex, Run, build_index, plan_runs, rebuild_index

# A frame that no other refers to can be left out without touching any other, and these codecs mark such frames. HEVC
# marks them within a temporal layer only, so others may still refer to them.
_SKIPPABLE_CODECS = frozenset({"h264", "mpeg4"})

# What a video takes in the cache beside its time stamps (name, objects), in numbers of 8 bytes; measured.
_INDEX_OVERHEAD = 80


class RawVideoReader(FrameReader):
    """Reads frames out of the video files below a root.

    Frame i is the i-th frame, in presentation order, that decoding the whole file gives; frames cut away by an edit
    list do not count. Colours are swscale's rgb24 (as OpenCV's). A rotation by quarter turns in the file's metadata is
    applied, as players, ffmpeg and OpenCV do; mirroring and the pixels' aspect ratio are not. If the resolution changes
    within a file, the frames of a call are scaled to the size of the first of them.

    One reader serves one thread. Time stamps of the videos read last are kept, so that a file is scanned once.
    """

    def __init__(self, root_path: str | Path, *, index_cache_size: int = 1 << 22) -> None:
        """Make a reader; nothing is opened yet.

        Args:
            root_path: folder that the paths of records are relative to.
            index_cache_size: memory for the time stamps that are kept, in numbers of 8 bytes.
        """
        self._root = Path(root_path)
        self._index_cache_size = index_cache_size
        self._indices: BoundedCache[FrameIndex] = BoundedCache(index_cache_size, weigh=_weigh_index)
        self._reformatter = VideoReformatter()

    def __reduce__(self) -> tuple:
        return _make_reader, (self._root, self._index_cache_size)

    def close(self) -> None:
        """Forget all time stamps; no file is open between calls."""
        self._indices.clear()

    def decode(self, record: VideoRecord, numbers: Sequence[int], put: Put) -> None:
        """See FrameReader.

        Raises:
            FewerFramesError: a frame beyond the end of the file.
            ReadError: the file cannot be read or decoded.
        """
        with VideoFile(self._root / record.path) as video, naming(video.path):
            self._decode(video, numbers, put)

    def _decode(self, video: VideoFile, wanted: Sequence[int], put: Put) -> None:
        for misled in (False, True):
            # A second time around, frames are missing or hold two fields each, which may have come in two packets.
            index = self._index(video, misled=misled)
            if wanted[-1] >= index.num_frames:
                cause = f" ({index.damage} after that)" if index.damage else ""
                message = f"{video.path}: frame {wanted[-1]} (from 0) is wanted, there are {index.num_frames}{cause}"
                raise FewerFramesError(message, index.num_frames)
            canvas = _Canvas(wanted, self._reformatter, put)
            if index.pts is None:
                _decode_by_count(video, canvas)
            else:
                for run in plan_runs(index, wanted):
                    _decode_run(video, index, run, canvas)
            if not canvas.missing and (index.is_decoded or not canvas.is_interlaced):
                return
        raise unreadable(video.path, f"frame {min(canvas.missing)} of {index.num_frames} does not come out of decoding")

    def _index(self, video: VideoFile, *, misled: bool) -> FrameIndex:
        """The index of a file: kept, new, or, since that one may be wrong, made again by decoding."""
        key = (str(video.path), *video.version)  # a Path takes several times the memory of its name
        index = None if misled else self._indices.get(key)
        if index is None:
            index = rebuild_index(video) if misled else build_index(video)
            self._indices.put(key, index)
        return index


def _weigh_index(index: FrameIndex) -> int:
    """Memory of an index and its place in the cache, in numbers of 8 bytes: a key frame is a Python integer."""
    return index.num_frames + 5 * len(index.keys) + _INDEX_OVERHEAD


def _make_reader(root_path: Path, index_cache_size: int) -> RawVideoReader:
    return RawVideoReader(root_path, index_cache_size=index_cache_size)


class _Canvas:
    """The wanted frames of one call: handed on as they come out of the decoder, upright and of one size."""

    def __init__(self, wanted: Sequence[int], reformatter: VideoReformatter, put: Put) -> None:
        self.missing = set(wanted)
        self._places = {number: place for place, number in enumerate(wanted)}
        self._reformatter = reformatter
        self._put = put
        self._size: tuple[int, int] | None = None
        self._quarter_turns = 0
        self.is_interlaced = False

    def put(self, number: int, frame: VideoFrame) -> None:
        """Take a decoded frame, unless that number is not wanted or has come already."""
        if number not in self.missing:
            return
        if self._size is None:
            self._size = frame.height, frame.width
            self._quarter_turns = round(frame.rotation / 90) % 4
        height, width = self._size
        rgb = self._reformatter.reformat(frame, width=width, height=height, format="rgb24", threads=1)
        plane = rgb.planes[0]
        rows = np.frombuffer(memoryview(plane), dtype=np.uint8).reshape(height, plane.line_size)
        pixels = rows[:, : 3 * width].reshape(height, width, 3)
        self._put(self._places[number], np.rot90(pixels, self._quarter_turns) if self._quarter_turns else pixels)
        self.is_interlaced |= frame.interlaced_frame
        self.missing.remove(number)


def _decode_run(video: VideoFile, index: FrameIndex, run: Run, canvas: _Canvas) -> None:
    """Put the frames of a run on the canvas, going further back in the file for as long as one does not come.

    An intra-refresh key frame, for one, shows nothing until the picture is whole again some frames later.

    Raises:
        av.error.FFmpegError: decoding fails, even from the start.
    """
    assert index.pts is not None
    number_of = {int(index.pts[number]): number for number in run.frames}
    failure: av.error.FFmpegError | None = None
    for packets in _starts(video, index, run):
        try:
            for frame in _walk(video, packets, set(number_of)):
                if frame.pts in number_of:
                    canvas.put(number_of[frame.pts], frame)
        except av.error.InvalidDataError as error:
            failure = error
            continue
        if canvas.missing.isdisjoint(run.frames):
            return
        failure = None
    if failure is not None:
        raise failure


def _starts(video: VideoFile, index: FrameIndex, run: Run) -> Iterator[Iterator[Packet]]:
    for key in run.starts:
        packets = video.packets_from_key(key, latest=run.starts[0], known_keys=index.keys)
        if packets is not None:
            yield packets
    yield video.packets_from_start()


def _walk(video: VideoFile, packets: Iterator[Packet], wanted: set[int]) -> Iterator[VideoFrame]:
    """Decode up to the last wanted packet, leave out frames that nobody needs, and drain the decoder."""
    skippable = video.codec_name in _SKIPPABLE_CODECS
    to_come = set(wanted)
    for packet in packets:
        video.decoder.skip_frame = "NONREF" if skippable and packet.pts not in to_come else "DEFAULT"
        yield from video.decoder.decode(packet)
        to_come.discard(packet.pts)
        if not to_come:
            break
    yield from video.drain()


def _decode_by_count(video: VideoFile, canvas: _Canvas) -> None:
    """Decode from the start and count, up to the last wanted frame."""
    last = max(canvas.missing)
    for number, frame in enumerate(video.frames_from_start()):
        canvas.put(number, frame)
        if number == last:
            return
