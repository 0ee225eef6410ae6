"""Downscale frames before they are written."""

from collections.abc import Iterable, Iterator

import numpy as np

from dataset.transforms import operations
from utils.errors import UserError


class EncodingError(UserError):
    """Frames that cannot be encoded as asked."""


def shrink(frames: Iterable[np.ndarray], short_side: int, *, step: int = 1) -> Iterator[np.ndarray]:
    """Downscale frames whose short side is longer than `short_side`, keeping the aspect ratio.

    Args:
        frames: Frames, uint8 [H, W, 3].
        short_side: Largest short side of the result, pixels; 0 for no limit.
        step: Height and width become multiples of it, such as 2 for chroma subsampling; a frame that is not resized is
            cropped for that.

    Raises:
        EncodingError: A frame is smaller than `step`.
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
