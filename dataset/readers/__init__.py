"""Where a frame is read: `open_reader`, whatever the format, and what goes wrong.

The names are looked up when they are first used: who only indexes video files needs no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dataset.readers.errors import FewerFramesError as FewerFramesError
    from dataset.readers.errors import ReadError as ReadError
    from dataset.readers.frame_reader import FrameReader as FrameReader
    from dataset.readers.open import open_reader as open_reader

_HOMES = {
    "FewerFramesError": "dataset.readers.errors",
    "FrameReader": "dataset.readers.frame_reader",
    "ReadError": "dataset.readers.errors",
    "open_reader": "dataset.readers.open",
}

__all__ = ["FewerFramesError", "FrameReader", "ReadError", "open_reader"]


def __getattr__(name: str) -> Any:
    """Import what is asked for (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
