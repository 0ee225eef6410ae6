"""Time of a network's convolutions, one shape after the other, in the forms that a CPU may compute them in.

For every shape that the network has, forward and backward pass of random maps: torch's convolution, plain and channels
last; 2D convolutions (1x3x3 and 1x1x1 with the frames in the batch, 3x1x1 over frames x places); matrix products with
plain maps (1x1x1), with three shifted maps side by side (3x1x1), with the unfolded map (1x3x3); and the form of
layers/channels_last.py. The forms of a shape run in turns; a kind of kernel has the sum over its shapes, each as often
as the network has it. The ratio is plain / form, above 1 is faster; every form is checked against the plain one.

    python benchmarks/convolutions.py
    python benchmarks/convolutions.py --network i3d_resnet50 --threads 1 --shapes
"""

import argparse
import copy
import statistics
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import model
from benchmarks.machine import describe_machine
from layers.channels_last import use_channels_last
from layers.convolutions import Conv3d

CLASSES = 400
CPU = torch.device("cpu")
# Forward, and forward and backward pass, in seconds.
Times = tuple[float, float]


@dataclass(frozen=True)
class Shape:
    """What decides how long a convolution takes; `clips` is [N, C, T, H, W]."""

    clips: tuple[int, ...]
    out_channels: int
    kernel: tuple[int, int, int]
    stride: tuple[int, int, int]
    padding: tuple[int, int, int]
    groups: int

    def make(self) -> Conv3d:
        """Return a convolution of this shape with random weights."""
        return Conv3d(
            self.clips[1],
            self.out_channels,
            self.kernel,
            stride=self.stride,
            padding=self.padding,
            groups=self.groups,
            bias=False,
        )


def find_shapes(network: nn.Module, clips: Tensor) -> Counter[Shape]:
    """Count the 3D convolutions that a network makes of clips."""
    found: Counter[Shape] = Counter()

    def note(conv: Any, inputs: tuple[Tensor, ...], _: Tensor) -> None:
        shape = tuple(inputs[0].shape)
        found[Shape(shape, conv.out_channels, conv.kernel_size, conv.stride, conv.padding, conv.groups)] += 1

    for module in network.modules():
        if isinstance(module, nn.Conv3d):
            module.register_forward_hook(note)
    with torch.inference_mode():
        network(clips)
    return found


def _strided(conv: Any, x: Tensor) -> Tensor:
    _, height, width = conv.stride
    return x[:, :, :, ::height, ::width]


def frames_in_batch(conv: Any, x: Tensor) -> Tensor:
    """1 x k x k as a 2D convolution of all frames."""
    images = x.transpose(1, 2).flatten(0, 1)
    weight = conv.weight.squeeze(2)
    out = F.conv2d(images, weight, None, conv.stride[1:], conv.padding[1:], 1, conv.groups)
    return out.unflatten(0, (len(x), -1)).transpose(1, 2)


def frames_by_places(conv: Any, x: Tensor) -> Tensor:
    """3x1x1 as a 2D convolution over [T, H x W]."""
    x = _strided(conv, x)
    out = F.conv2d(x.flatten(3), conv.weight.squeeze(-1), None, 1, (conv.padding[0], 0), 1, conv.groups)
    return out.unflatten(3, x.shape[3:])


def plain_product(conv: Any, x: Tensor) -> Tensor:
    """1x1x1 as the kernel's matrix times [C, T x H x W]."""
    x = _strided(conv, x)
    return torch.matmul(conv.weight.flatten(1), x.flatten(2)).unflatten(2, x.shape[2:])


def shifted_product(conv: Any, x: Tensor) -> Tensor:
    """3x1x1 as one product with the channels of three frames side by side."""
    x = _strided(conv, x)
    padded = F.pad(x.movedim(1, -1), (0, 0, 0, 0, 0, 0, 1, 1))
    three = torch.cat([padded[:, shift : shift + x.shape[2]] for shift in range(3)], dim=-1)
    return F.linear(three, conv.weight[..., 0, 0].transpose(1, 2).flatten(1)).movedim(-1, 1)


def unfolded_product(conv: Any, x: Tensor) -> Tensor:
    """1x3x3 as one product with the channels of nine places side by side."""
    stride = conv.stride[1]
    padded = F.pad(x.movedim(1, -1), (0, 0, 1, 1, 1, 1))
    nine = padded.unfold(2, 3, stride).unfold(3, 3, stride).movedim(4, -1).flatten(4)
    return F.linear(nine, conv.weight[:, :, 0].permute(0, 2, 3, 1).flatten(1)).movedim(-1, 1)


def forms_of(shape: Shape) -> dict[str, tuple[Callable[[Any, Tensor], Tensor] | None, torch.memory_format]]:
    """Name -> (function, None for the module itself; layout of the maps)."""
    plain, last = torch.contiguous_format, torch.channels_last_3d
    forms: dict[str, tuple[Callable[[Any, Tensor], Tensor] | None, torch.memory_format]] = {
        "plain": (nn.Conv3d.forward, plain),
        "channels last": (nn.Conv3d.forward, last),
        "layers/channels_last.py": (None, last),
    }
    if shape.kernel[0] == 1:
        forms["2D, frames in the batch"] = (frames_in_batch, last)
    if shape.kernel == (3, 1, 1):
        forms["2D, frames x places"] = (frames_by_places, plain)
    if shape.groups == 1:
        if shape.kernel == (1, 1, 1):
            forms["product, plain"] = (plain_product, plain)
        if shape.kernel == (3, 1, 1):
            forms["product, three frames"] = (shifted_product, last)
        if shape.kernel == (1, 3, 3):
            forms["product, unfolded"] = (unfolded_product, last)
    return forms


def time_shape(shape: Shape, turns: int) -> dict[str, Times]:
    """Return the least times of every form of a shape, over turns."""
    torch.manual_seed(0)
    original, clips = shape.make(), torch.randn(shape.clips)
    runs: dict[str, Callable[[], tuple[float, float, Tensor]]] = {}
    for name, (function, layout) in forms_of(shape).items():
        runs[name] = _make_run(original, clips, function, layout)
    expected = runs["plain"]()[2]
    times: dict[str, Times] = {}
    for name, run in runs.items():
        torch.testing.assert_close(run()[2], expected, rtol=1e-3, atol=1e-3)
        times[name] = (float("inf"), float("inf"))
    for _ in range(turns):
        for name, run in runs.items():
            forward, both, _ = run()
            times[name] = min(times[name][0], forward), min(times[name][1], both)
    return times


def _make_run(
    original: Conv3d, clips: Tensor, function: Callable[[Any, Tensor], Tensor] | None, layout: torch.memory_format
) -> Callable[[], tuple[float, float, Tensor]]:
    conv = copy.deepcopy(original)
    conv.weight.data = conv.weight.data.contiguous(memory_format=layout)
    if function is None:
        use_channels_last(conv, CPU)
    x = clips.clone(memory_format=layout).requires_grad_(clips.shape[1] > 3)  # clips themselves need no gradient

    def run() -> tuple[float, float, Tensor]:
        conv.zero_grad()
        x.grad = None
        began = time.perf_counter()
        out = conv(x) if function is None else function(conv, x)
        forward = time.perf_counter() - began
        weighting = torch.full_like(out, 0.5)
        began = time.perf_counter()
        out.backward(weighting)
        return forward, forward + time.perf_counter() - began, out.detach()

    return run


def measure(options: argparse.Namespace) -> None:
    """Time all shapes and print a line for each kind of kernel and form."""
    network = model.create_model(options.network, num_classes=CLASSES, image_size=options.size).eval()
    clips = torch.randn(options.batch, 3, options.frames, options.size, options.size)
    sums: dict[tuple[str, str], list[Times]] = defaultdict(list)
    for shape, count in find_shapes(network, clips).items():
        kind = "x".join(map(str, shape.kernel)) + (" in groups" if shape.groups > 1 else "")
        times = time_shape(shape, options.turns)
        for name, (forward, both) in times.items():
            sums[kind, name].append((count * forward, count * both))
        if options.shapes:
            text = ", ".join(f"{name} {1e3 * both:.1f}" for name, (_, both) in times.items())
            print(f"{count} x {kind} {list(shape.clips[1:])} -> {shape.out_channels}, ms: {text}", flush=True)
    print(f"{'':34}{'ms: forward':>12}{'both':>8}   plain / form: forward, both [of single shapes]")
    for (kind, name), found in sorted(sums.items()):
        base = sums[kind, "plain"]
        forward, both = (sum(times[part] for times in found) for part in (0, 1))
        ratios = [plain[1] / this[1] for plain, this in zip(base, found, strict=True)]
        total = [sum(times[part] for times in base) for part in (0, 1)]
        print(
            f"{kind + ' ' + name:34}{1e3 * forward:12.0f}{1e3 * both:8.0f}   {total[0] / forward:.2f}, "
            f"{total[1] / both:.2f} [{min(ratios):.2f}..{statistics.median(ratios):.2f}..{max(ratios):.2f}]",
            flush=True,
        )


def parse_options() -> argparse.Namespace:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="dg_p3d_resnet50")
    parser.add_argument("--batch", type=int, default=2, help="clips (2)")
    parser.add_argument("--frames", type=int, default=16, help="of a clip (16)")
    parser.add_argument("--size", type=int, default=112, help="of a clip, in pixels (112)")
    parser.add_argument("--turns", type=int, default=5, help="timed runs of each form (5)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of torch (as it chooses)")
    parser.add_argument("--shapes", action="store_true", help="print every shape too")
    return parser.parse_args()


def main() -> None:
    """Measure, print."""
    options = parse_options()
    torch.set_num_threads(options.threads)
    print(f"{describe_machine()}\n{options.threads} threads; {options.network}")
    measure(options)


if __name__ == "__main__":
    main()
