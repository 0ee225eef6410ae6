"""Vision transformers (Dosovitskiy et al., ICLR 2021) on images and on tubelets of a few frames.

The images' networks are torchvision's and timm's, whose weights they take under their names, and those of DeiT with a
distillation token. Position embeddings are resized, in files and at run time, where an image has another size than they
are for.
"""

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from layers.convolutions import Conv2d, Conv3d
from layers.drop import DropPath, drop_rates
from layers.units import Conv, Inflatable, inflate_first_kernel
from model.network import NetworkOptions, VideoNetwork, rename
from utils.config.network_names import PUBLISHED_WIDTH


@dataclass(frozen=True)
class VitConfig:
    """The numbers of a transformer.

    Attributes:
        width: Channels of a token.
        depth: Blocks.
        heads: Attention heads of a block.
        patch: Height and width of a patch, pixels.
        mlp_ratio: Width inside the fully connected part of a block, in widths.
        has_qkv_bias: Queries, keys and values have a bias.
        is_distilled: A second token with a classifier of its own.
        is_scaled_by_width: Attention divides by the root of a token's width in place of that of a head's.
    """

    width: int
    depth: int
    heads: int
    patch: int
    mlp_ratio: int = 4
    has_qkv_bias: bool = True
    is_distilled: bool = False
    is_scaled_by_width: bool = False


class PatchEmbedding(Inflatable):
    """A token of every patch, [N, C, (s,) H, W] -> [N, h, w, width]; tubelets have s frames."""

    kernel_name = "proj.weight"

    def __init__(self, in_channels: int, width: int, *, patch: int, tubelet: int) -> None:
        """Make the embedding of patch x patch pixels, of `tubelet` frames (0: of an image)."""
        super().__init__()
        if tubelet:
            size = (tubelet, patch, patch)
            self.proj: Conv = Conv3d(in_channels, width, size, stride=size)
        else:
            self.proj = Conv2d(in_channels, width, patch, stride=patch)
        self.shape_2d = (width, 3, patch, patch)
        self.patch = patch

    def forward(self, images: Tensor) -> Tensor:
        """Raise ValueError unless height and width are multiples of the patch."""
        height, width = images.shape[-2:]
        if height % self.patch or width % self.patch:
            raise ValueError(f"images of {height} x {width} cannot be cut into patches of {self.patch}")
        tokens = self.proj(images)
        return (tokens.squeeze(2) if tokens.dim() == 5 else tokens).permute(0, 2, 3, 1)

    def inflated(self, kernel: Tensor) -> dict[str, Tensor]:
        """Show the 2D kernel the middle frame."""
        return {"proj.weight": inflate_first_kernel(kernel, self.proj.weight.shape)}


class Attention(nn.Module):
    """Every token looks at all."""

    def __init__(self, config: VitConfig, width: int) -> None:
        """Build the attention of a transformer, whose tokens are `width` wide."""
        super().__init__()
        self.heads = config.heads
        self.scale = (width if config.is_scaled_by_width else width // config.heads) ** -0.5
        self.qkv = nn.Linear(width, 3 * width, bias=config.has_qkv_bias)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """[N, tokens, width] -> the same."""
        q, k, v = self.qkv(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return self.proj(F.scaled_dot_product_attention(q, k, v, scale=self.scale).transpose(1, 2).flatten(2))


class TransformerBlock(nn.Module):
    """Attention and a fully connected part, each behind a norm and beside a shortcut."""

    def __init__(self, config: VitConfig, width: int, *, drop_rate: float) -> None:
        """Make the block."""
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = Attention(config, width)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        hidden = config.mlp_ratio * width
        layers = (("fc1", nn.Linear(width, hidden)), ("act", nn.GELU()), ("fc2", nn.Linear(hidden, width)))
        self.mlp = nn.Sequential(OrderedDict[str, nn.Module](layers))
        self.drop_path = DropPath(drop_rate)

    def forward(self, x: Tensor) -> Tensor:
        """[N, tokens, width] -> the same."""
        x = x + self.drop_path(self.attn(self.norm1(x)))
        return x + self.drop_path(self.mlp(self.norm2(x)))


class VisionTransformer(VideoNetwork):
    """From images, or pieces of clips, to the logits on the class token (and on the distillation token)."""

    without_source = r"^fc"
    # A layer in front of the classifier in files of timm and torchvision, and DeiT's second classifier.
    classifier_extras = ("pre_logits", "heads.pre_logits", "head_dist")

    def __init__(self, config: VitConfig, options: NetworkOptions, *, tubelet: int = 0) -> None:
        """Make the network, with random weights from torch's global generator; `tubelet` as in PatchEmbedding."""
        super().__init__()
        width = config.width * options.base_width // PUBLISHED_WIDTH
        self.grid = options.image_size // config.patch
        self.patch_embed = PatchEmbedding(options.in_channels, width, patch=config.patch, tubelet=tubelet)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.dist_token = nn.Parameter(torch.zeros(1, 1, width)) if config.is_distilled else None
        self.special = 2 if config.is_distilled else 1
        self.pos_embed = nn.Parameter(torch.zeros(1, self.special + self.grid**2, width))
        rates = drop_rates(options.stochastic_depth or 0.0, config.depth)
        self.blocks = nn.Sequential(*(TransformerBlock(config, width, drop_rate=rate) for rate in rates))
        inner = [rf"blocks\.{number}\b" for number in range(config.depth)]
        self.stages = ("patch_embed|cls_token|dist_token|pos_embed", *inner[:-1], rf"{inner[-1]}|norm")
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.dropout = nn.Dropout(options.dropout_ratio)
        self.fc = nn.Linear(width, options.num_classes)
        if config.is_distilled:
            self.classifier_names = ("fc", "fc_dist")
            self.fc_dist = nn.Linear(width, options.num_classes)
        self._initialize()

    def _initialize(self) -> None:
        for weight in (self.cls_token, self.dist_token, self.pos_embed):
            if weight is not None:
                nn.init.trunc_normal_(weight, std=0.02)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Classify images, [N, C, (s,) H, W] -> one [N, num_classes] for each head."""
        patches = self.patch_embed(images)
        count, height, width, _ = patches.shape
        special = [token for token in (self.cls_token, self.dist_token) if token is not None]
        tokens = [token.expand(count, -1, -1) for token in special]
        positions = resize_positions(self.pos_embed, special=self.special, height=height, width=width)
        x = torch.cat([*tokens, patches.flatten(1, 2)], dim=1) + positions
        x = self.dropout(self.norm(self.blocks(x))[:, : self.special])
        return tuple(self.get_submodule(name)(x[:, i]) for i, name in enumerate(self.classifier_names))

    def repeated_blocks(self) -> Iterable[nn.Module]:
        """Give the transformer blocks."""
        return self.blocks

    def torchvision_name(self, released: str) -> str:
        """Give torchvision's name; it has no networks with a distillation token."""
        return rename(released, _TORCHVISION_RULES)

    def public_names(self, released: str) -> tuple[str, ...]:
        """Give the names in timm's and DeiT's files, and in torchvision's from before its release 0.13."""
        early = rename(self.torchvision_name(released), _EARLY_TORCHVISION_RULES)
        return rename(released, _TIMM_RULES), early

    def adapt(self, name: str, tensor: Tensor) -> Tensor:
        """Resize position embeddings that are for images of another size."""
        if name != "pos_embed" or tensor.shape == self.pos_embed.shape or tensor.dim() != 3:
            return tensor
        grid = round(max(0, tensor.shape[1] - self.special) ** 0.5)
        if tensor.shape[1] != grid**2 + self.special or not grid:
            return tensor  # of another kind: the caller reports its shape
        return resize_positions(tensor, special=self.special, height=self.grid, width=self.grid)


_TORCHVISION_RULES = (
    (r"^cls_token$", "class_token"),
    (r"^pos_embed$", "encoder.pos_embedding"),
    (r"^patch_embed\.proj\.", "conv_proj."),
    (r"^norm\.", "encoder.ln."),
    (r"^fc\.", "heads.head."),
    (r"^blocks\.(\d+)\.", r"encoder.layers.encoder_layer_\1."),
    (r"\.norm(\d)\.", r".ln_\1."),
    (r"\.attn\.qkv\.", ".self_attention.in_proj_"),
    (r"\.attn\.proj\.", ".self_attention.out_proj."),
    (r"\.mlp\.fc1\.", ".mlp.0."),
    (r"\.mlp\.fc2\.", ".mlp.3."),
)
_EARLY_TORCHVISION_RULES = ((r"\.mlp\.0\.", ".mlp.linear_1."), (r"\.mlp\.3\.", ".mlp.linear_2."))
_TIMM_RULES = ((r"^fc\.", "head."), (r"^fc_dist\.", "head_dist."))


def resize_positions(positions: Tensor, *, special: int, height: int, width: int) -> Tensor:
    """Resize the embeddings of a square grid of patches to height x width, bilinearly as the paper's code does.

    Those of `special` tokens stay.

    Args:
        positions: [1, special + grid x grid, width of a token].
        special: Tokens that are no patches; they come first.
        height: Patches in a column.
        width: Patches in a row.
    """
    grid = round((positions.shape[1] - special) ** 0.5)
    if (grid, grid) == (height, width):
        return positions
    patches = positions[:, special:].unflatten(1, (grid, grid)).permute(0, 3, 1, 2)
    patches = F.interpolate(patches, size=(height, width), mode="bilinear", align_corners=False)
    return torch.cat([positions[:, :special], patches.permute(0, 2, 3, 1).flatten(1, 2)], dim=1)
