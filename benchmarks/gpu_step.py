"""How well a training step uses a GPU; without a GPU it says so and exits with 2.

The rate of the convolutions as a fraction of that of a large bf16 matrix product; the largest batch that fits; the
fraction of time that training at this batch size waits for the loader. Steps and variants are those of
training_step.py. A measurement that fails prints the reason, and the next one begins.

    python benchmarks/gpu_step.py
    python benchmarks/gpu_step.py --network i3d_resnet50 --batch 16 --workers 8

benchmarks/gpu.py runs it with the other GPU benchmarks. It has not been run on a GPU yet: its parts are tested on a
CPU, with tiny sizes (--device cpu).
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.loader import STORES, make_data, make_ours, make_transform
from benchmarks.measuring import Parser, describe_machine, seconds_of, wait
from benchmarks.training_step import BF16, VARIANTS, attempt, make_stepper, record, require_gpu
from dataset.listing import read_list
from dataset.readers import open_reader

BEST = "bf16-last"  # variant for the largest batch and the loader


def matmul_rate(options: argparse.Namespace) -> float:
    """Return the operations per second (two for a multiply-add) of a large bf16 matrix product."""
    device, side = torch.device(options.device), options.matmul
    left, right = (torch.randn(side, side, device=device, dtype=BF16) for _ in range(2))
    seconds = [
        seconds_of(lambda: [left @ right for _ in range(10)], device) / 10
        for _ in range(options.warmup + options.repeats)
    ]
    return 2 * side**3 / statistics.median(seconds[options.warmup :])


def measure_convolutions(options: argparse.Namespace, name: str, rate: float) -> None:
    """Print the rate of a step's convolutions, and its fraction of `rate`, a matrix product's operations per second."""
    stepper = make_stepper(options, options.network, VARIANTS[name], batch=options.batch)
    with FlopCounterMode(display=False) as counter:
        stepper.differentiate()
    counts = counter.get_flop_counts()["Global"]
    operations = sum(count for operation, count in counts.items() if "convolution" in str(operation))
    for _ in range(options.warmup):
        stepper.step()
    microseconds = sum(
        event.device_time_total if stepper.device.type == "cuda" else event.cpu_time_total
        for event in record(stepper, stepper.step).key_averages()
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


def largest_batch(fits: Callable[[int], bool], *, limit: int) -> int:
    """Return the largest batch up to `limit` that fits, found by doubling and bisection; 0 if not even 1 fits."""
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
    """Return whether two steps of a batch run without exhausting the memory."""
    try:
        stepper = make_stepper(options, options.network, VARIANTS[BEST], batch=batch)
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
    """Print the fraction of time that training on encoded videos waits for the loader."""
    clips = batch * (options.repeats + options.warmup)
    loading = {"batch": batch, "clips": clips, "length": options.frames, "ra_n": 1, "ra_m": 9}
    loading_options = argparse.Namespace(**vars(options) | loading)
    reader, videos = open_reader(STORES[store][0], root / store), read_list(root / f"{store}.txt")
    ours = make_ours(loading_options, videos, reader, make_transform(loading_options, "default"))
    stepper = make_stepper(options, options.network, VARIANTS[BEST], batch=batch)
    waiting, total = [], []
    began = time.perf_counter()
    for loaded in ours.loader:
        waiting.append(time.perf_counter() - began)
        stepper.clips = ours.finish(loaded).to(stepper.device)
        stepper.step()
        wait(stepper.device)
        total.append(time.perf_counter() - began)
        began = time.perf_counter()
    fraction = sum(waiting[options.warmup :]) / sum(total[options.warmup :])
    print(f"  {store:28}batch {batch}, {options.workers} workers: waiting {fraction:.1%} of the time", flush=True)


def measure(options: argparse.Namespace) -> None:
    """Run all measurements."""
    print(f"convolutions: {options.network}, {options.batch} clips of {options.frames} x {options.size}^2")
    rate = attempt("bf16 matrix product", partial(matmul_rate, options))
    if rate is not None:
        for name in ("bf16", BEST):
            attempt(name, partial(measure_convolutions, options, name, rate))
    print("largest batch that fits")
    largest = attempt(BEST, lambda: largest_batch(partial(batch_fits, options), limit=options.largest))
    print(f"  {BEST:28}{'-' if largest is None else largest} of at most {options.largest}")
    # Somewhat below the largest, since the loader's clips need memory in addition to those of the step.
    batch = options.batch if largest is None else max(1, int(largest * 0.9))
    print("waiting for the loader")
    with tempfile.TemporaryDirectory() as root:
        make_data(Path(root), videos=options.videos, frames=options.video_frames)
        for store in options.stores:
            attempt(store, partial(measure_loader, options, Path(root), store=store, batch=batch))


def parse_options() -> argparse.Namespace:
    """Parse the command line."""
    parser = Parser(__doc__)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--network", default="dg_p3d_resnet50")
    parser.add_clips(batch=32, size=224)
    parser.add_number("--largest", 1024, "upper limit of the largest batch")
    parser.add_number("--matmul", 8192, "side of the matrices")
    parser.add_number("--repeats", 20, "timed products, and timed steps fed by the loader")
    parser.add_number("--warmup", 5, "untimed steps before these")
    parser.add_number("--workers", 8, "processes of the loader")
    parser.add_number("--videos", 12, "videos to make for the loader")
    parser.add_number("--video_frames", 300, "frames per video")
    parser.add_argument(
        "--stores", nargs="+", choices=STORES, default=["RAW-12", "LMDB"], help="stores of benchmarks/loader.py"
    )
    return parser.parse_args()


def main() -> None:
    """Measure and print; without a GPU say so."""
    options = parse_options()
    require_gpu(options.device)
    print(describe_machine())
    measure(options)


if __name__ == "__main__":
    main()
