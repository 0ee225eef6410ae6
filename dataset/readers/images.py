"""Videos that were taken apart into numbered pictures: reading them from wherever the pictures are kept."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from dataset.listing import VideoRecord
from dataset.readers.errors import FewerFramesError, ReadError
from dataset.readers.frame_reader import FrameReader, Put
from dataset.readers.jpeg import ImageError, decode_image

RGB_SUFFIXES = ("",)
FLOW_SUFFIXES = ("_c1", "_c2")


class ImageStore(Protocol):
    """Where encoded pictures are kept. Frames are numbered from 1; flow has a grey picture each for x and y."""

    def images(self, video: str, numbers: Iterable[int], suffix: str) -> list[bytes | None]:
        """The encoded pictures of these frames, None for one that is not there.

        Raises:
            ReadError: the video as a whole cannot be had.
        """

    def last_number(self, video: str, suffix: str) -> int:
        """The highest frame number there is, 0 for none."""

    def describe(self, video: str, number: int, suffix: str) -> str:
        """What a picture is called, for messages."""

    def close(self) -> None:
        """Let go of everything open."""


class NumberedImageReader(FrameReader):
    """Reads frames out of a store of numbered pictures."""

    def __init__(self, store: ImageStore, *, use_flow: bool = False) -> None:
        self._store = store
        self._suffixes = FLOW_SUFFIXES if use_flow else RGB_SUFFIXES

    def close(self) -> None:
        """Let go of everything open; a later read opens it again."""
        self._store.close()

    def decode(self, record: VideoRecord, numbers: Sequence[int], put: Put) -> None:
        """See FrameReader.

        Raises:
            FewerFramesError: a frame beyond the last one.
            ReadError: a picture is missing, broken, or not of the size of the others.
        """
        names = [number + 1 for number in numbers]
        size: tuple[int, ...] = ()
        pictures = [self._store.images(record.path, names, suffix) for suffix in self._suffixes]
        for place, (number, *encoded) in enumerate(zip(names, *pictures, strict=True)):
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
        name = self._store.describe(video, number, suffix)
        if data is None:
            last = self._store.last_number(video, suffix)
            if 0 < last < number:
                message = f"{name}: frame {number - 1} (from 0) is wanted, there are {last}"
                raise FewerFramesError(message, last)
            cause = "it is missing, though later frames are there" if last else "the video has no frames of such a name"
            raise ReadError(f"cannot read {name}: {cause}")
        try:
            return decode_image(data, colour=self._suffixes == RGB_SUFFIXES)
        except ImageError as error:
            raise ReadError(f"cannot read {name}: {error}") from None


class FolderStore:
    """A folder of JPEG files for each video: 00001.jpg, 00002.jpg, ...; flow 00001_c1.jpg and 00001_c2.jpg, ..."""

    def __init__(self, root_path: str | Path) -> None:
        self._root = Path(root_path)

    def images(self, video: str, numbers: Iterable[int], suffix: str) -> list[bytes | None]:
        """Read the files, None for one that is not there."""
        return [self._image(self._root / video, f"{number:05d}{suffix}.jpg") for number in numbers]

    def last_number(self, video: str, suffix: str) -> int:
        """The highest number of a file, by a look through the folder."""
        pattern = re.compile(rf"(\d{{5,}}){suffix}\.jpg")
        matches = (pattern.fullmatch(path.name) for path in (self._root / video).iterdir())
        return max((int(match[1]) for match in matches if match), default=0)

    def describe(self, video: str, number: int, suffix: str) -> str:
        """The file's path."""
        return str(self._root / video / f"{number:05d}{suffix}.jpg")

    def close(self) -> None:
        """Nothing stays open between calls."""

    def _image(self, folder: Path, name: str) -> bytes | None:
        try:
            with open(f"{folder}/{name}", "rb", buffering=0) as file:  # noqa: PTH123  # Path takes thrice the time
                return file.read()
        except FileNotFoundError:
            if not folder.is_dir():
                raise ReadError(f"cannot read the frames of {folder}: no such folder") from None
            return None
        except OSError as error:
            raise ReadError(f"cannot read {folder / name}: {error.strerror}") from None


def open_folders(root_path: str | Path, *, use_flow: bool) -> FrameReader:
    """Return the reader of folders of JPEG files below a root."""
    return NumberedImageReader(FolderStore(root_path), use_flow=use_flow)


def _size(shape: Sequence[int]) -> str:
    return f"{shape[0]}x{shape[1]}"
