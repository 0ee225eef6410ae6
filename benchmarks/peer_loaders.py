"""Augmentation and whole loaders written with other projects: torchcodec with torchvision v2, and mmaction2.

Frames and crops are drawn as in our loader, and every loader ends with normalized floats. Both use torchvision's
RandAugment: 14 operations, of which 13 are among our 16.
"""

import functools
import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import lmdb
import numpy as np
import torch
from torch.utils.data import Dataset

from benchmarks.peer_readers import Reader, TorchCodec, load_module, read_decord
from dataset.listing import VideoList
from dataset.sampling import draw_clip
from dataset.transforms.recipes import draw_crop
from utils.clip_shape import ClipShape
from utils.config.network_names import IMAGENET
from utils.torchvision_import import import_torchvision

CROP_SCALE = (0.2, 1.0)
MAGNITUDES = 31  # magnitudes of RandAugment: 0 to 30, as ours
BLUR_SIDE = 13  # side of the kernel, pixels, for sigmas up to 2


def decode_images(images: Sequence[bytes]) -> np.ndarray:
    """Decode JPEGs with OpenCV, the fastest of the common decoders: uint8 [N, H, W, 3]."""
    decoded = (cv2.imdecode(np.frombuffer(image, np.uint8), cv2.IMREAD_COLOR) for image in images)
    return np.stack([cv2.cvtColor(frame, cv2.COLOR_BGR2RGB) for frame in decoded if frame is not None])


def read_folder(path: Path, numbers: Sequence[int]) -> np.ndarray:
    """See Reader: a folder of JPEGs."""
    return decode_images([(path / f"{number + 1:05d}.jpg").read_bytes() for number in numbers])


@functools.cache
def _environment(path: Path) -> lmdb.Environment:
    """Open an environment and keep it open, as one does with an LMDB of a whole data set."""
    return lmdb.open(str(path), readonly=True, lock=False, readahead=False, meminit=False)


def read_environment(path: Path, numbers: Sequence[int]) -> np.ndarray:
    """See Reader: an LMDB environment of JPEGs."""
    with _environment(path).begin() as transaction:
        return decode_images([transaction.get(b"%06d.jpg" % (number + 1)) or b"" for number in numbers])


def video_operations(transform_type: str, *, size: int, ra_n: int, ra_m: int) -> list[Callable[..., Any]]:
    """Return torchvision v2's counterpart of our transform, for uint8 [T, C, H, W]."""
    import_torchvision()
    v2 = importlib.import_module("torchvision.transforms.v2")
    if transform_type == "default":
        changes = [
            v2.RandomApply([v2.ColorJitter(0.4, 0.4, 0.4, 0.1)], p=0.8),
            v2.RandomGrayscale(0.2),
            v2.RandomApply([v2.GaussianBlur(BLUR_SIDE, (0.1, 2.0))], p=0.5),
        ]
    else:
        changes = [v2.RandAugment(ra_n, ra_m, MAGNITUDES)]
    return [v2.RandomResizedCrop(size, scale=CROP_SCALE), *changes, v2.RandomHorizontalFlip()]


@dataclass(frozen=True)
class TensorTransform:
    """A chain of torchvision v2's operations, and the conversion of a clip to its input."""

    chain: Callable[[Any], torch.Tensor]
    wrap: Callable[[torch.Tensor], torch.Tensor] = torch.Tensor.contiguous

    def __call__(self, clip: np.ndarray, _rng: np.random.Generator) -> torch.Tensor:
        """Transform a clip, uint8 [T, H, W, C], to [T, C, H, W]."""
        return self.chain(self.wrap(torch.from_numpy(clip).permute(0, 3, 1, 2)))


def keep(frames: torch.Tensor) -> torch.Tensor:
    """Return frames unchanged: channels last in memory, as from torchcodec."""
    return frames


def make_video_transforms(transform_type: str, **settings: int) -> dict[str, TensorTransform]:
    """Return v2 on uint8 clips: contiguous planes, channels last as from torchcodec, and tv_tensors.Video."""
    operations = video_operations(transform_type, **settings)
    chain = importlib.import_module("torchvision.transforms.v2").Compose(operations)
    video = importlib.import_module("torchvision.tv_tensors").Video
    return {
        "v2, planes": TensorTransform(chain),
        "v2, channels last": TensorTransform(chain, keep),
        "v2, tv_tensors.Video": TensorTransform(chain, video),
    }


def make_float_transform(transform_type: str, **settings: int) -> TensorTransform:
    """Return v2 including normalization, to floats [T, C, H, W]."""
    operations = video_operations(transform_type, **settings)
    v2 = importlib.import_module("torchvision.transforms.v2")
    floats = [v2.ToDtype(torch.float32, scale=True), v2.Normalize(list(IMAGENET.mean), list(IMAGENET.std))]
    return TensorTransform(v2.Compose([*operations, *floats]), keep)


Frames = list[np.ndarray]


def jitter_frames(frames: Frames, rng: np.random.Generator) -> Frames:
    """Jitter brightness, contrast, saturation and hue frame by frame, in random order."""
    bright, contrast, saturation = rng.uniform(0.6, 1.4, 3).tolist()
    hue_shift = int(rng.uniform(-0.1, 0.1) * 180)

    def gray(frame: np.ndarray) -> np.ndarray:
        return cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)

    def shift_hue(frame: np.ndarray) -> np.ndarray:
        hue, rest, value = cv2.split(cv2.cvtColor(frame, cv2.COLOR_RGB2HSV))
        hue = ((hue.astype(np.int16) + hue_shift) % 180).astype(np.uint8)
        return cv2.cvtColor(cv2.merge([hue, rest, value]), cv2.COLOR_HSV2RGB)

    changes: list[Callable[[np.ndarray], np.ndarray]] = [
        lambda frame: cv2.convertScaleAbs(frame, alpha=bright),
        lambda frame: cv2.addWeighted(frame, contrast, frame, 0, (1 - contrast) * float(gray(frame).mean())),
        lambda frame: cv2.addWeighted(
            frame, saturation, cv2.cvtColor(gray(frame), cv2.COLOR_GRAY2RGB), 1 - saturation, 0
        ),
        shift_hue,
    ]
    for index in rng.permutation(len(changes)):
        frames = [changes[index](frame) for frame in frames]
    return frames


@dataclass(frozen=True)
class FrameTransform:
    """An mmaction2 pipeline: OpenCV frame by frame, then normalized floats [T, C, H, W].

    `randaugment` is torchvision's, which mmaction2 wraps; None for the transform `default`.
    """

    size: int
    randaugment: Callable[[torch.Tensor], torch.Tensor] | None

    def __call__(self, clip: np.ndarray, rng: np.random.Generator) -> torch.Tensor:
        """Transform a clip, uint8 [T, H, W, C], to normalized floats [T, C, H, W]."""
        top, left, height, width = draw_crop(clip.shape[1], clip.shape[2], scale=CROP_SCALE, rng=rng)
        size = (self.size, self.size)
        frames = [cv2.resize(frame[top : top + height, left : left + width], size) for frame in clip]
        frames = self._change(frames, rng)
        if rng.random() < 0.5:
            frames = [cv2.flip(frame, 1) for frame in frames]
        mean, deviation = (np.array([values]) * 255.0 for values in (IMAGENET.mean, IMAGENET.std))
        floats = [np.array(frame, np.float32, order="C") for frame in frames]
        for frame in floats:
            cv2.subtract(frame, mean, frame)
            cv2.multiply(frame, 1 / deviation, frame)
        return torch.from_numpy(np.stack(floats).transpose(0, 3, 1, 2))

    def _change(self, frames: Frames, rng: np.random.Generator) -> Frames:
        if self.randaugment is not None:
            stacked = torch.from_numpy(np.stack([frame.transpose(2, 0, 1) for frame in frames]))
            return [frame.transpose(1, 2, 0) for frame in self.randaugment(stacked).numpy()]
        if rng.random() < 0.8:
            frames = jitter_frames(frames, rng)
        if rng.random() < 0.2:
            grays = (cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames)
            frames = [cv2.cvtColor(frame, cv2.COLOR_GRAY2RGB) for frame in grays]
        if rng.random() < 0.5:
            sigma = rng.uniform(0.1, 2.0)
            frames = [cv2.GaussianBlur(frame, (BLUR_SIDE, BLUR_SIDE), sigma) for frame in frames]
        return frames


def make_frame_transform(transform_type: str, *, size: int, ra_n: int, ra_m: int) -> FrameTransform:
    """Return mmaction2's counterpart of our transform."""
    import_torchvision()
    transforms = importlib.import_module("torchvision.transforms")
    return FrameTransform(size, None if transform_type == "default" else transforms.RandAugment(ra_n, ra_m, MAGNITUDES))


class PeerClips(Dataset):
    """Random dense clips as normalized floats [T, C, H, W] and labels, addressed by (epoch, index)."""

    def __init__(
        self,
        videos: VideoList,
        root: Path,
        *,
        read: Reader,
        transform: Callable[[np.ndarray, np.random.Generator], torch.Tensor],
        length: int,
    ) -> None:
        """Create the data set; `length` is the length of a clip, frames."""
        self.videos, self.root, self.read, self.transform = videos, root, read, transform
        self.shape = ClipShape(1, length, 1)

    def __len__(self) -> int:
        """Return the number of videos."""
        return len(self.videos)

    def __getitem__(self, key: tuple[int, int]) -> tuple[torch.Tensor, int]:
        """Return the clip and the label of (epoch, index)."""
        epoch, index = key
        rng = np.random.default_rng((0, epoch, index))
        torch.manual_seed(int(rng.integers(2**31)))  # seeds torchvision's draws
        record = self.videos[index]
        numbers = draw_clip(record.num_frames, self.shape, rng=rng)
        return self.transform(self.read(self.root / record.path, numbers.tolist()), rng), record.label


def read_by(format: str, *, module: str, reader: Reader) -> Reader | str:
    """Return the reader of a format: for video files `reader`, or the reason why its module does not load."""
    if format != "RAW":
        return read_folder if format == "FRAME" else read_environment
    found = load_module(module)
    return found if isinstance(found, str) else reader


def make_peer_clips(
    videos: VideoList, folder: Path, *, format: str, transform_type: str, length: int, settings: dict[str, int]
) -> dict[str, PeerClips | str]:
    """Return the data sets of both loaders by name; for one that is not available, the reason."""
    parts: dict[str, tuple[Reader | str, Any]] = {
        "torchcodec + v2": (
            read_by(format, module="torchcodec.decoders", reader=TorchCodec("exact")),
            make_float_transform(transform_type, **settings),
        ),
        "mmaction2": (
            read_by(format, module="decord", reader=read_decord),
            make_frame_transform(transform_type, **settings),
        ),
    }
    return {
        name: read
        if isinstance(read, str)
        else PeerClips(videos, folder, read=read, transform=transform, length=length)
        for name, (read, transform) in parts.items()
    }
