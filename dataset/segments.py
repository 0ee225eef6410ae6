"""Segments of long videos: lines whose path ends in `#skip=N`, for every format."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from dataset.listing import VideoRecord, split_segment
from dataset.read_errors import FewerFramesError, ReadError

if TYPE_CHECKING:
    from dataset.readers import Reader


class SegmentReader:
    """Reads segments through the reader of whole videos: frame i of a segment is frame skip + i of its video."""

    def __init__(self, inside: Reader) -> None:
        self._inside = inside

    def close(self) -> None:
        """Close the reader inside."""
        self._inside.close()

    def read(self, record: VideoRecord, frame_indices: Sequence[int] | np.ndarray) -> torch.Tensor:
        """The asked frames, uint8 [N, H, W, C], in the order asked.

        Raises:
            FewerFramesError: a frame beyond the end of the video; its count is that of the segment.
            ReadError: the video cannot be read, or ends before the segment begins.
        """
        path, skipped = split_segment(record.path)
        if path == record.path:
            return self._inside.read(record, frame_indices)
        whole = replace(record, path=path, num_frames=skipped + record.num_frames)
        try:
            return self._inside.read(whole, np.asarray(frame_indices, dtype=np.int64) + skipped)
        except FewerFramesError as error:
            remaining = error.num_frames - skipped
            if remaining <= 0:
                message = f"{record.path}: the video has {error.num_frames} frames, so nothing is left of the segment"
                raise ReadError(message) from None
            raise FewerFramesError(str(error), remaining) from None
