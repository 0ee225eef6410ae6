"""Segments of long videos: lines whose path ends in `#skip=N`, for every format."""

from collections.abc import Sequence
from dataclasses import replace

from dataset.listing import VideoRecord, split_segment
from dataset.readers.errors import FewerFramesError, ReadError
from dataset.readers.frame_reader import FrameReader, Put


class SegmentReader(FrameReader):
    """Reads segments through the reader of whole videos: frame i of a segment is frame skip + i of its video."""

    def __init__(self, inside: FrameReader) -> None:
        self._inside = inside

    def close(self) -> None:
        """Close the reader inside."""
        self._inside.close()

    def decode(self, record: VideoRecord, numbers: Sequence[int], put: Put) -> None:
        """See FrameReader.

        Raises:
            FewerFramesError: a frame beyond the end of the video; its count is that of the segment.
            ReadError: the video cannot be read, or ends before the segment begins.
        """
        path, skipped = split_segment(record.path)
        if path == record.path:
            return self._inside.decode(record, numbers, put)
        whole = replace(record, path=path, num_frames=skipped + record.num_frames)
        try:
            self._inside.decode(whole, [skipped + number for number in numbers], put)
        except FewerFramesError as error:
            remaining = error.num_frames - skipped
            if remaining <= 0:
                message = f"{record.path}: the video has {error.num_frames} frames, so nothing is left of the segment"
                raise ReadError(message) from None
            raise FewerFramesError(str(error), remaining) from None
