"""The base class of all networks, and the network that applies an image network to frames."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from layers.frames import fold_frames
from layers.norm import freeze_batch_norm
from utils.errors import UserError


@dataclass(frozen=True)
class NetworkOptions:
    """The arguments of `model.create_model` that a network is built from; see there."""

    num_classes: int
    early_stride: int
    dropout_ratio: float
    image_size: int
    pooling_name: str
    base_width: int
    in_channels: int
    stochastic_depth: float | None


class VideoNetwork(nn.Module):
    """A network that maps clips to the logits of one or more classifiers (heads).

    Attributes:
        stages: Regular expressions that match the beginning of parameter names, one per stage, in order from the input;
            together they match all parameters but those of the classifiers.
        classifier_names: Names of the classifier modules, in the order of the heads.
        classifier_extras: Further modules that belong to the classifier in other projects' files.
        released_rules: Pairs of regular expression and replacement, applied in order, that map names of this project's
            state dict to those of the paper's released code, which are torchvision's where it has the layer.
        without_source: Regular expression that matches the released names of entries without a counterpart in the 2D
            network.
        min_clip_frames: Least number of frames of a clip.
    """

    stages: tuple[str, ...] = ()
    classifier_names: tuple[str, ...] = ("fc",)
    classifier_extras: tuple[str, ...] = ()
    released_rules: ClassVar[tuple[tuple[str, str], ...]] = ()
    without_source: str = r"\bfc"
    min_clip_frames: int

    def forward(self, clips: Tensor) -> tuple[Tensor, ...]:
        """Classify clips.

        Args:
            clips: Normalized clips, float [N, C, T, H, W].

        Returns:
            The logits of each head, [N, num_classes] each, in training and in evaluation mode.

        Raises:
            ValueError: The clips have fewer than `min_clip_frames` frames.
        """
        raise NotImplementedError

    def fuse(self, heads: tuple[Tensor, ...]) -> Tensor:
        """Return the mean of the heads' logits, [N, num_classes]."""
        return torch.stack(heads).mean(dim=0)

    def repeated_blocks(self) -> Iterable[nn.Module]:
        """Return the repeated blocks that make up most of the network, the units of activation checkpointing."""
        raise NotImplementedError

    def stage_of(self, name: str) -> int:
        """Return the index of the stage of a parameter or module; for classifiers the number of stages."""
        return next((number for number, start in enumerate(self.stages) if re.match(start, name)), len(self.stages))

    def freeze(self, num_stages: int) -> None:
        """Freeze the weights of the first `num_stages` stages and the running statistics of their norms.

        Raises:
            UserError: The network has fewer stages.
        """
        if num_stages > len(self.stages):
            raise UserError(f"optimizer.frozen_stages: found {num_stages}, the network has {len(self.stages)} stages")
        for name, weight in self.named_parameters():
            if self.stage_of(name) < num_stages:
                weight.requires_grad_(False)
        freeze_batch_norm(module for name, module in self.named_modules() if name and self.stage_of(name) < num_stages)

    def check_clips(self, clips: Tensor) -> None:
        """Raise ValueError if clips, [N, C, T, H, W], have too few frames."""
        frames = clips.shape[2]
        if frames < self.min_clip_frames:
            raise ValueError(f"a clip of {frames} frames is too short: the network needs {self.min_clip_frames}")

    def released_name(self, name: str) -> str:
        """Return the released code's name of an entry of the state dict."""
        return rename(name, self.released_rules)

    def released_names(self, name: str) -> tuple[str, ...]:
        """Return all names of an entry in the released code's files; if their tensors differ, the last name counts."""
        return (self.released_name(name),)

    def source_name(self, name: str) -> str:
        """Return the released name, in the 2D network's state dict, of what an entry is inflated from.

        Released names of 2D networks are torchvision's (ResNet), otherwise those of the public network that the
        released code took over.
        """
        return self.released_name(name)

    def torchvision_name(self, released: str) -> str:
        """Return torchvision's name of an entry of the state dict, from its released name."""
        return released

    def public_names(self, _released: str) -> tuple[str, ...]:
        """Return an entry's name in each further kind of public file, one per kind, from its released name."""
        return ()

    def adapt(self, _name: str, tensor: Tensor) -> Tensor:
        """Convert a tensor from a file to the shape of entry `_name`, if shapes may differ; by default they may not."""
        return tensor


def rename(name: str, rules: Iterable[tuple[str, str]]) -> str:
    """Apply pairs of regular expression and replacement to `name`, in order."""
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name


class FrameNetwork(VideoNetwork):
    """Applies an image network to every frame, or to every piece of a few frames, and averages the logits.

    Attributes:
        image: The image network; maps images [M, C, H, W] (pieces: [M, C, s, H, W]) to the logits of each head.
    """

    def __init__(self, image: VideoNetwork, *, frames_per_image: int = 0) -> None:
        """Wrap an image network.

        Args:
            image: The image network.
            frames_per_image: 0 for single frames, s for pieces of s consecutive frames.
        """
        super().__init__()
        self.image = image
        self.frames_per_image = frames_per_image
        self.min_clip_frames = max(1, frames_per_image)
        self.classifier_names = tuple(f"image.{name}" for name in image.classifier_names)
        self.classifier_extras = image.classifier_extras
        self.without_source = image.without_source
        self.stages = tuple(rf"image\.(?:{start})" for start in image.stages)

    def forward(self, clips: Tensor) -> tuple[Tensor, ...]:
        """Classify clips, [N, C, T, H, W] -> the logits of each head of the image network, [N, num_classes] each."""
        self.check_clips(clips)
        images = fold_frames(clips, frames_per_image=self.frames_per_image)
        return tuple(logits.unflatten(0, (clips.shape[0], -1)).mean(dim=1) for logits in self.image(images))

    def repeated_blocks(self) -> Iterable[nn.Module]:
        """Return the image network's blocks."""
        return self.image.repeated_blocks()

    def released_name(self, name: str) -> str:
        """Return the image network's released name."""
        return self.image.released_name(name.removeprefix("image."))

    def torchvision_name(self, released: str) -> str:
        """Return the image network's torchvision name."""
        return self.image.torchvision_name(released)

    def public_names(self, released: str) -> tuple[str, ...]:
        """Return the image network's public names."""
        return self.image.public_names(released)

    def adapt(self, name: str, tensor: Tensor) -> Tensor:
        """Convert a tensor as the image network does."""
        return self.image.adapt(name.removeprefix("image."), tensor)
