"""The table of network names, and the properties of networks that are known without building them. No torch.

A name is `<family>_<backbone>`: the family defines how the convolutions of a 2D network become spatio-temporal, the
backbone is the 2D network. `<backbone>` alone is the 2D network applied to every frame, `torchvision/<name>` one of
torchvision's video networks. The architectures of the released networks are in the tables of `model.registry`; the rows
of other networks name their constructors (docs/extending.md).
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

# The family of 2D networks applied to every frame; its names are those of the backbones.
FRAMES = ""
TORCHVISION = "torchvision"

# Temporal stride after the stem, and so the minimum frames there: the second head of DG pools four frames to one.
DUAL_HEAD_STRIDE = 4

# Channels of a ResNet's first stage in the published networks; other networks have their published widths at it.
PUBLISHED_WIDTH = 64

# Frames that torchvision's networks need: MViT has one clip length and size, S3D halves time three times.
MVIT_FRAMES, MVIT_SIZE = 16, 224
S3D_FRAMES = 5
# Minimum side of S3D's input, pixels: it halves the maps five times, the last time without padding.
S3D_SIZE = 17


@dataclass(frozen=True)
class Normalization:
    """The normalization of inputs: a value v of 0..1 becomes (v - mean) / std of its channel.

    Attributes:
        mean: One number per channel, of 0..1.
        std: One number per channel, above 0.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]


IMAGENET = Normalization((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
FLOW = Normalization((0.5, 0.5), (0.229, 0.229))
_KINETICS = Normalization((0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989))
_MVIT = Normalization((0.45, 0.45, 0.45), (0.225, 0.225, 0.225))
# The normalization of torchvision's published video weights; its Swin transformers have ImageNet's.
_OWN_NORMALIZATIONS = {
    **{f"{TORCHVISION}/{name}": _KINETICS for name in ("r3d_18", "mc3_18", "r2plus1d_18", "s3d")},
    **{f"{TORCHVISION}/{name}": _MVIT for name in ("mvit_v1_b", "mvit_v2_s")},
}

# The final poolings of a feature map to a vector (`network.pooling_name`).
POOLING_NAMES = ("PoolingAverage", "PoolingMax")
# The values of network.early_stride.
EARLY_STRIDES = (1, 2, 4)


class UnknownNetworkError(UserError):
    """No network has this name; the message lists similar ones."""


@dataclass(frozen=True)
class NetworkName:
    """The two parts of a network's name.

    Attributes:
        family: The kind of space-time convolution, e.g. "dg_p3d"; "" for frame by frame, "torchvision" for its
            networks.
        backbone: The 2D network it extends, e.g. "resnet50", the source of `model.inflate`; "" for S3D, which extends
            none; torchvision's own name for its networks.
    """

    family: str
    backbone: str

    def __str__(self) -> str:
        """Return the full name."""
        if self.family == TORCHVISION:
            return f"{TORCHVISION}/{self.backbone}"
        return "_".join(part for part in (self.family, self.backbone) if part)


@dataclass(frozen=True)
class ClipLimits:
    """The clips that a network accepts.

    Attributes:
        min_frames: Minimum number of frames.
        max_frames: Maximum number of frames; None: any.
        image_size: Required height and width, pixels; None: any.
        patch: Divisor of height and width, pixels.
        min_size: Minimum height and width, pixels.
    """

    min_frames: int = 1
    max_frames: int | None = None
    image_size: int | None = None
    patch: int = 1
    min_size: int = 1

    def __str__(self) -> str:
        """Return the limits in words."""
        frames = f"at least {self.min_frames} frame{'s' if self.min_frames > 1 else ''}"
        if self.max_frames is not None:
            frames = f"exactly {self.max_frames} frames"
        if self.image_size is not None:
            return f"{frames}, {self.image_size} x {self.image_size} pixels"
        if self.min_size > 1:
            return f"{frames}, sides of at least {self.min_size} pixels"
        return frames + (f", sides a multiple of {self.patch}" if self.patch > 1 else "")

    def takes_frames(self, frames: int) -> bool:
        """Return whether clips may have this many frames."""
        return self.min_frames <= frames and (self.max_frames is None or frames <= self.max_frames)

    def takes_size(self, size: int) -> bool:
        """Return whether clips may be size x size pixels."""
        fits = size >= self.min_size and size % self.patch == 0
        return fits and (self.image_size is None or size == self.image_size)


# Settings that not every network supports (`Row.lacks`).
POOLING, WIDTH, DEPTH, TRANSFER = "pooling_name", "base_width", "stochastic_depth", "transfer_weights"


@dataclass(frozen=True)
class Row:
    """A row of the table of networks: every family combined with every backbone.

    Attributes:
        families: Families, as in NetworkName.
        backbones: Backbones, as in NetworkName.
        home: For a network outside the tables of `model.registry`, the "module:name" of a model.resnet3d.Family for
            ResNets, of a model.resnet3d.Backbone for those families, or of a function from NetworkOptions to the
            network.
        strides: Minimum frames of a clip, in units of early_stride; 0: one frame, as no stem strides time.
        lacks: Unsupported settings among POOLING, WIDTH, DEPTH, TRANSFER; setting one is an error.
    """

    families: tuple[str, ...]
    backbones: tuple[str, ...] = ("",)
    home: str = ""
    strides: int = 1
    lacks: tuple[str, ...] = ()

    @property
    def names(self) -> "list[NetworkName]":
        """The names of the row's networks, family by family."""
        return [NetworkName(family, backbone) for family in self.families for backbone in self.backbones]


# The networks of the paper's released code; new networks do not go here.
RELEASED = (
    Row((FRAMES,), (*RESNETS, "resnext103_64x4d", *EFFICIENTNETS), strides=0),
    Row((FRAMES,), (*VITS, *DISTILLED_VITS), strides=0, lacks=(POOLING,)),
    Row(("seq",), (*EFFICIENTNETS, *RESNETS)),
    Row(("seq_p3d",), EFFICIENTNETS),
    Row(("c2d",), EFFICIENTNETS),
    Row(("c2d",), VITS, lacks=(POOLING,)),
    Row(("s3d",), home="model.s3d:S3D", strides=0, lacks=(DEPTH,)),
    Row(("s3dg",), home="model.s3d:S3DG", strides=0, lacks=(DEPTH,)),
    Row(("c2d", "i3d", "r2p1d", "p3d", "p3da", "p3db", "p3dc", "lgd_p3d"), RESNETS),
    Row(("dg_p3d",), (*RESNETS, "resnext103_64x4d"), strides=DUAL_HEAD_STRIDE),
)

# All other networks: torchvision's, and yours.
OTHERS: tuple[Row, ...] = (
    Row((TORCHVISION,), ("r3d_18", "mc3_18", "r2plus1d_18"), strides=0, lacks=(WIDTH, TRANSFER)),
    Row((TORCHVISION,), ("s3d",), strides=0, lacks=(WIDTH, DEPTH, TRANSFER)),
    Row((TORCHVISION,), ("mvit_v1_b", "mvit_v2_s"), strides=0, lacks=(WIDTH, POOLING, TRANSFER)),
    Row((TORCHVISION,), ("swin3d_t", "swin3d_s", "swin3d_b"), strides=0, lacks=(WIDTH, TRANSFER)),
)

_ROWS = {str(name): row for row in (*RELEASED, *OTHERS) for name in row.names}
_NAMES = {str(name): name for row in (*RELEASED, *OTHERS) for name in row.names}
# torchvision's names of its video networks.
TORCHVISION_VIDEO = tuple(name.backbone for name in _NAMES.values() if name.family == TORCHVISION)


def list_names(*, released: bool = False) -> list[str]:
    """List the names of networks, family by family.

    Args:
        released: Only the networks of the paper's released code.
    """
    return [str(name) for row in (RELEASED if released else (*RELEASED, *OTHERS)) for name in row.names]


def find_row(net_name: str) -> Row:
    """Return the row of the table that contains a network.

    Raises:
        UnknownNetworkError: No network has this name.
    """
    return _ROWS[str(parse_name(net_name))]


def parse_name(net_name: str) -> NetworkName:
    """Split a network's name into its parts.

    Raises:
        UnknownNetworkError: No network has this name.
    """
    if net_name not in _NAMES:
        near = difflib.get_close_matches(net_name, _NAMES, n=3, cutoff=0.5)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        families = ", ".join(dict.fromkeys(name.family or "frame by frame" for name in _NAMES.values()))
        raise UnknownNetworkError(f"no network is called {net_name!r}{hint} (families: {families})")
    return _NAMES[net_name]


def clip_limits(net_name: str, early_stride: int) -> ClipLimits:
    """Return the clips that a network accepts; a temporal stem, if it has one, has stride `early_stride`.

    Raises:
        UnknownNetworkError: No network has this name.
    """
    name = parse_name(net_name)
    if name.family == TORCHVISION and name.backbone.startswith("mvit"):
        return ClipLimits(min_frames=MVIT_FRAMES, max_frames=MVIT_FRAMES, image_size=MVIT_SIZE)
    if name == NetworkName(TORCHVISION, "s3d"):
        return ClipLimits(min_frames=S3D_FRAMES, min_size=S3D_SIZE)
    patch = int(name.backbone.rsplit("_p", 1)[1]) if name.backbone in (*VITS, *DISTILLED_VITS) else 1
    min_size = S3D_SIZE if name.family in ("s3d", "s3dg") else 1
    return ClipLimits(max(1, early_stride * find_row(net_name).strides), patch=patch, min_size=min_size)


def normalization(net_name: str, *, use_flow: bool) -> Normalization:
    """Return the normalization of a network's published weights or of its 2D network's, ImageNet's by default."""
    return FLOW if use_flow else _OWN_NORMALIZATIONS.get(net_name, IMAGENET)


def list_unsupported(
    net_name: str, *, pooling_name: str, base_width: int, stochastic_depth: float, image_size: int
) -> list[tuple[str, str]]:
    """List the settings that a network does not support, as (key, what is wrong and what to set instead).

    Raises:
        UnknownNetworkError: No network has this name.
    """
    lacks, limits = find_row(net_name).lacks, clip_limits(net_name, 1)
    found = []
    if POOLING in lacks and pooling_name != POOLING_NAMES[0]:
        found.append((POOLING, f"{net_name} classifies a token and has no final pooling; set {POOLING_NAMES[0]}"))
    if WIDTH in lacks and base_width != PUBLISHED_WIDTH:
        found.append((WIDTH, f"{net_name} has a fixed width; set {PUBLISHED_WIDTH}"))
    if DEPTH in lacks and stochastic_depth > 0:
        found.append((DEPTH, f"{net_name} has no residual branches to drop; set 0"))
    if not limits.takes_size(image_size):
        found.append(("image_size", f"{net_name} needs {limits}, not {image_size} x {image_size} pixels"))
    return found
