"""The readers of the three formats, behind one call."""

from pathlib import Path

from dataset.readers.frame_reader import FrameReader
from dataset.readers.images import FolderStore, NumberedImageReader
from dataset.readers.lmdb import LmdbStore
from dataset.readers.raw_video import RawVideoReader
from dataset.readers.segments import SegmentReader
from utils.errors import UserError

FORMATS = ("RAW", "FRAME", "LMDB")


def open_reader(format: str, root_path: str | Path, *, use_flow: bool = False) -> FrameReader:
    """The reader of a format.

    Args:
        format: `RAW` (video files), `FRAME` (a folder of JPEGs a video) or `LMDB` (JPEGs in LMDB environments).
        root_path: what the paths of records are relative to; an absolute path in a list is used as it is.
        use_flow: read optical flow (x and y as two channels) in place of RGB.

    Returns:
        A reader that also takes segments (`path#skip=N`) of the videos of any format.

    Raises:
        UserError: no such format, no such root, or flow asked of a format that has none.
    """
    if format not in FORMATS:
        raise UserError(f"unknown data format '{format}': choose one of {', '.join(FORMATS)}")
    if not Path(root_path).exists():
        raise UserError(f"the root of the videos, {root_path}, does not exist")
    if format == "RAW":
        if use_flow:
            raise UserError("format RAW holds no optical flow: use FRAME or LMDB")
        return SegmentReader(RawVideoReader(root_path))
    store = FolderStore(root_path) if format == "FRAME" else LmdbStore(root_path)
    return SegmentReader(NumberedImageReader(store, use_flow=use_flow))
