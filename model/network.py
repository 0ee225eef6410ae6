"""What every network has, whatever its family."""

import re
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class NetworkOptions:
    """What a network is built for.

    Attributes:
        num_classes: Outputs of each classifier.
        early_stride: Frames that the stem takes to one.
        dropout_ratio: Dropout before each classifier.
        image_size: Height and width of a clip; ResNets take any size, whatever this says.
        pooling_name: How the last feature map becomes one vector, of utils.network_names.POOLING_NAMES.
        base_width: Channels of the first stage, 64 in the published networks.
        in_channels: Channels of a clip: 3 for colour, 2 for optical flow.
    """

    num_classes: int
    early_stride: int = 4
    dropout_ratio: float = 0.5
    image_size: int = 224
    pooling_name: str = "PoolingAverage"
    base_width: int = 64
    in_channels: int = 3


class VideoNetwork(nn.Module):
    """A network from clips to the logits of one or more classifiers.

    Attributes:
        classifier_names: Names of the classifier modules, in the order of the heads.
        released_rules: Regular expressions and their replacements that turn this project's names in the state dict
            into those of the paper's released code, which are torchvision's where it has the layer.
        min_clip_frames: Frames a clip must have.
    """

    classifier_names: ClassVar[tuple[str, ...]] = ("fc",)
    released_rules: ClassVar[tuple[tuple[str, str], ...]] = ()
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

    def check_clips(self, clips: Tensor) -> None:
        """Raise ValueError for clips that are too short."""
        frames = clips.shape[2]
        if frames < self.min_clip_frames:
            raise ValueError(f"a clip of {frames} frames is too short: the network needs {self.min_clip_frames}")

    @classmethod
    def released_name(cls, name: str) -> str:
        """Give the released code's name of an entry of the state dict."""
        for pattern, replacement in cls.released_rules:
            name = re.sub(pattern, replacement, name)
        return name

    @classmethod
    def source_name(cls, name: str) -> str:
        """Give the name, in the 2D network's state dict, of what an entry of the state dict is inflated from."""
        return cls.released_name(name)
