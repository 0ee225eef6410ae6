"""Mixing the clips of a batch: mixup and cutmix with soft targets, on the device."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional


@dataclass(frozen=True, slots=True)
class MixUp:
    """Mixes every clip of a batch with its mirror image in the batch, by mixup or by cutmix.

    Mixup (Zhang et al., 2018) adds the clips with weights lambda and 1 - lambda, cutmix (Yun et al., 2019) pastes a
    box of the other clip into all frames; which of the two is decided by a coin for each batch, and all clips of a
    batch share lambda and the box. Clip i is mixed with clip N - 1 - i, a random partner in a shuffled batch.

    Attributes:
        num_classes: Of the targets.
        mixup_alpha: Lambda of mixup is drawn from Beta(alpha, alpha).
        cutmix_alpha: The same for cutmix, where lambda is the part of the area that stays.
        cutmix_probability: That a batch is mixed by cutmix.
        smoothing: Part of a target that is spread evenly over all classes.
    """

    num_classes: int
    mixup_alpha: float = 0.8
    cutmix_alpha: float = 1.0
    cutmix_probability: float = 0.5
    smoothing: float = 0.1

    def __call__(
        self, clips: torch.Tensor, labels: torch.Tensor, generator: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Draws and mixes; neither argument is changed.

        Args:
            clips: float [N, C, T, H, W].
            labels: int64 [N].
            generator: Of any device; one number is drawn from it, whatever is mixed.

        Returns:
            Mixed clips [N, C, T, H, W], and targets, float32 [N, num_classes], each of sum 1.
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
    """Draws a box (top, left, bottom, right) of the frame's shape and about 1 - kept of its area.

    Its center is drawn evenly from the frame, and what lies outside is cut off, so the box may be smaller (or empty).
    """
    ratio = math.sqrt(1 - kept)
    box_height, box_width = int(height * ratio), int(width * ratio)
    top, left = int(rng.integers(height)) - box_height // 2, int(rng.integers(width)) - box_width // 2
    return max(top, 0), max(left, 0), min(top + box_height, height), min(left + box_width, width)


def cutmix(clips: torch.Tensor, box: tuple[int, int, int, int]) -> tuple[torch.Tensor, float]:
    """Pastes a box (top, left, bottom, right) of the batch in reverse order [N, C, T, H, W] into the batch.

    Returns:
        The new batch, and the part of its area that is not pasted.
    """
    top, left, bottom, right = box
    mixed = clips.clone()
    mixed[..., top:bottom, left:right] = clips[..., top:bottom, left:right].flip(0)
    height, width = clips.shape[3:]
    return mixed, 1 - (bottom - top) * (right - left) / (height * width)


def smooth_targets(labels: torch.Tensor, *, num_classes: int, smoothing: float) -> torch.Tensor:
    """Soft targets, float32 [N, num_classes]: 1 - smoothing for the label and `smoothing` spread over all classes."""
    hard = functional.one_hot(labels, num_classes).to(torch.float32)
    return hard * (1 - smoothing) + smoothing / num_classes
