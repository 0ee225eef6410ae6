"""The baseline of extracting scores: one item of the loader for each crop of each clip.

Every item opens its video, decodes the frames of one clip, resizes and crops them one by one with Pillow and stacks
them as normalized floats; the network takes batches of these. The views and weights are those of extract_score_3d.py.

    python benchmarks/baseline_evaluation.py --config_file RECORD --output scores.npy
"""

import io
import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import lmdb
import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.measuring import Parser
from benchmarks.peer_readers import capture_arrays
from dataset.build import read_evaluation_list
from dataset.sampling import spread_clips
from dataset.transforms.recipes import crop_position
from model.build import make_trained_network
from utils.config import RunConfig, load_config
from utils.config.network_names import IMAGENET

Images = list[Image.Image]


def capture_frames(path: Path, numbers: Sequence[int]) -> Images:
    """Read frames of a video file with OpenCV."""
    return [Image.fromarray(frame) for frame in capture_arrays(cv2.VideoCapture(str(path)), numbers)]


def open_frames(path: Path, numbers: Sequence[int]) -> Images:
    """Read frames of a folder of JPEGs."""
    return [Image.open(path / f"{number + 1:05d}.jpg").convert("RGB") for number in numbers]


def fetch_frames(path: Path, numbers: Sequence[int]) -> Images:
    """Read frames of an LMDB environment, which is opened for each call."""
    with lmdb.open(str(path), readonly=True, lock=False) as environment, environment.begin() as transaction:
        data = [transaction.get(b"%06d.jpg" % (number + 1)) or b"" for number in numbers]
    return [Image.open(io.BytesIO(jpeg)).convert("RGB") for jpeg in data]


FETCHERS = {"RAW": capture_frames, "FRAME": open_frames, "LMDB": fetch_frames}


def normalized(image: Image.Image) -> torch.Tensor:
    """Return an image as float32 [C, H, W], like torchvision's ToTensor and Normalize."""
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous().float().div(255)
    return pixels.sub_(torch.tensor(IMAGENET.mean).view(3, 1, 1)).div_(torch.tensor(IMAGENET.std).view(3, 1, 1))


class BaselineViews(Dataset[torch.Tensor]):
    """All views of a record's evaluation list as normalized floats [C, T, H, W]; the crop index varies slowest."""

    def __init__(self, config: RunConfig) -> None:
        """Read the record's evaluation list."""
        self.videos = read_evaluation_list(config)
        self.root = Path(config.dataset.eva_root_path)
        self.fetch = FETCHERS[config.dataset.format]
        self.crop_size = config.dataset.eva_crop_size
        self.clip_shape = config.evaluation_state.clip_shape
        self.shape = (config.dataset.eva_num_crop, len(self.videos), config.sampler.eva_num_clips)

    def __len__(self) -> int:
        """Return the number of views."""
        return int(np.prod(self.shape))

    def __getitem__(self, index: int) -> torch.Tensor:
        """Return a view, float32 [C, T, H, W]."""
        crop, video, clip = (int(number) for number in np.unravel_index(index, self.shape))
        record = self.videos[video]
        numbers = spread_clips(record.num_frames, self.clip_shape, num_clips=self.shape[2])[clip]
        images = self.fetch(self.root / record.path, numbers.tolist())
        return torch.stack([normalized(self._cut(image, crop)) for image in images], dim=1)

    def _cut(self, image: Image.Image, crop: int) -> Image.Image:
        size, short = self.crop_size, min(image.size)
        if short != size:
            width, height = (size * side // short for side in image.size)
            image = image.resize((width, height), Image.Resampling.BILINEAR)
        top, left = crop_position(image.height, image.width, size, crop_idx=crop)
        return image.crop((left, top, left + size, top + size))


def make_baseline_loader(config: RunConfig) -> DataLoader:
    """Return a loader of batches of views in the order of BaselineViews."""
    return DataLoader(
        BaselineViews(config), batch_size=config.states[-1].batch_size, num_workers=config.dataset.num_workers
    )


def extract_baseline(config: RunConfig) -> np.ndarray:
    """Return the logits, float32 [videos, clips, crops, classes]."""
    network = make_trained_network(config, config.eva_model).eval()
    loader, scores = make_baseline_loader(config), []
    with torch.no_grad():
        for clips in loader:
            scores.append(network.fuse(network(clips)))
    views = torch.cat(scores).unflatten(0, loader.dataset.shape)  # type: ignore[attr-defined]  # BaselineViews
    return views.permute(1, 2, 0, 3).numpy()


def main() -> None:
    """Extract and save the logits."""
    parser = Parser(__doc__)
    parser.add_argument("--config_file", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    np.save(options.output, extract_baseline(load_config(options.config_file)))


if __name__ == "__main__":
    main()
