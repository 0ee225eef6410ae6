"""Videos stored as numbered images: the reader, and the store of image folders."""

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
    """How the images of a video are named; from `00001.jpg` on: digits 5, first 1."""

    digits: int
    first: int

    def name(self, number: int, suffix: str) -> str:
        """Return the image name of frame `number`, from 0."""
        return f"{number + self.first:0{self.digits}d}{suffix}.jpg"


def find_naming(holds: Callable[[str], bool], suffix: str, *, usual: Naming, place: str) -> Naming:
    """Detect whether image names have five or six digits, and count from 0 or from 1.

    Args:
        holds: Returns whether an image of that name exists.
        suffix: Suffix of the names, one of RGB_SUFFIXES and FLOW_SUFFIXES.
        usual: Result if no first image exists.
        place: Location of the images, for messages.

    Raises:
        ReadError: Names of five and of six digits exist.
    """
    found = []
    for digits in (5, 6):
        namings = [Naming(digits, first) for first in (0, 1)]
        found += [naming for naming in namings if holds(naming.name(0, suffix))][:1]
    if len(found) > 1:
        both = " and ".join(naming.name(0, suffix) for naming in found)
        raise ReadError(f"cannot read {place}: both {both} exist, so the first frame is ambiguous; remove one kind")
    return found[0] if found else usual


class ImageStore(Protocol):
    """A store of encoded images. Frame indices start at 0; flow has one gray image each for x and y."""

    def images(self, video: str, numbers: Iterable[int], suffix: str) -> list[bytes | None]:
        """Return the encoded images of these frames, None for a missing one.

        Raises:
            ReadError: The video does not exist or cannot be read, or its images are named in two ways.
        """

    def count(self, video: str, suffix: str) -> int:
        """Return the number of frames according to the highest image number; 0 without images."""

    def describe(self, video: str, number: int, suffix: str) -> str:
        """Return where the image of a frame is expected, for messages."""


class NumberedImageReader(FrameReader):
    """Reads frames from a store of numbered images."""

    def __init__(self, store: ImageStore, *, use_flow: bool = False, max_pixels: int = MAX_PIXELS) -> None:
        """Create a reader of a store; options as for `open_reader`."""
        self._store = store
        self._suffixes = FLOW_SUFFIXES if use_flow else RGB_SUFFIXES
        self._max_pixels = max_pixels

    def decode(self, record: VideoRecord, numbers: Sequence[int], put: Put) -> None:
        """See FrameReader; an image that is missing, corrupt, too large or of another size raises a ReadError."""
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
            cause = "it is missing, though later frames exist" if count else "the video has no frames named like this"
            raise ReadError(f"cannot read {name}: {cause}")
        try:
            return decode_image(data, color=self._suffixes == RGB_SUFFIXES, max_pixels=self._max_pixels)
        except ImageError as error:
            raise ReadError(f"cannot read {self._store.describe(video, number, suffix)}: {error}") from None


class FolderStore:
    """A folder of JPEG files per video: 00001.jpg, 00002.jpg, ...; flow: 00001_c1.jpg and 00001_c2.jpg, ...

    Names of six digits, and names counted from 0, are detected.
    """

    def __init__(self, root_path: str | Path) -> None:
        """Use the root of relative list paths."""
        self._root = Path(root_path)

    def images(self, video: str, numbers: Iterable[int], suffix: str) -> list[bytes | None]:
        """See ImageStore."""
        naming, folder = self._naming(video, suffix), self._root / video
        return [self._image(folder, naming.name(number, suffix)) for number in numbers]

    def count(self, video: str, suffix: str) -> int:
        """See ImageStore; lists the folder."""
        naming = self._naming(video, suffix)
        pattern = re.compile(rf"(\d{{{naming.digits},}}){suffix}\.jpg")
        matches = (pattern.fullmatch(path.name) for path in (self._root / video).iterdir())
        return max((int(match[1]) + 1 - naming.first for match in matches if match), default=0)

    def describe(self, video: str, number: int, suffix: str) -> str:
        """See ImageStore; gives the path of the file."""
        return str(self._root / video / self._naming(video, suffix).name(number, suffix))

    def _naming(self, video: str, suffix: str) -> Naming:
        folder = self._root / video
        # Not Path.exists, which raises without permission; the error of reading the file is clearer.
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
    """Return a reader of folders of JPEG files."""
    return NumberedImageReader(FolderStore(root_path), use_flow=use_flow, max_pixels=max_pixels)


def _size(shape: Sequence[int]) -> str:
    return f"{shape[0]}x{shape[1]}"
