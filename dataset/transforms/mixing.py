"""Mixup and cutmix of the clips of a batch, with soft targets, on the device."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional


@dataclass(frozen=True, slots=True)
class MixUp:
    """Applies mixup or cutmix to a batch.

    Mixup (Zhang et al., 2018) adds two clips with weights lambda and 1 - lambda; cutmix (Yun et al., 2019) pastes a box
    of the other clip into all frames. Each batch draws one of the two, and its clips share lambda and the box. Clip i
    is mixed with clip N - 1 - i, a random partner in a shuffled batch.

    Attributes:
        num_classes: Number of classes of the targets.
        mixup_alpha: Mixup draws lambda from Beta(alpha, alpha).
        cutmix_alpha: The same for cutmix, where lambda is the fraction of the area that is kept.
        cutmix_probability: Probability that a batch is mixed by cutmix.
        smoothing: Label smoothing: the fraction of a target that is spread evenly over all classes.
    """

    num_classes: int
    mixup_alpha: float = 0.8
    cutmix_alpha: float = 1.0
    cutmix_probability: float = 0.5
    smoothing: float = 0.1

    def __call__(
        self, clips: torch.Tensor, labels: torch.Tensor, generator: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Mix a batch; the arguments are not changed.

        Args:
            clips: float [N, C, T, H, W].
            labels: int64 [N].
            generator: Generator on any device; exactly one number is drawn from it.

        Returns:
            Mixed clips [N, C, T, H, W] and targets, float32 [N, num_classes], each of sum 1.
        """
        seed = torch.randint(2**63 - 1, (), generator=generator, device=generator.device).item()
        rng = np.random.default_rng(int(seed))
        if rng.random() < self.cutmix_probability:
            box = draw_box(*clips.shape[3:], kept=rng.beta(self.cutmix_alpha, self.cutmix_alpha), rng=rng)
            mixed, kept = cutmix(clips, box)
        else:
            kept = rng.beta(self.mixup_alpha, self.mixup_alpha)
            mixed = torch.lerp(clips.flip(0), clips, kept)
        targets = smooth_targets(labels, num_classes=self.num_classes, smoothing=self.smoothing)
        return mixed, torch.lerp(targets.flip(0), targets, kept)


def draw_box(height: int, width: int, *, kept: float, rng: np.random.Generator) -> tuple[int, int, int, int]:
    """Draw a box (top, left, bottom, right) with the frame's aspect ratio and about 1 - kept of its area.

    The center is uniform over the frame and the box is clipped to the frame, so it may be smaller (or empty).
    """
    ratio = math.sqrt(1 - kept)
    box_height, box_width = int(height * ratio), int(width * ratio)
    top, left = int(rng.integers(height)) - box_height // 2, int(rng.integers(width)) - box_width // 2
    return max(top, 0), max(left, 0), min(top + box_height, height), min(left + box_width, width)


def cutmix(clips: torch.Tensor, box: tuple[int, int, int, int]) -> tuple[torch.Tensor, float]:
    """Paste a box (top, left, bottom, right) of clip N - 1 - i into clip i of a batch [N, C, T, H, W].

    Returns:
        The new batch, and the fraction of its area that is kept.
    """
    top, left, bottom, right = box
    mixed = clips.clone()
    mixed[..., top:bottom, left:right] = clips[..., top:bottom, left:right].flip(0)
    height, width = clips.shape[3:]
    return mixed, 1 - (bottom - top) * (right - left) / (height * width)


def smooth_targets(labels: torch.Tensor, *, num_classes: int, smoothing: float) -> torch.Tensor:
    """Return label-smoothed targets, float32 [N, num_classes]: one-hot x (1 - smoothing) + smoothing / num_classes."""
    hard = functional.one_hot(labels, num_classes).to(torch.float32)
    return hard * (1 - smoothing) + smoothing / num_classes
