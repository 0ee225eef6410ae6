"""Time, memory and errors of a training step: variants against float32 in one process, in alternation.

A step is forward pass, loss, backward pass, gradient clipping and optimizer (SGD with Nesterov momentum), on random
clips, without dropout. The baseline, in the first line, is float32 with all options off. A ratio is the time of the
baseline's step over that of the variant's in the same repeat, so above 1 is faster. MiB is the peak memory of forward
and backward pass in addition to weights, gradients and clips. The error is the largest difference of a step's logits
and gradients from float64, over the largest float64 value. "first" is the time of the first forward and backward pass,
in which torch.compile compiles. A variant that fails prints the reason.

    python benchmarks/training_step.py
    python benchmarks/training_step.py --networks i3d_resnet50 --variants fused --threads 1
    python benchmarks/training_step.py --variants blocks  # network.checkpoint_blocks
    python benchmarks/training_step.py --forward          # evaluation: forward pass only
    python benchmarks/training_step.py --profile          # a step's time by operation
    python benchmarks/training_step.py --device cuda --batch 32 --size 224
"""

import argparse
import itertools
import statistics
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast
from unittest import mock

import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import model
from benchmarks.measuring import Parser, Value, alternate, describe_machine, ratio_text, seconds_of, wait
from layers import convolutions
from layers.channels_last import use_channels_last
from layers.checkpointing import checkpoint_blocks
from layers.losses import HeadsLoss
from model.network import VideoNetwork
from utils.training.precision import autocast, has_bf16

CLASSES = 400
NO_GPU = 2


@dataclass(frozen=True)
class Variant:
    """A variant of a step.

    Attributes:
        dtype: Dtype of autocast; None: float32.
        fused: Whether the optimizer is fused; None: torch's default.
        channels_last: network.layout=channels_last.
        blocks: network.checkpoint_blocks.
        has_safe_convs: Whether convolutions are rewritten where torch's have wrong gradients (layers/convolutions.py).
        tf32: Whether a GPU multiplies float32 in TF32.
        tries: Whether cuDNN benchmarks its algorithms.
        graphed: Whether the network runs as CUDA graphs.
        compiled: Mode of torch.compile, "" for none.
    """

    dtype: torch.dtype | None = None
    fused: bool | None = None
    channels_last: bool = False
    blocks: bool = False
    has_safe_convs: bool = True
    tf32: bool = False
    tries: bool = False
    graphed: bool = False
    compiled: str = ""

    @contextmanager
    def surroundings(self) -> Iterator[None]:
        """Set the flags of torch's backends and of layers.convolutions within the context."""
        matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
        torch_padding = mock.patch.object(convolutions, "is_at_risk", lambda _conv, _x: False)
        before = matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark
        matmul.allow_tf32 = cudnn.allow_tf32 = self.tf32
        cudnn.benchmark = self.tries
        try:
            with nullcontext() if self.has_safe_convs else torch_padding:
                yield
        finally:
            matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark = before


BF16 = torch.bfloat16
VARIANTS = {
    "baseline": Variant(),
    "tf32": Variant(tf32=True),
    "fused": Variant(fused=True),  # the optimizer alone
    "last": Variant(fused=True, channels_last=True),
    "blocks": Variant(blocks=True),
    "compile": Variant(compiled="default"),
    "bf16": Variant(BF16, fused=True),
    "bf16-torch": Variant(BF16, fused=True, has_safe_convs=False),  # gradients may be anything
    "bf16-last": Variant(BF16, fused=True, channels_last=True),
    "bf16-tries": Variant(BF16, fused=True, channels_last=True, tries=True),  # this and the following: for a GPU
    "bf16-graphs": Variant(BF16, fused=True, channels_last=True, tries=True, graphed=True),
    "bf16-compile": Variant(BF16, fused=True, channels_last=True, tries=True, compiled="default"),
    "bf16-both": Variant(BF16, fused=True, channels_last=True, tries=True, compiled="reduce-overhead"),
}


class Stepper:
    """A network set up for a variant, its optimizer and the clips of a step, all on the network's device."""

    def __init__(self, variant: Variant, network: VideoNetwork, clips: Tensor, *, rate: float = 1e-3) -> None:
        """Set up `network`, in place."""
        self.variant, self.network, self.clips, self.device = variant, network, clips, clips.device
        if variant.channels_last:
            use_channels_last(network)
        if variant.blocks:
            checkpoint_blocks(network, network.repeated_blocks())
        self.labels = torch.arange(len(clips), device=self.device) % CLASSES
        self.optimizer = torch.optim.SGD(
            network.parameters(), lr=rate, momentum=0.9, nesterov=True, weight_decay=1e-4, fused=variant.fused
        )
        self.criterion = HeadsLoss()
        self.run: Callable[[Tensor], tuple[Tensor, ...]] = network
        if variant.compiled:
            self.run = cast(VideoNetwork, torch.compile(network, mode=variant.compiled))
        if variant.graphed:
            with variant.surroundings(), torch.autocast(self.device.type, variant.dtype, cache_enabled=False):
                self.run = cast(VideoNetwork, torch.cuda.make_graphed_callables(network, (clips,)))

    def differentiate(self) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Run forward and backward pass, accumulating gradients; return loss and logits."""
        with self.variant.surroundings():
            with autocast(self.device, self.variant.dtype):
                heads = self.run(self.clips)
            loss = self.criterion(heads, self.labels)
            loss.backward()
        return loss.detach(), heads

    def step(self) -> Tensor:
        """Run a whole step; return the loss."""
        self.optimizer.zero_grad(set_to_none=True)
        loss, _ = self.differentiate()
        nn.utils.clip_grad_norm_(self.network.parameters(), 40)
        self.optimizer.step()
        return loss

    @torch.inference_mode()
    def predict(self) -> None:
        """Run a forward pass alone."""
        with self.variant.surroundings(), autocast(self.device, self.variant.dtype):
            self.run(self.clips)


def make_stepper(options: argparse.Namespace, net_name: str, variant: Variant, *, batch: int) -> Stepper:
    """Build a stepper on the device of `options`; weights and clips are the same for all variants."""
    torch.manual_seed(0)
    network = model.create_model(
        net_name, num_classes=CLASSES, image_size=options.size, base_width=options.base_width, dropout_ratio=0.0
    )
    clips = torch.randn(batch, 3, options.frames, options.size, options.size)
    return Stepper(variant, network.to(options.device), clips.to(options.device))


def require_gpu(device: str) -> None:
    """Exit with one line if `device` is a GPU and there is none."""
    if device == "cuda" and not torch.cuda.is_available():
        print(f"{Path(sys.argv[0]).name}: torch sees no GPU, so there is nothing to measure", file=sys.stderr)
        sys.exit(NO_GPU)


def attempt(name: str, act: Callable[[], Value]) -> Value | None:
    """Return a measurement; if it fails, print the reason and return None."""
    try:
        return act()
    except (RuntimeError, NotImplementedError, OSError) as error:  # torch's own errors are RuntimeErrors
        print(
            f"  {name:28}skipped: {type(error).__name__}: {str(error).strip().partition(chr(10))[0][:160]}", flush=True
        )
        return None


def record(stepper: Stepper, act: Callable[[], object], *, memory: bool = False) -> profile:
    """Profile `act` on the device of a stepper."""
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if stepper.device.type == "cuda" else [])]
    with profile(activities=activities, profile_memory=memory) as found:
        act()
        wait(stepper.device)
    return found


def peak_mebibytes(stepper: Stepper) -> float:
    """Return the peak MiB that forward and backward pass allocate in addition to what exists, including gradients."""
    if stepper.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        stepper.differentiate()
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    found: Any = record(stepper, stepper.differentiate, memory=True).profiler
    changes = sorted((it.start_ns(), it.nbytes()) for it in found.kineto_results.events() if it.name() == "[memory]")
    return max(itertools.accumulate(size for _, size in changes)) / 2**20


@dataclass(frozen=True)
class Exact:
    """Logits and gradients of a step in float64."""

    logits: Tensor
    gradients: list[Tensor | None]

    def errors(self, heads: tuple[Tensor, ...], network: nn.Module) -> tuple[float, float]:
        """Return the largest differences of logits and gradients from these, over the largest value of each."""
        pairs = [
            (found.grad.double(), expected)
            for found, expected in zip(network.parameters(), self.gradients, strict=True)
            if found.grad is not None and expected is not None
        ]
        difference = max((found - expected).abs().max().item() for found, expected in pairs)
        largest = max(expected.abs().max().item() for _, expected in pairs)
        logits = (torch.cat(heads).detach().double() - self.logits).abs().max() / self.logits.abs().max()
        return logits.item(), difference / largest


def make_exact(stepper: Stepper) -> Exact:
    """Compute logits and gradients in float64; the stepper is converted."""
    stepper.network.double()
    stepper.clips = stepper.clips.double()
    _, heads = stepper.differentiate()
    return Exact(torch.cat(heads).detach(), [weight.grad for weight in stepper.network.parameters()])


def measure(options: argparse.Namespace, net_name: str) -> None:
    """Time the variants of one network in alternation and print a line for each."""

    def make(variant: Variant) -> Stepper:
        stepper = make_stepper(options, net_name, variant, batch=options.batch)
        stepper.network.train(not options.forward)
        return stepper

    exact = make_exact(make(Variant(blocks=True)))  # checkpointed: in no more memory than float32 takes
    steppers: dict[str, Stepper] = {}
    notes: dict[str, tuple[float, ...]] = {}

    def try_variant(name: str) -> None:
        stepper, heads = make(VARIANTS[name]), list[Tensor]()
        first = seconds_of(lambda: heads.extend(stepper.differentiate()[1]), stepper.device)
        errors = exact.errors(tuple(heads), stepper.network)
        notes[name] = first, peak_mebibytes(stepper), *errors
        steppers[name] = stepper

    try_variant("baseline")
    for name in options.variants:
        attempt(name, partial(try_variant, name))
    calls = {
        name: lambda _, it=it: seconds_of(it.predict if options.forward else it.step, it.device)
        for name, it in steppers.items()
    }
    seconds = alternate(calls, repeats=options.repeats, untimed=1)
    print(
        f"{net_name:24}{'s':>8}{'first':>8}{'MiB':>8}   {'baseline / this':24}"
        f"{'error of logits':>16}{'of gradients':>14}"
    )
    for name, times in seconds.items():
        first, memory, logits, gradients = notes[name]
        text = f"{statistics.median(times):8.3f}{first:8.1f}{memory:8.1f}   {ratio_text(seconds['baseline'], times):24}"
        print(f"  {name:22}{text}{logits:16.1e}{gradients:14.1e}", flush=True)


def print_profile(options: argparse.Namespace, net_name: str) -> None:
    """Print the time of a step by operation, for every variant."""
    for name in ["baseline", *options.variants]:
        stepper = make_stepper(options, net_name, VARIANTS[name], batch=options.batch)
        stepper.step()
        is_on_gpu = stepper.device.type == "cuda"
        times = {
            event: event.self_device_time_total if is_on_gpu else event.self_cpu_time_total  # microseconds
            for event in record(stepper, stepper.step).key_averages()
        }
        total = sum(times.values())
        print(f"{net_name}, {name}: {total / 1e6:.2f} s")
        for event, taken in sorted(times.items(), key=lambda item: -item[1])[:16]:
            print(f"  {event.key[:44]:46}{taken / 1e3:9.0f} ms {taken / total:6.1%} {event.count:6} calls")


def parse_options() -> argparse.Namespace:
    """Parse the command line."""
    parser = Parser(__doc__)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--networks", nargs="+", default=["dg_p3d_resnet50"])
    others = [name for name in VARIANTS if name != "baseline"]
    parser.add_argument("--variants", nargs="+", choices=others, default=["fused", "last", "bf16"])
    parser.add_clips(batch=2, size=112)
    parser.add_number("--repeats", 7, "timed steps of each variant, after an untimed one")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of torch (default: its own)")
    parser.add_argument("--forward", action="store_true", help="time forward passes in evaluation mode")
    parser.add_argument("--profile", action="store_true", help="print the time by operation")
    return parser.parse_args()


def main() -> None:
    """Measure and print; without the requested GPU say so."""
    options = parse_options()
    require_gpu(options.device)
    torch.set_num_threads(options.threads)
    bf16 = "bf16 instructions" if has_bf16(torch.device(options.device)) else "no bf16 instructions"
    print(f"{describe_machine()}\n{options.threads} threads, {bf16}")
    for net_name in options.networks:
        (print_profile if options.profile else measure)(options, net_name)


if __name__ == "__main__":
    main()
