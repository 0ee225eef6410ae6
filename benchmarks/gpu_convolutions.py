"""Look for two faults of cuDNN: 3D convolutions that are wrong in half precision, or slower than in float32.

For every distinct convolution of a network on training clips, output and both gradients in bf16 and fp16, in both
memory formats, are compared with float64 on the CPU, and the time of forward and backward pass with float32 (without
TF32) in the same memory format. The forms that are wrong or slow are printed, and the worst of all.

    python benchmarks/gpu_convolutions.py
"""

import argparse
import itertools
import statistics
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import model
from benchmarks.measuring import Parser, describe_machine, seconds_of
from benchmarks.training_step import Variant, attempt, require_gpu
from layers.convolution_check import LIMITS, Form, largest_error

HALVES = (torch.bfloat16, torch.float16)
SLOW = 1.1  # time / time of float32; smaller ratios are noise


def forms_of(options: argparse.Namespace) -> list[Form]:
    """Return the distinct convolutions, 2D and 3D, of the network on a clip."""
    network = model.create_model(
        options.network, num_classes=10, base_width=options.base_width, image_size=options.size
    ).eval()
    found: dict[Form, None] = {}

    def note(conv: nn.Module, inputs: tuple[Tensor, ...], _output: Tensor) -> None:
        assert isinstance(conv, nn.Conv2d | nn.Conv3d) and not isinstance(conv.padding, str)
        kernel, stride, padding = conv.kernel_size, conv.stride, conv.padding
        size, groups = tuple(inputs[0].shape[2:]), conv.groups
        found[Form(kernel, stride, padding, size, groups, conv.in_channels, conv.out_channels)] = None

    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Conv3d):
            layer.register_forward_hook(note)
    with torch.inference_mode():
        network(torch.zeros(1, 3, options.frames, options.size, options.size))
    return list(found)


def form_seconds(form: Form, dtype: torch.dtype, options: argparse.Namespace) -> float:
    """Return the median seconds of forward and backward pass on the device."""
    device, dimensions = torch.device(options.device), len(form.kernel)
    last = torch.channels_last if dimensions == 2 else torch.channels_last_3d
    memory_format = last if form.channels_last else torch.contiguous_format
    make: Callable[..., nn.Module] = nn.Conv2d if dimensions == 2 else nn.Conv3d
    conv = make(
        form.channels, form.out_channels, form.kernel, form.stride, form.padding, groups=form.groups, bias=False
    ).to(device, dtype, memory_format=memory_format)  # type: ignore[call-overload]
    x = torch.randn(options.batch, form.channels, *form.size, device=device, dtype=dtype)
    x = x.contiguous(memory_format=memory_format).requires_grad_()
    seconds = [seconds_of(lambda: conv(x).sum().backward(), device) for _ in range(options.repeats + 2)]
    return statistics.median(seconds[2:])


def name_of(dtype: torch.dtype) -> str:
    """Return the name of a dtype without "torch."."""
    return str(dtype).removeprefix("torch.")


def try_form(form: Form, dtype: torch.dtype, options: argparse.Namespace) -> tuple[float, float]:
    """Return the largest error against float64 and the time / time of float32; print them if too large."""
    error = largest_error(form, dtype, device=torch.device(options.device))
    with Variant().surroundings():
        slowness = form_seconds(form, dtype, options) / form_seconds(form, torch.float32, options)
    name = name_of(dtype)
    if error > LIMITS[torch.bfloat16]:
        print(f"  wrong: {name}, {form}: {error:.2g} from float64", flush=True)
    if slowness > SLOW:
        print(f"  slow: {name}, {form}: {slowness:.2f} times the time of float32", flush=True)
    return error, slowness


def measure(options: argparse.Namespace) -> None:
    """Try every convolution in both memory formats and dtypes; print the wrong and slow ones, and a summary."""
    cases = list(itertools.product(forms_of(options), (False, True), HALVES))
    tried = []
    for form, last, dtype in cases:
        case = replace(form, channels_last=last)
        tried.append(attempt(f"{name_of(dtype)}, {case}", partial(try_form, case, dtype, options)))
    results = [result for result in tried if result]
    errors, slowness = zip(*results, strict=True) if results else ((0.0,), (0.0,))
    wrong = sum(error > LIMITS[torch.bfloat16] for error in errors)
    slow = sum(value > SLOW for value in slowness)
    print(
        f"{options.network}: {len(results)} of {len(cases)} forms tried; {wrong} wrong (the worst {max(errors):.2g} "
        f"from float64), {slow} slower than float32 (the slowest {max(slowness):.2f} times its time, half of all at "
        f"most {statistics.median(slowness):.2f})"
    )


def parse_options() -> argparse.Namespace:
    """Parse the command line."""
    parser = Parser(__doc__)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--network", default="dg_p3d_resnet50")
    parser.add_clips(batch=16, size=112)
    parser.add_number("--repeats", 5, "timed passes")
    return parser.parse_args()


def main() -> None:
    """Measure and print; without a GPU say so."""
    options = parse_options()
    require_gpu(options.device)
    print(describe_machine())
    measure(options)


if __name__ == "__main__":
    main()
