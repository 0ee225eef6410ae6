"""Optical flow between consecutive frames, as two gray JPEGs (x and y) for each frame but the last."""

import functools
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch.nn import functional

from dataset.prepare.annotations import PrepareError
from dataset.prepare.converting.encoders import Encoded, PictureEncoder
from dataset.prepare.converting.sources import Footage
from dataset.writers.encoding import encode_jpeg
from dataset.writers.shrinking import shrink
from utils.torchvision_import import import_torchvision
from utils.training.checkpoint import load_tensors

# RAFT computes correlations at 1/8 of the input size, with a pyramid down to 1/8 of that, which must have two pixels.
_RAFT_STEP, _RAFT_LEAST = 8, 128

# Maps two frames, uint8 [H, W, 3], to the displacement of every pixel, float32 [H, W, 2], (x, y) in pixels.
Method = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowEncoder(PictureEncoder):
    """Encodes the flow of each pair of consecutive frames as two gray JPEGs; the result has one frame less.

    A displacement v, in pixels, is stored as (v + bound) / (2 bound) x 255, rounded and clipped to 0..255.

    Attributes:
        bound: Largest displacement that can be stored, pixels.
        method: dis, farneback, raft_small or raft_large.
        weights: For RAFT: file with the state dict of torchvision's network.
        device: For RAFT: device of the network.
    """

    bound: float
    method: str
    weights: str = ""
    device: str = "cpu"
    use_flow: bool = True

    def encode(self, footage: Footage, *, sample: int) -> Encoded:
        """Encode the flow of all pairs of consecutive frames; see `PictureEncoder`."""
        encoded = Encoded()
        method = make_method(self.method, self.weights, self.device)
        pairs = itertools.pairwise(shrink(footage.frames, self.short_side))
        fields = (quantize(method(before, after), self.bound) for before, after in pairs)
        for field in encoded.keeping(fields, wanted=sample):
            encoded.parts += [encode_jpeg(field[:, :, axis], self.quality) for axis in (0, 1)]
        return encoded


def quantize(field: np.ndarray, bound: float) -> np.ndarray:
    """Quantize displacements, float [H, W, 2], to uint8: -bound is 0, +bound is 255."""
    return np.clip(np.rint((field + bound) * (255 / (2 * bound))), 0, 255).astype(np.uint8)


@functools.lru_cache(maxsize=1)
def make_method(name: str, weights: str, device: str) -> Method:
    """Return a flow method by name.

    Raises:
        PrepareError: RAFT without a GPU that was requested, or without a matching weight file.
    """
    if name == "dis":
        dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        return lambda before, after: dis.calc(_gray(before), _gray(after), None)  # type: ignore[call-overload]
    if name == "farneback":
        return _farneback
    return _Raft(name, Path(weights), torch.device(device))


def _gray(frame: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(np.ascontiguousarray(frame), cv2.COLOR_RGB2GRAY)


def _farneback(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    flow = np.zeros((*before.shape[:2], 2), dtype=np.float32)
    return cv2.calcOpticalFlowFarneback(_gray(before), _gray(after), flow, 0.5, 3, 15, 3, 5, 1.2, 0)


class _Raft:
    """torchvision's RAFT (Teed & Deng, 2020)."""

    def __init__(self, name: str, weights: Path, device: torch.device) -> None:
        import_torchvision()
        from torchvision.models import optical_flow  # once import_torchvision has prepared it

        if device.type == "cuda" and not torch.cuda.is_available():
            raise PrepareError("--device cuda: there is no GPU that torch can use here")
        network = getattr(optical_flow, name)(weights=None, progress=False)
        if not weights.is_file():
            raise PrepareError(
                f"{name} needs --weights FILE, a state dict of torchvision's {name}; no file '{weights}'"
            )
        try:
            network.load_state_dict(load_tensors(weights))
        except RuntimeError as error:  # names or shapes do not match the network's
            cause = " ".join(str(error).split())[:120]
            raise PrepareError(f"{weights} holds no weights of {name}: {cause}") from None
        self._network = network.eval().to(device)
        self._device = device

    def __call__(self, before: np.ndarray, after: np.ndarray) -> np.ndarray:
        height, width = before.shape[:2]
        pair = [self._tensor(frame) for frame in (before, after)]
        with torch.inference_mode():
            flow = self._network(*pair)[-1][0, :, :height, :width]
        return flow.permute(1, 2, 0).float().cpu().numpy()

    def _tensor(self, frame: np.ndarray) -> torch.Tensor:
        """Return a frame as float [1, 3, H, W] in -1..1, with replicated edges up to a size that the network takes."""
        pixels = torch.from_numpy(np.ascontiguousarray(frame)).to(self._device).permute(2, 0, 1)[None]
        sides = [max(-(-side // _RAFT_STEP) * _RAFT_STEP, _RAFT_LEAST) for side in frame.shape[:2]]
        padding = (0, sides[1] - frame.shape[1], 0, sides[0] - frame.shape[0])
        return functional.pad(pixels.float() / 127.5 - 1, padding, mode="replicate")
