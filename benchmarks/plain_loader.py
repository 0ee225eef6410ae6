"""The baseline of loading clips: one Pillow image at a time, floats from the workers.

Frames come from cv2.VideoCapture, from one opened file per JPEG or from an LMDB environment opened for each sample.
Every image is augmented by Pillow and turned into a normalised float tensor, and those are stacked. It draws the same
frames and from the same distributions as our loader. `PillowTransform` and `PillowReader` are a middle way: our loader
with Pillow in place of OpenCV.
"""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import lmdb
import numpy as np
import torch
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageOps
from torch.utils.data import Dataset

from dataset.listing import VideoList, VideoRecord
from dataset.readers import FrameReader
from dataset.readers.frame_reader import Put
from dataset.readers.images import ImageStore
from dataset.sampling import draw_clip
from dataset.transforms import operations
from dataset.transforms.recipes import draw_crop
from utils.clip_shape import ClipShape
from utils.config.network_names import IMAGENET

Images = list[Image.Image]
ImageOperation = Callable[[Image.Image, float], Image.Image]

SEEK_GAP = 16  # frames; a shorter gap is decoded through


def capture_arrays(capture: cv2.VideoCapture, numbers: Sequence[int]) -> list[np.ndarray]:
    """Frames uint8 [H, W, 3] of an opened video by OpenCV, in the order asked (ascending)."""
    frames, position = [], 0
    for number in numbers:
        if not 0 <= number - position <= SEEK_GAP:
            capture.set(cv2.CAP_PROP_POS_FRAMES, number)
            position = number
        while position <= number:
            _, frame = capture.read()
            position += 1
        frames.append(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))
    capture.release()
    return frames


def capture_frames(path: Path, numbers: Sequence[int]) -> Images:
    """Frames of a video file by OpenCV."""
    return [Image.fromarray(frame) for frame in capture_arrays(cv2.VideoCapture(str(path)), numbers)]


def open_frames(path: Path, numbers: Sequence[int]) -> Images:
    """Frames of a folder of JPEGs."""
    return [Image.open(path / f"{number + 1:05d}.jpg").convert("RGB") for number in numbers]


def fetch_frames(path: Path, numbers: Sequence[int]) -> Images:
    """Frames of an LMDB environment that is opened for them alone."""
    with lmdb.open(str(path), readonly=True, lock=False) as environment, environment.begin() as transaction:
        data = [transaction.get(b"%06d.jpg" % (number + 1)) or b"" for number in numbers]
    return [Image.open(io.BytesIO(jpeg)).convert("RGB") for jpeg in data]


FETCHERS = {"RAW": capture_frames, "FRAME": open_frames, "LMDB": fetch_frames}


def _hue(image: Image.Image, turns: float) -> Image.Image:
    hue, saturation, value = image.convert("HSV").split()
    turned = (np.asarray(hue, np.int16) + int(turns * 255)).astype(np.uint8)
    return Image.merge("HSV", (Image.fromarray(turned), saturation, value)).convert("RGB")


def _default_changes(rng: np.random.Generator) -> list[tuple[ImageOperation, float]]:
    """Return the operations of one draw of the transform `default`, after the crop."""
    changes: list[tuple[ImageOperation, float]] = []
    if rng.random() < 0.8:
        jitter: list[tuple[ImageOperation, float]] = [
            (lambda image, factor: ImageEnhance.Brightness(image).enhance(factor), rng.uniform(0.6, 1.4)),
            (lambda image, factor: ImageEnhance.Contrast(image).enhance(factor), rng.uniform(0.6, 1.4)),
            (lambda image, factor: ImageEnhance.Color(image).enhance(factor), rng.uniform(0.6, 1.4)),
            (_hue, rng.uniform(-0.1, 0.1)),
        ]
        changes += [jitter[index] for index in rng.permutation(4)]
    if rng.random() < 0.2:
        changes.append((lambda image, _: image.convert("L").convert("RGB"), 0))
    if rng.random() < 0.5:
        changes.append((lambda image, sigma: image.filter(ImageFilter.GaussianBlur(sigma)), rng.uniform(0.1, 2)))
    return changes


def _affine(image: Image.Image, *matrix: float) -> Image.Image:
    return image.transform(image.size, Image.Transform.AFFINE, matrix)


def _solarize_add(image: Image.Image, amount: float) -> Image.Image:
    return image.point([min(255, value + int(amount)) if value < 128 else value for value in range(256)] * 3)


def _cutout(image: Image.Image, widths: float) -> Image.Image:
    image = image.copy()
    side = int(widths * image.width)
    ImageDraw.Draw(image).rectangle((20, 20, 20 + side, 20 + side), (125, 123, 114))
    return image


# Largest value, whether signed, and operation: the table of `dataset.transforms.rand_augment` in Pillow's terms.
OPERATIONS: list[tuple[float, bool, ImageOperation]] = [
    (0, False, lambda image, _: ImageOps.autocontrast(image)),
    (0, False, lambda image, _: ImageOps.equalize(image)),
    (0, False, lambda image, _: ImageOps.invert(image)),
    (30, True, lambda image, value: image.rotate(value)),
    (4, False, lambda image, value: ImageOps.posterize(image, 4 - int(value))),
    (256, False, lambda image, value: ImageOps.solarize(image, 256 - int(value))),
    (110, False, _solarize_add),
    (0.9, True, lambda image, value: ImageEnhance.Color(image).enhance(1 + value)),
    (0.9, True, lambda image, value: ImageEnhance.Contrast(image).enhance(1 + value)),
    (0.9, True, lambda image, value: ImageEnhance.Brightness(image).enhance(1 + value)),
    (0.9, True, lambda image, value: ImageEnhance.Sharpness(image).enhance(1 + value)),
    (0.3, True, lambda image, value: _affine(image, 1, value, 0, 0, 1, 0)),
    (0.3, True, lambda image, value: _affine(image, 1, 0, 0, value, 1, 0)),
    (0.4464, True, lambda image, value: _affine(image, 1, 0, value * image.width, 0, 1, 0)),
    (0.4464, True, lambda image, value: _affine(image, 1, 0, 0, 0, 1, value * image.height)),
    (0.3571, False, _cutout),
]


def _rand_augment_changes(
    rng: np.random.Generator, *, count: int, strength: float
) -> list[tuple[ImageOperation, float]]:
    changes = []
    for index in rng.integers(len(OPERATIONS), size=count):
        limit, signed, operation = OPERATIONS[index]
        sign = -1 if signed and rng.random() < 0.5 else 1
        changes.append((operation, sign * strength * limit))
    return changes


@dataclass(frozen=True, slots=True)
class Augmentation:
    """The transforms `default` and `rand_augment` without the crop, on Pillow images.

    Attributes:
        transform_type: Which of the two.
        ra_n: Operations of the latter.
        ra_m: Their magnitude, of 30.
    """

    transform_type: str
    ra_n: int
    ra_m: int

    def __call__(self, images: Images, rng: np.random.Generator) -> Images:
        """Draw once and change each image."""
        if self.transform_type == "default":
            changes = _default_changes(rng)
        else:
            changes = _rand_augment_changes(rng, count=self.ra_n, strength=self.ra_m / 30)
        for operation, value in changes:
            images = [operation(image, value) for image in images]
        if rng.random() < 0.5:
            images = [image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) for image in images]
        return images


class PlainClips(Dataset):
    """Random dense clips as normalised floats [C, T, H, W] and labels, addressed by (epoch, index)."""

    def __init__(
        self,
        videos: VideoList,
        root: Path,
        augmentation: Augmentation,
        *,
        format: str,
        crop_size: int,
        shape: ClipShape,
    ) -> None:
        """Wire the data set; `crop_size` in pixels."""
        self.videos = videos
        self.root = root
        self.augmentation = augmentation
        self.fetch = FETCHERS[format]
        self.crop_size = crop_size
        self.shape = shape

    def __len__(self) -> int:
        """Return the number of videos."""
        return len(self.videos)

    def __getitem__(self, key: tuple[int, int]) -> tuple[torch.Tensor, int]:
        """Make the clip and the label of (epoch, index)."""
        epoch, index = key
        rng = np.random.default_rng((0, epoch, index))
        record = self.videos[index]
        numbers = draw_clip(record.num_frames, self.shape, rng=rng)
        images = self.fetch(self.root / record.path, numbers.tolist())
        top, left, height, width = draw_crop(images[0].height, images[0].width, scale=(0.2, 1.0), rng=rng)
        size = (self.crop_size, self.crop_size)
        images = [
            image.crop((left, top, left + width, top + height)).resize(size, Image.Resampling.BILINEAR)
            for image in images
        ]
        images = self.augmentation(images, rng)
        return torch.stack([normalised(image) for image in images], dim=1), record.label


def normalised(image: Image.Image) -> torch.Tensor:
    """Float32 [C, H, W] of an image, as torchvision's ToTensor and Normalize make it."""
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous().float().div(255)
    return pixels.sub_(torch.tensor(IMAGENET.mean).view(3, 1, 1)).div_(torch.tensor(IMAGENET.std).view(3, 1, 1))


@dataclass(frozen=True, slots=True)
class PillowTransform:
    """Our crop of bytes by torch, then Pillow image by image, then bytes again."""

    augmentation: Augmentation
    crop_size: int

    def __call__(self, clip: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Make the augmented clip, uint8 [T, crop_size, crop_size, C], of one of any size."""
        box = draw_crop(clip.shape[1], clip.shape[2], scale=(0.2, 1.0), rng=rng)
        clip = operations.crop_resize(clip, box, height=self.crop_size, width=self.crop_size)
        images = self.augmentation([Image.fromarray(frame) for frame in clip], rng)
        return np.stack([np.asarray(image) for image in images])


@dataclass(frozen=True, slots=True)
class PillowReader(FrameReader):
    """Our stores of JPEGs, decoded by Pillow."""

    store: ImageStore

    def decode(self, record: VideoRecord, numbers: Sequence[int], put: Put) -> None:
        """Hand over frames uint8 [H, W, 3]."""
        data = self.store.images(record.path, numbers, "")
        for place, jpeg in enumerate(data):
            put(place, np.asarray(Image.open(io.BytesIO(jpeg or b"")).convert("RGB")))

    def close(self) -> None:
        """Let go of what is open."""
        self.store.close()
