"""Frame readers for all formats, opened by `open_reader`, and their errors."""

from dataset.readers.errors import FewerFramesError, ReadError
from dataset.readers.frame_reader import FrameReader
from dataset.readers.open import open_reader

__all__ = ["FewerFramesError", "FrameReader", "ReadError", "open_reader"]
