"""The readers of all formats, behind one call."""

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
        format: `RAW` (video files), `FRAME` (a folder of JPEGs a video), `LMDB` (JPEGs in LMDB environments) or
            another of utils.parts.FORMATS.
        root_path: What the paths of records are relative to; an absolute path in a list is used as it is.
        use_flow: Read optical flow (x and y as two channels) in place of RGB.
        max_pixels: Pixels that a picture may have.
        picture_rate: Frames a second of formats that keep no times; 0: not known.

    Returns:
        A reader that also takes segments (`path#skip=N`) of the videos of any format.

    Raises:
        UserError: No such format, no such root, or flow asked of a format that has none.
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
