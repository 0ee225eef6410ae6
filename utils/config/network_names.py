"""The names a record may give as `net_name`, and what can be said of them without building a network.

A name is `<family>_<backbone>`: the family says how a 2D network's convolutions become space-time ones, the backbone
which 2D network it is. `<backbone>` alone is that 2D network on every frame, `torchvision/<name>` one of torchvision's
video networks. The architectures themselves are the tables of `model.registry`. This module needs no torch.
"""

import difflib
from dataclasses import dataclass

from utils.errors import UserError

RESNETS = (
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet103",
    "resnet152",
    "resnext50_32x4d",
    "resnext101_32x8d",
    "wide_resnet50_2",
    "wide_resnet101_2",
)

EFFICIENTNETS = tuple(f"eftnet_b{number}" for number in range(9))
VITS = ("vit_t_p16", "vit_s_p16", "vit_b_p16", "vit_b_p32", "vit_l_p16", "vit_l_p32")
DISTILLED_VITS = ("vit_deit_t_p16", "vit_deit_s_p16", "vit_deit_b_p16")

# The family of the 2D networks themselves, run on every frame; its names are the backbones'.
FRAMES = ""
TORCHVISION = "torchvision"

# Which family comes with which backbones.
_GRID = (
    ((FRAMES,), (*RESNETS, "resnext103_64x4d", *EFFICIENTNETS, *VITS, *DISTILLED_VITS)),
    (("seq",), (*EFFICIENTNETS, *RESNETS)),
    (("seq_p3d",), EFFICIENTNETS),
    (("c2d",), (*EFFICIENTNETS, *VITS)),
    (("s3d", "s3dg"), ("",)),
    (("c2d", "i3d", "r2p1d", "p3d", "p3da", "p3db", "p3dc", "lgd_p3d"), RESNETS),
    (("dg_p3d",), (*RESNETS, "resnext103_64x4d")),
)
# torchvision's video networks, in `torchvision/<name>`.
TORCHVISION_VIDEO = (
    "r3d_18",
    "mc3_18",
    "r2plus1d_18",
    "s3d",
    "mvit_v1_b",
    "mvit_v2_s",
    "swin3d_t",
    "swin3d_s",
    "swin3d_b",
)

# Temporal stride behind the stem, and so the frames a clip must have there: the second head of DG pools four to one.
DUAL_HEAD_STRIDE = 4
_LATE_STRIDES = {"dg_p3d": DUAL_HEAD_STRIDE}

# Channels of a ResNet's first stage in the published networks; the widths of other networks are for the same value.
PUBLISHED_WIDTH = 64

# Frames that torchvision's networks need: MViT is made for one length and size of clips, S3D halves time three times.
MVIT_FRAMES, MVIT_SIZE = 16, 224
S3D_FRAMES = 5


@dataclass(frozen=True)
class Normalization:
    """What weights were trained on: a value v of 0..1 becomes (v - mean) / std of its channel.

    Attributes:
        mean: One number a channel, of 0..1.
        std: One number a channel, above 0.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]


IMAGENET = Normalization((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
FLOW = Normalization((0.5, 0.5), (0.229, 0.229))
_KINETICS = Normalization((0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989))
_MVIT = Normalization((0.45, 0.45, 0.45), (0.225, 0.225, 0.225))
# torchvision's published video weights were trained with these; its Swin transformers with ImageNet's.
_OWN_NORMALIZATIONS = {
    **{f"{TORCHVISION}/{name}": _KINETICS for name in ("r3d_18", "mc3_18", "r2plus1d_18", "s3d")},
    **{f"{TORCHVISION}/{name}": _MVIT for name in ("mvit_v1_b", "mvit_v2_s")},
}

# How the last feature map becomes one vector (`network.pooling_name`).
POOLING_NAMES = ("PoolingAverage", "PoolingMax")


class UnknownNetworkError(UserError):
    """No network has this name; the message lists the nearest ones."""


@dataclass(frozen=True)
class NetworkName:
    """A network's name in its two parts.

    Attributes:
        family: How space and time are convolved, e.g. "dg_p3d"; "" for frame by frame, "torchvision" for its networks.
        backbone: The 2D network it extends, e.g. "resnet50", the source of `model.inflate`; "" for S3D, which extends
            none; torchvision's own name for its networks.
    """

    family: str
    backbone: str

    def __str__(self) -> str:
        if self.family == TORCHVISION:
            return f"{TORCHVISION}/{self.backbone}"
        return "_".join(part for part in (self.family, self.backbone) if part)


@dataclass(frozen=True)
class ClipLimits:
    """What clips a network takes.

    Attributes:
        min_frames: Fewest frames.
        max_frames: Most frames; None: any number.
        image_size: The one height and width; None: any.
        patch: Height and width are multiples of this.
    """

    min_frames: int = 1
    max_frames: int | None = None
    image_size: int | None = None
    patch: int = 1

    def __str__(self) -> str:
        frames = f"at least {self.min_frames} frame{'s' if self.min_frames > 1 else ''}"
        if self.max_frames is not None:
            frames = f"exactly {self.max_frames} frames"
        if self.image_size is not None:
            return f"{frames}, {self.image_size} x {self.image_size} pixels"
        return frames + (f", sides a multiple of {self.patch}" if self.patch > 1 else "")

    def takes_frames(self, frames: int) -> bool:
        """Say whether clips may have this many frames."""
        return self.min_frames <= frames and (self.max_frames is None or frames <= self.max_frames)

    def takes_size(self, size: int) -> bool:
        """Say whether clips may be size x size pixels."""
        return (self.image_size is None or size == self.image_size) and size % self.patch == 0


_RELEASED = [
    NetworkName(family, backbone) for families, backbones in _GRID for family in families for backbone in backbones
]
_NAMES = {str(name): name for name in (*_RELEASED, *(NetworkName(TORCHVISION, name) for name in TORCHVISION_VIDEO))}


def list_names() -> list[str]:
    """List the names of the paper's released code, family by family."""
    return [str(name) for name in _RELEASED]


def list_all_names() -> list[str]:
    """List every name a record may give: the released ones and torchvision's."""
    return list(_NAMES)


def parse_name(net_name: str) -> NetworkName:
    """Split a network's name into its parts.

    Raises:
        UnknownNetworkError: No network has this name.
    """
    if net_name not in _NAMES:
        near = difflib.get_close_matches(net_name, _NAMES, n=3, cutoff=0.5)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        raise UnknownNetworkError(f"no network is called {net_name!r}{hint} (families: {_families()})")
    return _NAMES[net_name]


def clip_limits(net_name: str, early_stride: int) -> ClipLimits:
    """Give the clips that a network takes, whose stem, if it has such a one, takes `early_stride` frames to one.

    Raises:
        UnknownNetworkError: No network has this name.
    """
    name = parse_name(net_name)
    if name.backbone.startswith("mvit"):
        return ClipLimits(min_frames=MVIT_FRAMES, max_frames=MVIT_FRAMES, image_size=MVIT_SIZE)
    if name == NetworkName(TORCHVISION, "s3d"):
        return ClipLimits(min_frames=S3D_FRAMES)
    patch = int(name.backbone.rsplit("_p", 1)[1]) if name.backbone.startswith("vit_") else 1
    if name.family in (FRAMES, "s3d", "s3dg", TORCHVISION):
        return ClipLimits(patch=patch)
    return ClipLimits(min_frames=early_stride * _LATE_STRIDES.get(name.family, 1), patch=patch)


def normalization(net_name: str, *, use_flow: bool) -> Normalization:
    """Give the numbers that the published weights of a network, those of its 2D network or none, were trained with."""
    return FLOW if use_flow else _OWN_NORMALIZATIONS.get(net_name, IMAGENET)


def min_clip_frames(net_name: str, early_stride: int) -> int:
    """Give the fewest frames of `clip_limits`.

    Raises:
        UnknownNetworkError: No network has this name.
    """
    return clip_limits(net_name, early_stride).min_frames


def is_inflatable(net_name: str) -> bool:
    """Say whether a network extends a 2D network, whose weights `model.inflate` transfers.

    Raises:
        UnknownNetworkError: No network has this name.
    """
    return parse_name(net_name).family != TORCHVISION


def list_refusals(
    net_name: str, *, pooling_name: str, base_width: int, stochastic_depth: float, image_size: int
) -> list[tuple[str, str]]:
    """List the settings that a network does not have, as (key, what is wrong and what to set instead).

    Raises:
        UnknownNetworkError: No network has this name.
    """
    name = parse_name(net_name)
    limits = clip_limits(net_name, 1)
    found = []
    if name.backbone.startswith(("vit_", "mvit")) and pooling_name != POOLING_NAMES[0]:
        found.append(("pooling_name", f"{net_name} classifies a token, it has no last pooling; set {POOLING_NAMES[0]}"))
    if name.family == TORCHVISION and base_width != PUBLISHED_WIDTH:
        found.append(("base_width", f"{net_name} has one width; set {PUBLISHED_WIDTH}"))
    if stochastic_depth > 0 and (name.family in ("s3d", "s3dg") or name.backbone == "s3d"):
        found.append(("stochastic_depth", f"{net_name} has no residual branches to leave out; set 0"))
    if not limits.takes_size(image_size):
        found.append(("image_size", f"{net_name} needs {limits}, not {image_size} x {image_size} pixels"))
    return found


def _families() -> str:
    families = dict.fromkeys(name.family for name in _NAMES.values())
    return ", ".join(family or "frame by frame" for family in families)
