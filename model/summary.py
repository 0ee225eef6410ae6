"""Parameters, multiply-adds and activation memory of networks.

  python -m model.summary ['*resnet50'] [--clip 16] [--size 224] [--classes 400] [--early_stride 4] [--markdown]

prints, for each network whose name matches the pattern, its parameters, the multiply-adds of one clip (convolutions,
matrix products and attention), the memory that training on one clip keeps for the backward pass in float32, and the
clips that it accepts. Nothing is computed: shapes are propagated on torch's device "meta".
"""

import argparse
import fnmatch
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm

from model.registry import create_model
from utils.cli import Parser, run_script
from utils.config.network_names import (
    EARLY_STRIDES,
    MVIT_SIZE,
    PUBLISHED_WIDTH,
    ClipLimits,
    clip_limits,
    list_names,
    parse_name,
)
from utils.text import say

COLUMNS = ("network", "parameters", "multiply-adds", "activations", "clips")


@dataclass(frozen=True)
class Cost:
    """The cost of a network on one clip.

    Attributes:
        parameters: Number of parameters.
        multiply_adds: Multiply-adds of the forward pass; None if the network does not accept the clip.
        activation_bytes: Bytes kept for the backward pass, without weights, in float32; None likewise.
        limits: The clips that the network accepts.
    """

    parameters: int
    multiply_adds: int | None
    activation_bytes: int | None
    limits: ClipLimits


def measure(
    net_name: str,
    *,
    frames: int,
    size: int,
    num_classes: int = 400,
    early_stride: int = 4,
    base_width: int = PUBLISHED_WIDTH,
) -> Cost:
    """Measure the cost of a network on one clip, on the device "meta".

    Args:
        net_name: One of model.list_models().
        frames: Frames of the clip.
        size: Height and width of the clip, pixels.
        num_classes: As in `create_model`.
        early_stride: As in `create_model`.
        base_width: As in `create_model`.

    Raises:
        UnknownNetworkError: No network has this name.
    """
    limits = clip_limits(net_name, early_stride)
    fits = limits.takes_frames(frames) and limits.takes_size(size)
    image_size = size if limits.takes_size(size) else MVIT_SIZE  # the one size that every network accepts
    with torch.device("meta"):
        network = create_model(
            net_name,
            num_classes=num_classes,
            early_stride=early_stride,
            image_size=image_size,
            base_width=base_width,
        )
        clip = torch.empty(1, 3, frames, size, size)
    parameters = sum(weight.numel() for weight in network.parameters())
    if not fits:
        return Cost(parameters, None, None, limits)
    counted = multiply_adds(network.eval(), clip)
    return Cost(parameters, counted, saved_bytes(network.train(), clip), limits)


def multiply_adds(network: nn.Module, clip: Tensor) -> int:
    """Return the multiply-adds of convolutions, matrix products and attention in a forward pass."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(clip)
    return int(counter.get_total_flops() // 2)


def saved_bytes(network: nn.Module, clips: Tensor) -> int:
    """Return the bytes of the tensors that a forward pass saves for the backward pass; every storage counts once.

    Args:
        network: The network, in training or evaluation mode; its weights and buffers do not count.
        clips: Input of the network.
    """
    kept: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        heads = network(clips)
    own = {_storage(tensor) for tensor in (*network.parameters(), *network.buffers())}
    sizes = {_storage(tensor): tensor.untyped_storage().nbytes() for tensor in kept}
    del heads
    return sum(size for storage, size in sizes.items() if storage not in own)


def _storage(tensor: Tensor) -> StorageWeakRef:
    return StorageWeakRef(tensor.untyped_storage())


def match_names(pattern: str) -> list[str]:
    """Return the network names that match a pattern of shell wildcards.

    Raises:
        UnknownNetworkError: No name matches; the message lists the nearest ones.
    """
    found = fnmatch.filter(list_names(), pattern)
    return found or [str(parse_name(pattern))]


def _row(name: str, arguments: argparse.Namespace) -> tuple[str, ...]:
    """Return the row of a network, in the order of COLUMNS."""
    cost = measure(
        name,
        frames=arguments.clip,
        size=arguments.size,
        num_classes=arguments.classes,
        early_stride=arguments.early_stride,
    )
    counted = "-" if cost.multiply_adds is None else f"{cost.multiply_adds / 1e9:.2f} G"
    kept = "-" if cost.activation_bytes is None else f"{cost.activation_bytes / 2**20:.0f} MiB"
    return name, f"{cost.parameters / 1e6:.2f} M", counted, kept, str(cost.limits)


def main() -> None:
    """Print the table."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pattern", nargs="?", default="*", metavar="PATTERN", help="shell wildcards; default: all")
    parser.add_argument("--clip", type=int, default=16, metavar="FRAMES")
    parser.add_argument("--size", type=int, default=224, metavar="PIXELS")
    parser.add_argument("--classes", type=int, default=400)
    parser.add_argument("--early_stride", type=int, default=4, choices=EARLY_STRIDES)
    parser.add_argument("--markdown", action="store_true", help="print a Markdown table")
    arguments = parser.parse_args()
    names = match_names(arguments.pattern)
    template = "| {} | {} | {} | {} | {} |"
    if not arguments.markdown:
        template = f"{{:{max(map(len, names))}}}  {{:>10}}  {{:>13}}  {{:>11}}  {{}}"
    say(template.format(*COLUMNS))
    if arguments.markdown:
        say(template.format("---", "---:", "---:", "---:", "---"))
    for name in tqdm(names, unit="network", leave=False):
        tqdm.write(template.format(*_row(name, arguments)))


if __name__ == "__main__":
    run_script(main)
