"""torchvision's video networks with this project's interface.

Differences: the classifier is a new module with dropout, under torchvision's name, so that weight files fit; the last
pooling is global (torchvision's S3D pools over 2 x 7 x 7, which is global for 16 frames of 224 x 224); batch norm can
be frozen; the first convolution takes any number of channels. With the same weights the outputs are torchvision's.
"""

from collections.abc import Iterable
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from layers.convolutions import Conv3d, use_safe_convolutions
from layers.drop import DropPath, drop_rates
from layers.norm import make_freezable
from layers.pooling import POOLINGS
from layers.units import IMAGE_CHANNELS
from model.network import NetworkOptions, VideoNetwork
from utils.config.network_names import TORCHVISION, ClipLimits, NetworkName, clip_limits
from utils.errors import UserError
from utils.torchvision_import import import_torchvision

# Name of the classifier module, by the beginning of the network's name.
_CLASSIFIERS = {"r": "fc", "mc3": "fc", "s3d": "classifier.1", "mvit": "head.1", "swin3d": "head"}
# `VideoNetwork.stages` by the beginning of the network's name; those of mvit are its blocks.
_RESNET = ("stem", "layer1", "layer2", "layer3", "layer4")
_STAGES = {
    **dict.fromkeys(("r3d", "r2plus1d", "mc3"), _RESNET),
    "s3d": tuple(rf"features\.({pieces})\b" for pieces in ("0", "[23]", "[56]", "[89]|1[0-2]", "1[45]")),
    "swin3d": ("patch_embed", *(rf"features\.{pieces}" for pieces in ("0", "[12]", "[34]", "[56]|norm"))),
}
# Classes of the repeated blocks.
_BLOCKS = ("BasicBlock", "SepInceptionBlock3D", "MultiscaleBlock", "SwinTransformerBlock")


class DropoutLinear(nn.Linear):
    """A linear classifier with dropout on its input."""

    def __init__(self, in_features: int, out_features: int, *, dropout_ratio: float) -> None:
        """Build the classifier."""
        super().__init__(in_features, out_features)
        self.dropout_ratio = dropout_ratio

    def forward(self, x: Tensor) -> Tensor:
        """[N, in_features] -> [N, out_features]."""
        return super().forward(F.dropout(x, self.dropout_ratio, self.training))


class GlobalPool(nn.Module):
    """Global pooling that keeps time and space as axes of size 1."""

    def __init__(self, pooling_name: str) -> None:
        """Use the pooling of `layers.pooling.POOLINGS` with this name."""
        super().__init__()
        self.pool = POOLINGS[pooling_name]

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, T, H, W] -> [N, C, 1, 1, 1]."""
        return self.pool(x)[:, :, None, None, None]


class TorchvisionNetwork(VideoNetwork):
    """One of torchvision's video networks.

    Attributes:
        video: torchvision's module.
        limits: The clips that it accepts.
    """

    def __init__(self, backbone: str, options: NetworkOptions) -> None:
        """Build the network with random weights from torch's global generator."""
        super().__init__()
        settings: dict[str, Any] = {"num_classes": options.num_classes}
        if backbone.startswith(("s3d", "mvit")):  # the others have no dropout before the classifier
            settings["dropout"] = options.dropout_ratio
        self.video = getattr(import_torchvision().models.video, backbone)(weights=None, **settings)
        self.limits: ClipLimits = clip_limits(str(NetworkName(TORCHVISION, backbone)), options.early_stride)
        self.min_clip_frames = self.limits.min_frames
        blocks = [rf"blocks\.{number}\b" for number in range(len(getattr(self.video, "blocks", "")))]
        stages = _STAGES.get(backbone.split("_")[0]) or ("conv_proj|pos_encoding", *blocks[:-1], rf"{blocks[-1]}|norm")
        self.stages = tuple(rf"video\.(?:{start})" for start in stages)
        name = next(path for start, path in _CLASSIFIERS.items() if backbone.startswith(start))
        self.classifier_names = (f"video.{name}",)
        if name in ("fc", "head"):
            classifier = self.video.get_submodule(name)
            new = DropoutLinear(classifier.in_features, options.num_classes, dropout_ratio=options.dropout_ratio)
            new.load_state_dict(classifier.state_dict())  # torchvision's initialization
            setattr(self.video, name, new)
        if hasattr(self.video, "avgpool"):
            self.video.avgpool = GlobalPool(options.pooling_name)
        make_freezable(self.video)
        use_safe_convolutions(self.video)
        self.first = next(path for path, module in self.video.named_modules() if isinstance(module, nn.Conv3d))
        self._set_in_channels(options.in_channels)
        if options.stochastic_depth is not None:
            self._set_stochastic_depth(options.stochastic_depth)

    def _set_in_channels(self, in_channels: int) -> None:
        """Replace the first convolution by one for clips of `in_channels` channels."""
        conv = self.video.get_submodule(self.first)
        if in_channels == IMAGE_CHANNELS:
            return
        parent, _, name = self.first.rpartition(".")
        new = Conv3d(
            in_channels,
            conv.out_channels,
            conv.kernel_size,
            stride=conv.stride,
            padding=conv.padding,
            bias=conv.bias is not None,
        )
        setattr(self.video.get_submodule(parent), name, new)

    def _set_stochastic_depth(self, rate: float) -> None:
        """Set (transformers) or add stochastic depth in residual blocks, rising from 0 to `rate` at the last one."""
        blocks: list[Any] = list(self.repeated_blocks())
        for block, block_rate in zip(blocks, drop_rates(rate, len(blocks)), strict=True):
            if hasattr(block, "stochastic_depth"):
                block.stochastic_depth.p = block_rate
            elif hasattr(block, "conv2"):
                block.conv2.add_module("drop_path", DropPath(block_rate))

    def forward(self, clips: Tensor) -> tuple[Tensor, ...]:
        """Classify clips, [N, C, T, H, W] -> ([N, num_classes],)."""
        self.check_clips(clips)
        return (self.video(clips),)

    def check_clips(self, clips: Tensor) -> None:
        """Raise ValueError if the network does not accept the clips, [N, C, T, H, W]."""
        frames, height, width = clips.shape[2:]
        if not (self.limits.takes_frames(frames) and self.limits.takes_size(height) and self.limits.takes_size(width)):
            raise ValueError(f"a clip of {frames} frames of {height} x {width} does not fit: it takes {self.limits}")

    def repeated_blocks(self) -> Iterable[nn.Module]:
        """Return the residual, inception or transformer blocks."""
        return (module for module in self.video.modules() if type(module).__name__ in _BLOCKS)

    def released_name(self, name: str) -> str:
        """Return torchvision's name; the released code has no such networks."""
        return name.removeprefix("video.")

    def source_name(self, _name: str) -> str:
        """Raise UserError: these networks extend no known 2D network."""
        raise UserError("torchvision's video networks are not inflated from 2D networks; load a weight file of theirs")

    def adapt(self, name: str, tensor: Tensor) -> Tensor:
        """Average the first kernel over RGB if the clips have other channels (flow)."""
        if name != f"video.{self.first}.weight" or tensor.dim() != 5 or tensor.shape[1] != IMAGE_CHANNELS:
            return tensor
        channels = self.video.get_submodule(self.first).in_channels
        return tensor if channels == IMAGE_CHANNELS else tensor.mean(1, keepdim=True).repeat(1, channels, 1, 1, 1)
