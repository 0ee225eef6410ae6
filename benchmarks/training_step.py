"""Time of a training step: variants against plain float32 in one process, in alternation.

A step is forward pass, loss, backward pass, clipping of the gradient and the optimizer (SGD with Nesterov momentum), on
random clips. The ratio is a repeat's plain step to the same repeat's step of the variant, so above 1 is faster. The
error is the largest difference of a step's logits and of its gradients from float64, over the largest number there;
that of plain float32 stands in the first line. "first" is the first forward and backward pass, in which torch.compile
compiles.

    python benchmarks/training_step.py
    python benchmarks/training_step.py --networks i3d_resnet50 --variants fused --threads 1
    python benchmarks/training_step.py --forward          # evaluation: the forward pass alone
    python benchmarks/training_step.py --profile          # where the step's time goes, by kind of operation
"""

import argparse
import copy
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import model
from benchmarks.measuring import describe_machine, ratio_text
from layers import convolutions
from layers.channels_last import use_channels_last
from layers.losses import HeadsLoss
from utils.training.precision import has_bf16

CLASSES = 400
CPU = torch.device("cpu")


def _as_it_is(network: nn.Module) -> nn.Module:
    return network


def _channels_last(network: nn.Module) -> nn.Module:
    use_channels_last(network)
    return network


def _compiled(network: nn.Module) -> nn.Module:
    return torch.compile(network)  # type: ignore[return-value]


@dataclass(frozen=True)
class Variant:
    """A way to run a step.

    Attributes:
        arrange: Makes the network that runs from a copy of the plain one.
        fused: Whether the optimizer is torch's fused one; None: as torch chooses.
        dtype: Autocast type; None is float32.
        has_own: Whether convolutions are rewritten where torch's have wrong gradients (layers/convolutions.py).
    """

    arrange: Callable[[nn.Module], nn.Module] = _as_it_is
    fused: bool | None = None
    dtype: torch.dtype | None = None
    has_own: bool = True

    @contextmanager
    def surroundings(self) -> Iterator[None]:
        """Return the surroundings of the forward pass."""
        autocast = torch.autocast("cpu", self.dtype) if self.dtype is not None else nullcontext()
        torchs = mock.patch.object(convolutions, "is_at_risk", lambda _conv, _x: False)
        with autocast, nullcontext() if self.has_own else torchs:
            yield


VARIANTS = {
    "plain": Variant(),
    "fused": Variant(fused=True),  # the optimizer alone
    "last": Variant(_channels_last, fused=True),  # network.layout=channels_last
    "bf16": Variant(fused=True, dtype=torch.bfloat16),  # and in bf16
    "bf16-last": Variant(_channels_last, fused=True, dtype=torch.bfloat16),
    "bf16-torch": Variant(fused=True, dtype=torch.bfloat16, has_own=False),  # gradients may be anything
    "compile": Variant(_compiled),
}


class Stepper:
    """A network, its optimizer and the clips of a step."""

    def __init__(self, variant: Variant, network: nn.Module, clips: Tensor) -> None:
        """Arrange a copy of the network."""
        self.variant, self.clips = variant, clips
        self.network = variant.arrange(copy.deepcopy(network))
        self.labels = torch.arange(len(clips)) % CLASSES
        self.optimizer = torch.optim.SGD(
            self.network.parameters(), lr=1e-3, momentum=0.9, nesterov=True, weight_decay=1e-4, fused=variant.fused
        )
        self.criterion = HeadsLoss()

    def differentiate(self) -> tuple[Tensor, ...]:
        """Run forward and backward pass; return the logits."""
        self.optimizer.zero_grad(set_to_none=True)
        with self.variant.surroundings():
            heads = self.network(self.clips)
        self.criterion(heads, self.labels).backward()
        return heads

    def step(self) -> None:
        """Run a whole step."""
        self.differentiate()
        nn.utils.clip_grad_norm_(self.network.parameters(), 40)
        self.optimizer.step()

    @torch.inference_mode()
    def predict(self) -> None:
        """Run a forward pass alone."""
        with self.variant.surroundings():
            self.network(self.clips)


def largest_errors(stepper: Stepper, exact: Stepper) -> tuple[float, float]:
    """Return the largest difference of the logits and of the gradients from float64, over the largest number there."""
    found, expected = (torch.cat(one.differentiate()).detach().double() for one in (stepper, exact))
    pairs = list(zip(stepper.network.parameters(), exact.network.parameters(), strict=True))
    largest = max(theirs.grad.abs().max().item() for _, theirs in pairs if theirs.grad is not None)
    difference = max(
        (ours.grad.double() - theirs.grad).abs().max().item()
        for ours, theirs in pairs
        if ours.grad is not None and theirs.grad is not None
    )
    return ((found - expected).abs().max() / expected.abs().max()).item(), difference / largest


def measure(options: argparse.Namespace, net_name: str) -> None:
    """Time the variants of one network in alternation and print a line for each."""
    torch.manual_seed(0)
    network = model.create_model(
        net_name,
        num_classes=CLASSES,
        image_size=options.size,
        base_width=options.base_width,
        early_stride=options.early_stride,
        dropout_ratio=0.0,
    )
    network.train(not (options.forward or options.frozen))
    clips = torch.randn(options.batch, 3, options.frames, options.size, options.size)
    steppers = {name: Stepper(VARIANTS[name], network, clips) for name in ["plain", *options.variants]}
    exact = Stepper(Variant(), copy.deepcopy(network).double(), clips.double())
    first = {name: _seconds(stepper.differentiate) for name, stepper in steppers.items()}
    errors = {name: largest_errors(stepper, exact) for name, stepper in steppers.items()}
    seconds: dict[str, list[float]] = {name: [] for name in steppers}
    for repeat in range(options.repeats + 1):
        for name, stepper in steppers.items():
            taken = _seconds(stepper.predict if options.forward else stepper.step)
            if repeat > 0:  # the first one finds its kernels and its memory
                seconds[name].append(taken)
    print(f"{net_name:24}{'s':>8}{'first':>8}   {'plain / this':24}{'error of logits':>16}{'of gradients':>14}")
    for name, times in seconds.items():
        text, (logits, gradients) = ratio_text(seconds["plain"], times), errors[name]
        told = f"{statistics.median(times):8.3f}{first[name]:8.1f}   {text:24}"
        print(f"  {name:22}{told}{logits:16.1e}{gradients:14.1e}", flush=True)


def _seconds(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def print_profile(options: argparse.Namespace, net_name: str) -> None:
    """Print where a step's time goes, by operation, for every variant."""
    clips = torch.randn(options.batch, 3, options.frames, options.size, options.size)
    network = model.create_model(net_name, num_classes=CLASSES, image_size=options.size, base_width=options.base_width)
    for name in ["plain", *options.variants]:
        stepper = Stepper(VARIANTS[name], network, clips)
        stepper.step()
        with profile(activities=[ProfilerActivity.CPU]) as found:
            stepper.step()
        events = sorted(found.key_averages(), key=lambda event: -event.self_cpu_time_total)
        total = sum(event.self_cpu_time_total for event in events)
        print(f"{net_name}, {name}: {total / 1e6:.2f} s")
        for event in events[:16]:
            fraction = event.self_cpu_time_total / total
            print(
                f"  {event.key[:44]:46}{event.self_cpu_time_total / 1e3:9.0f} ms {fraction:6.1%} {event.count:6} calls"
            )


def parse_options() -> argparse.Namespace:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", default=["dg_p3d_resnet50"])
    parser.add_argument("--early_stride", type=int, default=4, help="of the stem (4)")
    others = [name for name in VARIANTS if name != "plain"]
    parser.add_argument("--variants", nargs="+", choices=others, default=["fused", "last", "bf16"])
    parser.add_argument("--base_width", type=int, default=64, help="channels of the first stage (64)")
    parser.add_argument("--batch", type=int, default=2, help="clips (2)")
    parser.add_argument("--frames", type=int, default=16, help="of a clip (16)")
    parser.add_argument("--size", type=int, default=112, help="of a clip, in pixels (112)")
    parser.add_argument("--repeats", type=int, default=7, help="timed steps of each variant, after one that is not (7)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of torch (as it chooses)")
    parser.add_argument("--frozen", action="store_true", help="train with all batch norms frozen")
    parser.add_argument("--forward", action="store_true", help="time forward passes in evaluation mode")
    parser.add_argument("--profile", action="store_true", help="print where the time goes")
    return parser.parse_args()


def main() -> None:
    """Measure, print."""
    options = parse_options()
    torch.set_num_threads(options.threads)
    bf16 = "bf16 instructions" if has_bf16(CPU) else "no bf16 instructions"
    print(f"{describe_machine()}\n{options.threads} threads, {bf16}")
    for net_name in options.networks:
        (print_profile if options.profile else measure)(options, net_name)


if __name__ == "__main__":
    main()
