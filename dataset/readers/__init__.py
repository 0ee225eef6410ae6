"""Where a frame is read: `open_reader`, whatever the format, and what goes wrong."""

from dataset.readers.errors import FewerFramesError, ReadError
from dataset.readers.frame_reader import FrameReader
from dataset.readers.open import open_reader

__all__ = ["FewerFramesError", "FrameReader", "ReadError", "open_reader"]
