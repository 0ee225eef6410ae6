"""One command for everything about a training step on a GPU; without one it says so and exits with 2.

Speed of bf16, channels last, the fused optimizer, CUDA graphs and torch.compile against plain float32 and TF32, in
alternation; what the convolutions reach of the rate of a large bf16 matrix product; bf16 results against float32; peak
memory and the largest batch that fits; the fraction of its time that this batch waits for the loader. A step is forward
pass, loss, backward pass and SGD. A measurement that cannot be made says why, and the next one begins.

    python benchmarks/gpu_step.py
    python benchmarks/gpu_step.py --network i3d_resnet50 --batch 16 --workers 8

benchmarks/gpu.py runs it with all else that is to be known of a GPU. It has not been run on a GPU yet: its parts are
tested on a CPU, with tiny sizes (--device cpu).
"""

import argparse
import contextlib
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import model
from benchmarks.loader import STORES, make_data
from benchmarks.measuring import describe_machine, ratio_text
from dataset.listing import read_list
from dataset.loading import VideoLoader
from dataset.readers import open_reader
from dataset.transforms.normalization import ClipNormalizer
from dataset.transforms.recipes import build_train_transform
from dataset.video_dataset import TrainingClips, collate_clips, worker_init
from layers.channels_last import use_channels_last
from layers.losses import HeadsLoss
from utils.clip_shape import ClipShape
from utils.training.precision import autocast

CLASSES = 400
NO_GPU = 2
Network = Callable[[Tensor], tuple[Tensor, ...]]


@dataclass(frozen=True)
class Setting:
    """A way to run a step; `compiled` is torch.compile's mode, "" for none; `tries` lets cuDNN try its algorithms."""

    dtype: torch.dtype | None = None
    tf32: bool = False
    channels_last: bool = False
    fused: bool = False
    tries: bool = False
    graphed: bool = False
    compiled: str = ""


BF16 = torch.bfloat16
SETTINGS = {
    "float32": Setting(),
    "tf32": Setting(tf32=True),
    "bf16": Setting(BF16),
    "bf16, channels last": Setting(BF16, channels_last=True),
    "the same, fused SGD": Setting(BF16, channels_last=True, fused=True),
    "all that, cudnn.benchmark": Setting(BF16, channels_last=True, fused=True, tries=True),
    "all that, CUDA graphs": Setting(BF16, channels_last=True, fused=True, tries=True, graphed=True),
    "all that, compile": Setting(BF16, channels_last=True, fused=True, tries=True, compiled="default"),
    "compile with CUDA graphs": Setting(BF16, channels_last=True, fused=True, tries=True, compiled="reduce-overhead"),
}
# What the largest batch and the loader are measured with.
BEST = "the same, fused SGD"


@contextlib.contextmanager
def backends(setting: Setting) -> Iterator[None]:
    """Tell torch's libraries what a setting allows, for a while."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark
    matmul.allow_tf32 = cudnn.allow_tf32 = setting.tf32
    cudnn.benchmark = setting.tries
    try:
        yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark = before


class Stepper:
    """A network, arranged for a setting, its optimizer and a batch of random clips."""

    def __init__(
        self, options: argparse.Namespace, setting: Setting, *, batch: int, dropout_ratio: float = 0.5
    ) -> None:
        """Make all of it on the device of `options`."""
        torch.manual_seed(0)
        self.setting, self.device = setting, torch.device(options.device)
        self.network = model.create_model(
            options.network,
            num_classes=CLASSES,
            image_size=options.size,
            base_width=options.base_width,
            dropout_ratio=dropout_ratio,
        ).to(self.device)
        if setting.channels_last:
            use_channels_last(self.network)
        self.clips = torch.randn(batch, 3, options.frames, options.size, options.size, device=self.device)
        self.labels = torch.arange(batch, device=self.device) % CLASSES
        self.optimizer = torch.optim.SGD(
            self.network.parameters(), lr=1e-3, momentum=0.9, nesterov=True, fused=setting.fused or None
        )
        self.criterion = HeadsLoss()
        self.run: Network = self.network
        if setting.compiled:
            self.run = cast(Network, torch.compile(self.network, mode=setting.compiled))
        if setting.graphed:
            with backends(setting), torch.autocast(self.device.type, setting.dtype, cache_enabled=False):
                self.run = cast(Network, torch.cuda.make_graphed_callables(self.network, (self.clips,)))

    def differentiate(self) -> Tensor:
        """Run forward and backward pass; return the loss."""
        self.optimizer.zero_grad(set_to_none=True)
        with backends(self.setting):
            with autocast(self.device, self.setting.dtype):
                heads = self.run(self.clips)
            loss = self.criterion(heads, self.labels)
            loss.backward()
        return loss.detach()

    def step(self) -> float:
        """Run a step; return its seconds."""
        wait(self.device)
        began = time.perf_counter()
        self.differentiate()
        self.optimizer.step()
        wait(self.device)
        return time.perf_counter() - began


def require_gpu(device: str) -> None:
    """End the script with one line where a GPU is wanted and there is none."""
    if device == "cuda" and not torch.cuda.is_available():
        print(f"{Path(sys.argv[0]).name}: torch sees no GPU, so there is nothing to measure", file=sys.stderr)
        sys.exit(NO_GPU)


def wait(device: torch.device) -> None:
    """Wait until the device has done everything."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def peak_mebibytes(stepper: Stepper) -> float:
    """Return the most memory that a step has at once beyond what is there before it; 0 on a CPU."""
    if stepper.device.type != "cuda":
        stepper.step()
        return 0.0
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    stepper.step()
    return (torch.cuda.max_memory_allocated() - before) / 2**20


def attempt(name: str, act: Callable[[], None]) -> None:
    """Make a measurement; if the device or torch refuses, say why and go on."""
    try:
        act()
    except (RuntimeError, NotImplementedError, OSError) as error:  # torch's own errors are RuntimeErrors
        print(
            f"  {name:28}skipped: {type(error).__name__}: {str(error).strip().partition(chr(10))[0][:160]}", flush=True
        )


def measure_steps(options: argparse.Namespace) -> None:
    """Time all settings in alternation; a setting that fails is left out."""
    steppers: dict[str, Stepper] = {}
    peaks: dict[str, float] = {}

    def make(name: str) -> None:
        stepper = Stepper(options, SETTINGS[name], batch=options.batch)
        for _ in range(options.warmup):
            stepper.step()
        peaks[name] = peak_mebibytes(stepper)
        steppers[name] = stepper

    for name in options.settings:
        attempt(name, lambda name=name: make(name))  # type: ignore[misc]
    seconds: dict[str, list[float]] = {name: [] for name in steppers}
    for _ in range(options.repeats):
        for name, stepper in steppers.items():
            seconds[name].append(stepper.step())
    print(f"  {'':28}{'ms':>9}{'clips/s':>9}{'MiB':>9}   {'float32 / this':22}tf32 / this")
    for name, times in seconds.items():
        over = [ratio_text(seconds[base], times) if base in seconds else "-" for base in ("float32", "tf32")]
        median = statistics.median(times)
        speed = f"{1e3 * median:9.1f}{options.batch / median:9.1f}{peaks[name]:9.0f}"
        print(f"  {name:28}{speed}   {over[0]:22}{over[1]}", flush=True)


def matmul_rate(options: argparse.Namespace) -> float:
    """Operations a second (a multiply-add is two) of a large bf16 matrix product."""
    device, side = torch.device(options.device), options.matmul
    left, right = (torch.randn(side, side, device=device, dtype=BF16) for _ in range(2))
    seconds = []
    for _ in range(options.repeats + options.warmup):
        wait(device)
        began = time.perf_counter()
        for _ in range(10):
            left @ right
        wait(device)
        seconds.append((time.perf_counter() - began) / 10)
    return 2 * side**3 / statistics.median(seconds[options.warmup :])


def measure_convolutions(options: argparse.Namespace, name: str, rate: float) -> None:
    """Print what the convolutions of a step reach of the rate of a matrix product."""
    stepper = Stepper(options, SETTINGS[name], batch=options.batch)
    stepper.step()
    with FlopCounterMode(display=False) as counter:
        stepper.differentiate()
    counts = counter.get_flop_counts()["Global"]
    operations = sum(count for operation, count in counts.items() if "convolution" in str(operation))
    on_gpu = stepper.device.type == "cuda"
    for _ in range(options.warmup):
        stepper.step()
    with profile(activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]) as found:
        stepper.step()
    microseconds = sum(
        event.device_time_total if on_gpu else event.cpu_time_total
        for event in found.key_averages()
        if event.key in ("aten::convolution", "aten::convolution_backward")
    )
    if not operations or not microseconds:
        raise RuntimeError("the profiler saw no convolution")
    reached = operations / (microseconds / 1e6)
    print(
        f"  {name:28}{operations / 1e12:8.2f} T operations in {microseconds / 1e3:.1f} ms: {reached / 1e12:.2f} T/s, "
        f"{reached / rate:.0%} of the matrix product's {rate / 1e12:.2f} T/s",
        flush=True,
    )


def compare_results(options: argparse.Namespace, name: str) -> None:
    """Print how far loss and gradients of a setting are from plain float32, of the same weights and clips."""
    exact, rough = (
        Stepper(options, setting, batch=options.batch, dropout_ratio=0.0)
        for setting in (SETTINGS["float32"], SETTINGS[name])
    )
    losses = [stepper.differentiate().item() for stepper in (exact, rough)]
    expected, found = (
        torch.cat([weight.grad.flatten() for weight in stepper.network.parameters() if weight.grad is not None])
        for stepper in (exact, rough)
    )
    distance = ((found - expected).norm() / expected.norm()).item()
    cosine = nn.functional.cosine_similarity(found, expected, dim=0).item()
    print(
        f"  {name:28}loss {losses[1]:.5f}, float32 {losses[0]:.5f}; gradient: relative distance {distance:.2e}, "
        f"cosine {cosine:.5f}",
        flush=True,
    )


def largest_batch(fits: Callable[[int], bool], *, limit: int) -> int:
    """Return the largest batch up to a limit that fits, found by doubling and halving; 0 if not even one does."""
    good, bad = 0, limit + 1
    guess = 1
    while good + 1 < bad:
        if fits(guess):
            good = guess
            guess = min(2 * good, (good + bad) // 2) if bad > limit else (good + bad) // 2
        else:
            bad = guess
            guess = (good + bad) // 2
    return good


def batch_fits(options: argparse.Namespace, batch: int) -> bool:
    """Try two steps of a batch."""
    try:
        stepper = Stepper(options, SETTINGS[BEST], batch=batch)
        stepper.step()
        stepper.step()
    except torch.OutOfMemoryError:
        return False
    finally:
        stepper = None  # type: ignore[assignment]
        if options.device == "cuda":
            torch.cuda.empty_cache()
    return True


def measure_loader(options: argparse.Namespace, root: Path, *, store: str, batch: int) -> None:
    """Print the fraction of its time that training on encoded videos waits for the loader."""
    videos = read_list(root / f"{store}.txt")
    transform = build_train_transform(
        "default", crop_size=options.size, ra_n=1, ra_m=9, horizontal_flip=True, use_flow=False
    )
    reader = open_reader(STORES[store][0], root / store)
    clips = TrainingClips(videos, reader, transform, shape=ClipShape(1, options.frames, 1), seed=(0,))
    keys = [(0, index % len(videos)) for index in range(batch * (options.repeats + options.warmup))]
    loader = VideoLoader(
        clips,
        batch_sampler=[keys[begin : begin + batch] for begin in range(0, len(keys), batch)],
        num_workers=options.workers,
        collate_fn=collate_clips,
        worker_init_fn=worker_init,
        pin_memory=options.device == "cuda",
    )
    stepper, normalize = Stepper(options, SETTINGS[BEST], batch=batch), ClipNormalizer()
    waiting, total = [], []
    batches = iter(loader)
    for _ in range(options.repeats + options.warmup):
        began = time.perf_counter()
        loaded = next(batches)
        waiting.append(time.perf_counter() - began)
        stepper.clips = normalize(loaded.clips.to(stepper.device, non_blocking=True))
        stepper.step()
        total.append(time.perf_counter() - began)
    fraction = sum(waiting[options.warmup :]) / sum(total[options.warmup :])
    print(f"  {store:28}batch {batch}, {options.workers} workers: waiting {fraction:.1%} of the time", flush=True)


def measure(options: argparse.Namespace) -> None:
    """Make all measurements, one after the other."""
    print(f"step: {options.network}, {options.batch} clips of {options.frames} x {options.size}^2")
    measure_steps(options)
    print("convolutions")
    rates: list[float] = []
    attempt("bf16 matrix product", lambda: rates.append(matmul_rate(options)))
    for name in ("bf16", "bf16, channels last") if rates else ():
        attempt(name, lambda name=name: measure_convolutions(options, name, rates[0]))  # type: ignore[misc]
    print("results, without dropout")
    for name in ("tf32", "bf16", "bf16, channels last"):
        attempt(name, lambda name=name: compare_results(options, name))  # type: ignore[misc]
    print("largest batch that fits")
    found: list[int] = []
    attempt(BEST, lambda: found.append(largest_batch(lambda n: batch_fits(options, n), limit=options.largest)))
    print(f"  {BEST:28}{found[0] if found else '-'} of at most {options.largest}")
    # Somewhat below the largest: the allocator needs room when clips of the loader lie beside those of the step.
    batch = max(1, int(found[0] * 0.9)) if found else options.batch
    print("waiting for the loader")
    with tempfile.TemporaryDirectory() as root:
        make_data(Path(root), videos=options.videos, frames=options.video_frames)
        for store in options.stores:
            attempt(store, lambda store=store: measure_loader(options, Path(root), store=store, batch=batch))  # type: ignore[misc]


def parse_options() -> argparse.Namespace:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--network", default="dg_p3d_resnet50")
    parser.add_argument("--base_width", type=int, default=64)
    parser.add_argument("--settings", nargs="+", choices=SETTINGS, default=list(SETTINGS))
    parser.add_argument("--batch", type=int, default=32, help="clips of the timed steps (32)")
    parser.add_argument("--largest", type=int, default=1024, help="batch that is not exceeded (1024)")
    parser.add_argument("--frames", type=int, default=16, help="of a clip (16)")
    parser.add_argument("--size", type=int, default=224, help="of a clip, in pixels (224)")
    parser.add_argument("--matmul", type=int, default=8192, help="side of the matrices (8192)")
    parser.add_argument("--repeats", type=int, default=20, help="timed steps of each setting (20)")
    parser.add_argument("--warmup", type=int, default=5, help="steps before those (5)")
    parser.add_argument("--workers", type=int, default=8, help="processes of the loader (8)")
    parser.add_argument("--videos", type=int, default=12, help="to make for the loader (12)")
    parser.add_argument("--video_frames", type=int, default=300, help="of each (300)")
    parser.add_argument(
        "--stores", nargs="+", choices=STORES, default=["RAW-12", "LMDB"], help="of benchmarks/loader.py"
    )
    return parser.parse_args()


def main() -> None:
    """Measure, print; without a GPU say so."""
    options = parse_options()
    require_gpu(options.device)
    print(describe_machine())
    measure(options)


if __name__ == "__main__":
    main()
