"""Videos that were taken apart into numbered pictures: reading them from wherever the pictures are kept."""

import os
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from dataset.listing import VideoRecord
from dataset.readers.errors import MAX_PIXELS, FewerFramesError, ReadError
from dataset.readers.frame_reader import FrameReader, Put
from dataset.readers.jpeg import ImageError, decode_image

RGB_SUFFIXES = ("",)
FLOW_SUFFIXES = ("_c1", "_c2")


class Naming(NamedTuple):
    """How a video's pictures are named: `00001.jpg` on has 5 digits and 1 as first number."""

    digits: int
    first: int

    def name(self, number: int, suffix: str) -> str:
        """Return the name of a frame's picture, by its number from 0."""
        return f"{number + self.first:0{self.digits}d}{suffix}.jpg"


def find_naming(holds: Callable[[str], bool], suffix: str, *, usual: Naming, place: str) -> Naming:
    """Find out how pictures are named, by what is there: five or six digits, from 0 or from 1.

    Args:
        holds: Whether a picture of that name is there.
        suffix: Of the names.
        usual: What to answer where nothing is.
        place: What the pictures lie in, for messages.

    Raises:
        ReadError: There are both.
    """
    found = []
    for digits in (5, 6):
        namings = [Naming(digits, first) for first in (0, 1)]
        found += [naming for naming in namings if holds(naming.name(0, suffix))][:1]
    if len(found) > 1:
        both = " and ".join(naming.name(0, suffix) for naming in found)
        raise ReadError(f"cannot read {place}: both {both} are there, so which is the first frame? Remove one kind")
    return found[0] if found else usual


class ImageStore(Protocol):
    """Where encoded pictures are kept. Frames are numbered from 0; flow has a gray picture each for x and y."""

    def images(self, video: str, numbers: Iterable[int], suffix: str) -> list[bytes | None]:
        """Return the encoded pictures of these frames, None for one that is not there.

        Raises:
            ReadError: The video as a whole cannot be had, or its pictures are named in two ways.
        """

    def count(self, video: str, suffix: str) -> int:
        """Return the number of frames, by the highest number that there is."""

    def describe(self, video: str, number: int, suffix: str) -> str:
        """Return what a picture is called, for messages."""


class NumberedImageReader(FrameReader):
    """Reads frames out of a store of numbered pictures."""

    def __init__(self, store: ImageStore, *, use_flow: bool = False, max_pixels: int = MAX_PIXELS) -> None:
        """Make a reader; arguments as for `open_reader`."""
        self._store = store
        self._suffixes = FLOW_SUFFIXES if use_flow else RGB_SUFFIXES
        self._max_pixels = max_pixels

    def decode(self, record: VideoRecord, numbers: Sequence[int], put: Put) -> None:
        """See FrameReader; a picture that is missing, broken, too large or not of the others' size is a ReadError."""
        size: tuple[int, ...] = ()
        pictures = [self._store.images(record.path, numbers, suffix) for suffix in self._suffixes]
        for place, (number, *encoded) in enumerate(zip(numbers, *pictures, strict=True)):
            parts = []
            for suffix, data in zip(self._suffixes, encoded, strict=True):
                pixels = self._decode(record.path, number, suffix, data=data)
                size = size or pixels.shape[:2]
                if pixels.shape[:2] != size:
                    name = self._store.describe(record.path, number, suffix)
                    sizes = f"{_size(pixels.shape)}, frames before it {_size(size)} (height x width)"
                    raise ReadError(f"cannot read {name}: it is {sizes}")
                parts.append(pixels)
            put(place, parts[0] if len(parts) == 1 else np.concatenate(parts, axis=2))

    def _decode(self, video: str, number: int, suffix: str, *, data: bytes | None) -> np.ndarray:
        if data is None:
            name, count = self._store.describe(video, number, suffix), self._store.count(video, suffix)
            if 0 < count <= number:
                raise FewerFramesError(f"{name}: frame {number} (from 0) is wanted, there are {count}", count)
            cause = (
                "it is missing, though later frames are there" if count else "the video has no frames of such a name"
            )
            raise ReadError(f"cannot read {name}: {cause}")
        try:
            return decode_image(data, color=self._suffixes == RGB_SUFFIXES, max_pixels=self._max_pixels)
        except ImageError as error:
            raise ReadError(f"cannot read {self._store.describe(video, number, suffix)}: {error}") from None


class FolderStore:
    """A folder of JPEG files for each video: 00001.jpg, 00002.jpg, ...; flow 00001_c1.jpg and 00001_c2.jpg, ...

    Six digits, and numbers from 0, are recognized by what is in the folder.
    """

    def __init__(self, root_path: str | Path) -> None:
        """Take the folder that the paths of records are relative to."""
        self._root = Path(root_path)

    def images(self, video: str, numbers: Iterable[int], suffix: str) -> list[bytes | None]:
        """Read the files, None for one that is not there."""
        naming, folder = self._naming(video, suffix), self._root / video
        return [self._image(folder, naming.name(number, suffix)) for number in numbers]

    def count(self, video: str, suffix: str) -> int:
        """Return the number of frames by the highest number of a file, by a look through the folder."""
        naming = self._naming(video, suffix)
        pattern = re.compile(rf"(\d{{{naming.digits},}}){suffix}\.jpg")
        matches = (pattern.fullmatch(path.name) for path in (self._root / video).iterdir())
        return max((int(match[1]) + 1 - naming.first for match in matches if match), default=0)

    def describe(self, video: str, number: int, suffix: str) -> str:
        """Return the file's path."""
        return str(self._root / video / self._naming(video, suffix).name(number, suffix))

    def _naming(self, video: str, suffix: str) -> Naming:
        folder = self._root / video
        # Not Path.exists, which raises without permission: the error of reading says more.
        holds = lambda name: os.path.exists(folder / name)  # noqa: E731, PTH110
        return find_naming(holds, suffix, usual=Naming(5, 1), place=str(folder))

    def _image(self, folder: Path, name: str) -> bytes | None:
        try:
            return (folder / name).read_bytes()
        except FileNotFoundError:
            if not folder.is_dir():
                raise ReadError(f"cannot read the frames of {folder}: no such folder") from None
            return None
        except OSError as error:
            raise ReadError(f"cannot read {folder / name}: {error.strerror}") from None


def open_folders(root_path: str | Path, *, use_flow: bool, max_pixels: int) -> FrameReader:
    """Return the reader of folders of JPEG files below a root."""
    return NumberedImageReader(FolderStore(root_path), use_flow=use_flow, max_pixels=max_pixels)


def _size(shape: Sequence[int]) -> str:
    return f"{shape[0]}x{shape[1]}"
