"""Vision transformers (Dosovitskiy et al., ICLR 2021) on images and on tubelets of a few frames.

The image networks are those of torchvision and timm, whose weights they load under the names used there, and those of
DeiT with a distillation token. Position embeddings are resized to the image size, when loaded and in the forward pass.
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
    """Hyperparameters of a transformer.

    Attributes:
        width: Channels of a token.
        depth: Number of blocks.
        heads: Attention heads of a block.
        patch: Height and width of a patch, pixels.
        mlp_ratio: Hidden channels of a block's MLP / width.
        has_qkv_bias: Whether queries, keys and values have a bias.
        is_distilled: Whether there is a distillation token with a classifier of its own.
        is_scaled_by_width: Whether attention logits are divided by sqrt(width) instead of sqrt(width / heads).
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
    """Embeds every patch as a token, [N, C, (s,) H, W] -> [N, H/patch, W/patch, width]; tubelets have s frames."""

    kernel_name = "proj.weight"

    def __init__(self, in_channels: int, width: int, *, patch: int, tubelet: int) -> None:
        """Build the embedding of patches of patch x patch pixels and `tubelet` frames (0: of images)."""
        super().__init__()
        if tubelet:
            size = (tubelet, patch, patch)
            self.proj: Conv = Conv3d(in_channels, width, size, stride=size)
        else:
            self.proj = Conv2d(in_channels, width, patch, stride=patch)
        self.shape_2d = (width, 3, patch, patch)
        self.patch = patch

    def forward(self, images: Tensor) -> Tensor:
        """Embed the patches; raise ValueError unless height and width are multiples of the patch size."""
        height, width = images.shape[-2:]
        if height % self.patch or width % self.patch:
            raise ValueError(f"images of {height} x {width} cannot be cut into patches of {self.patch}")
        tokens = self.proj(images)
        return (tokens.squeeze(2) if tokens.dim() == 5 else tokens).permute(0, 2, 3, 1)

    def inflated(self, kernel: Tensor) -> dict[str, Tensor]:
        """Return the 2D kernel at the middle frame."""
        return {"proj.weight": inflate_first_kernel(kernel, self.proj.weight.shape)}


class Attention(nn.Module):
    """Multi-head self-attention over all tokens."""

    def __init__(self, config: VitConfig, width: int) -> None:
        """Build the attention; `width` is the number of channels of a token."""
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
    """Pre-norm block: attention and an MLP, each with a residual connection."""

    def __init__(self, config: VitConfig, width: int, *, drop_rate: float) -> None:
        """Build the block; `width` is the number of channels of a token, `drop_rate` that of stochastic depth."""
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
    """Classifies images, or tubelets, from the class token (and the distillation token)."""

    without_source = r"^fc"
    # A layer before the classifier in files of timm and torchvision, and DeiT's second classifier.
    classifier_extras = ("pre_logits", "heads.pre_logits", "head_dist")

    def __init__(self, config: VitConfig, options: NetworkOptions, *, tubelet: int = 0) -> None:
        """Build the network with random weights from torch's global generator; `tubelet` as in PatchEmbedding."""
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
        """Classify images, [N, C, (s,) H, W] -> the logits of each head, [N, num_classes] each."""
        patches = self.patch_embed(images)
        count, height, width, _ = patches.shape
        special = [token for token in (self.cls_token, self.dist_token) if token is not None]
        tokens = [token.expand(count, -1, -1) for token in special]
        positions = resize_positions(self.pos_embed, special=self.special, height=height, width=width)
        x = torch.cat([*tokens, patches.flatten(1, 2)], dim=1) + positions
        x = self.dropout(self.norm(self.blocks(x))[:, : self.special])
        return tuple(self.get_submodule(name)(x[:, i]) for i, name in enumerate(self.classifier_names))

    def repeated_blocks(self) -> Iterable[nn.Module]:
        """Return the transformer blocks."""
        return self.blocks

    def torchvision_name(self, released: str) -> str:
        """Return torchvision's name; torchvision has no networks with a distillation token."""
        return rename(released, _TORCHVISION_RULES)

    def public_names(self, released: str) -> tuple[str, ...]:
        """Return the names in files of timm and DeiT, and in those of torchvision before release 0.13."""
        early = rename(self.torchvision_name(released), _EARLY_TORCHVISION_RULES)
        return rename(released, _TIMM_RULES), early

    def adapt(self, name: str, tensor: Tensor) -> Tensor:
        """Resize position embeddings of another image size to this network's."""
        if name != "pos_embed" or tensor.shape == self.pos_embed.shape or tensor.dim() != 3:
            return tensor
        grid = round(max(0, tensor.shape[1] - self.special) ** 0.5)
        if tensor.shape[1] != grid**2 + self.special or not grid:
            return tensor  # not a square grid: the caller reports the shape
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
    """Resize the position embeddings of a square grid of patches bilinearly, as the paper's code does.

    Args:
        positions: [1, special + grid x grid, channels of a token].
        special: Number of tokens at the beginning that are not patches; their embeddings are kept.
        height: Rows of the new grid, patches.
        width: Columns of the new grid, patches.

    Returns:
        [1, special + height x width, channels of a token].
    """
    grid = round((positions.shape[1] - special) ** 0.5)
    if (grid, grid) == (height, width):
        return positions
    patches = positions[:, special:].unflatten(1, (grid, grid)).permute(0, 3, 1, 2)
    patches = F.interpolate(patches, size=(height, width), mode="bilinear", align_corners=False)
    return torch.cat([positions[:, :special], patches.permute(0, 2, 3, 1).flatten(1, 2)], dim=1)
