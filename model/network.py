"""What every network has, whatever its family."""

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
    """What a network is built for: the arguments of `model.create_model` that say so, and mean what it says there."""

    num_classes: int
    early_stride: int
    dropout_ratio: float
    image_size: int
    pooling_name: str
    base_width: int
    in_channels: int
    stochastic_depth: float | None


class VideoNetwork(nn.Module):
    """A network from clips to the logits of one or more classifiers.

    Attributes:
        classifier_names: Names of the classifier modules, in the order of the heads.
        released_rules: Regular expressions and their replacements that turn this project's names in the state dict
            into those of the paper's released code, which are torchvision's where it has the layer.
        classifier_extras: Modules that files of others have beside their classifier and as a part of it.
        without_source: Regular expression for the released names of entries that a 2D network has nothing for.
        min_clip_frames: Frames a clip must have.
        stages: Regular expressions for the beginnings of parameters' names, one for each stage, from the input on;
            together they know all but the classifiers'.
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
            clips: Normalised clips, float [N, C, T, H, W].

        Returns:
            The logits of each head, [N, num_classes] each, in training and evaluation alike.

        Raises:
            ValueError: The clips have fewer than `min_clip_frames` frames.
        """
        raise NotImplementedError

    def fuse(self, heads: tuple[Tensor, ...]) -> Tensor:
        """Make one score, [N, num_classes], of the heads' logits: their mean."""
        return torch.stack(heads).mean(dim=0)

    def repeated_blocks(self) -> Iterable[nn.Module]:
        """Give the blocks that most of the network is made of; activation checkpointing takes them one by one."""
        raise NotImplementedError

    def stage_of(self, name: str) -> int:
        """Return the stage of a parameter or module, from 0; for classifiers the number of stages."""
        return next((number for number, start in enumerate(self.stages) if re.match(start, name)), len(self.stages))

    def freeze(self, num_stages: int) -> None:
        """Train the first stages no more: neither their weights nor the running statistics of their norms.

        Raises:
            UserError: There are not so many stages.
        """
        if num_stages > len(self.stages):
            raise UserError(f"optimizer.frozen_stages: found {num_stages}, the network has {len(self.stages)} stages")
        for name, weight in self.named_parameters():
            if self.stage_of(name) < num_stages:
                weight.requires_grad_(False)
        freeze_batch_norm(module for name, module in self.named_modules() if name and self.stage_of(name) < num_stages)

    def check_clips(self, clips: Tensor) -> None:
        """Raise ValueError for clips that are too short."""
        frames = clips.shape[2]
        if frames < self.min_clip_frames:
            raise ValueError(f"a clip of {frames} frames is too short: the network needs {self.min_clip_frames}")

    def released_name(self, name: str) -> str:
        """Give the released code's name of an entry of the state dict."""
        return rename(name, self.released_rules)

    def released_names(self, name: str) -> tuple[str, ...]:
        """Give all names under which the released code lists an entry; where they differ, the last one counts."""
        return (self.released_name(name),)

    def source_name(self, name: str) -> str:
        """Give the released name, in the 2D network's state dict, of what an entry of the state dict is inflated from.

        The 2D networks' names are torchvision's (ResNet), and those of the public networks that the released code took
        over otherwise.
        """
        return self.released_name(name)

    def torchvision_name(self, released: str) -> str:
        """Give torchvision's name of an entry of a state dict, from its released name."""
        return released

    def public_names(self, _released: str) -> tuple[str, ...]:
        """Give an entry's name in each further kind of public file, as many for every entry, from its released name."""
        return ()

    def adapt(self, _name: str, tensor: Tensor) -> Tensor:
        """Bring a tensor from a file to the shape of this entry where the two may differ: nowhere, here."""
        return tensor


def rename(name: str, rules: Iterable[tuple[str, str]]) -> str:
    """Apply regular expressions and their replacements one after the other."""
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name


class FrameNetwork(VideoNetwork):
    """Any image network on every frame by itself, or on every piece of a few frames; scores are the frames' mean.

    Attributes:
        image: From images, [M, C, H, W] (pieces: [M, C, s, H, W]), to the logits of each head.
    """

    def __init__(self, image: VideoNetwork, *, frames_per_image: int = 0) -> None:
        """Wrap an image network.

        Args:
            image: The network; its attributes are those of a VideoNetwork.
            frames_per_image: 0 for single frames, s for pieces of s frames.
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
        """Classify clips, [N, C, T, H, W] -> one [N, num_classes] for each head of the image network."""
        self.check_clips(clips)
        images = fold_frames(clips, frames_per_image=self.frames_per_image)
        return tuple(logits.unflatten(0, (clips.shape[0], -1)).mean(dim=1) for logits in self.image(images))

    def repeated_blocks(self) -> Iterable[nn.Module]:
        """Give the image network's blocks."""
        return self.image.repeated_blocks()

    def released_name(self, name: str) -> str:
        """Give the image network's released name."""
        return self.image.released_name(name.removeprefix("image."))

    def torchvision_name(self, released: str) -> str:
        """Give the image network's torchvision name."""
        return self.image.torchvision_name(released)

    def public_names(self, released: str) -> tuple[str, ...]:
        """Give the image network's names."""
        return self.image.public_names(released)

    def adapt(self, name: str, tensor: Tensor) -> Tensor:
        """Leave it to the image network."""
        return self.image.adapt(name.removeprefix("image."), tensor)
