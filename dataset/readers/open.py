"""Open the reader of any format with one call."""

from pathlib import Path

from dataset.readers.errors import MAX_PIXELS
from dataset.readers.frame_reader import FrameReader
from dataset.readers.segments import SegmentReader
from utils.errors import UserError
from utils.parts import FORMATS, find_part, flow_formats


def open_reader(
    format: str,
    root_path: str | Path,
    *,
    use_flow: bool = False,
    max_pixels: int = MAX_PIXELS,
    picture_rate: float = 0.0,
) -> FrameReader:
    """Return the reader of a format.

    Args:
        format: `RAW` (video files), `FRAME` (a folder of JPEGs per video), `LMDB` (JPEGs in LMDB environments) or
            another key of utils.parts.FORMATS.
        root_path: Root of relative list paths; absolute paths are used unchanged.
        use_flow: Read optical flow (channels x, y) instead of RGB.
        max_pixels: Largest number of pixels of an image.
        picture_rate: Frame rate of formats without time stamps, frames per second; 0 if unknown.

    Returns:
        A reader that also reads segments (`path#skip=N`).

    Raises:
        UserError: The format is unknown or holds no flow, or the root does not exist.
    """
    if format not in FORMATS:
        raise UserError(f"unknown data format '{format}': choose one of {', '.join(FORMATS)}")
    if not Path(root_path).exists():
        raise UserError(f"the root of the videos, {root_path}, does not exist")
    row = FORMATS[format]
    if use_flow and not row.has_flow:
        raise UserError(f"format {format} holds no optical flow: use {flow_formats()}")
    options: dict[str, int] = {"use_flow": use_flow} if row.has_flow else {}
    if row.has_limit:
        options["max_pixels"] = max_pixels
    return SegmentReader(find_part(row.home)(root_path, **options), picture_rate)
