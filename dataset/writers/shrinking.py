"""Frames made smaller before they are written."""

from collections.abc import Iterable, Iterator

import numpy as np

from dataset.transforms import operations
from utils.errors import UserError


class EncodingError(UserError):
    """Frames that cannot be encoded as asked."""


def shrink(frames: Iterable[np.ndarray], short_side: int, *, step: int = 1) -> Iterator[np.ndarray]:
    """Resize frames whose short side is longer than `short_side` pixels (0: none); the shape stays.

    Args:
        frames: uint8 [H, W, 3] each.
        short_side: Short side of the result, in pixels.
        step: Height and width become multiples of it: 2 as chroma subsampling wants; a frame that is not resized loses
            a row or a column for that.

    Raises:
        EncodingError: Nothing is left of a frame by that.
    """
    for frame in frames:
        height, width = frame.shape[:2]
        short = min(height, width)
        if short_side and short > short_side:
            sizes = [round(side * short_side / short) for side in (height, width)]
            rows, columns = (side + -side % step for side in sizes)
            yield operations.crop_resize(frame[None], (0, 0, height, width), height=rows, width=columns)[0]
        else:
            if short < step:
                raise EncodingError(f"frames of {width} x {height} pixels are too small for H.264")
            yield frame[: height - height % step, : width - width % step]
