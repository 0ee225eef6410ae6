"""Small film strips of videos for the result page."""

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from dataset.listing import VideoRecord
from dataset.readers import FrameReader, ReadError
from dataset.transforms.recipes import resize_short_side
from dataset.writers.encoding import encode_jpeg
from utils.errors import UserError

_FRAMES, _SIDE, _QUALITY = 4, 72, 80
_GAP = 2  # white pixels between frames


def join_frames(frames: Iterable[np.ndarray]) -> np.ndarray:
    """Join frames, uint8 [H, W, C] each, side by side with white gaps: uint8 [H, all widths and gaps, C]."""
    first, *others = frames
    gap = np.full_like(first[:, :_GAP], 255)
    return np.concatenate([first, *(piece for frame in others for piece in (gap, frame))], axis=1)


def read_strips(records: Sequence[VideoRecord], make_reader: Callable[[], FrameReader]) -> list[bytes | str]:
    """Return a JPEG of four evenly spaced frames, side by side, of each video, or the error text."""
    try:
        reader = make_reader()
    except UserError as error:  # the videos may have been removed after scoring
        return [str(error)] * len(records)
    strips: list[bytes | str] = []
    for record in records:
        numbers = np.linspace(0, record.num_frames - 1, 2 * _FRAMES + 1)[1::2].astype(np.int64)
        try:
            frames = reader.read(record, numbers).numpy()  # [4, H, W, C]
        except ReadError as error:
            strips.append(str(error))
            continue
        is_flow = frames.shape[-1] != 3
        small = join_frames(resize_short_side(frames, _SIDE))
        strips.append("optical flow" if is_flow else encode_jpeg(small, _QUALITY))
    return strips
