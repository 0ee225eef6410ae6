"""Compare loss curves in bf16 and float32 over seeds: do the dtypes differ more than the seeds?

A small network learns random patterns with noise, with the same seeds in both dtypes. Each line is a part of the
training: the mean loss in float32 with the range over seeds, the same in bf16, and whether the mean in bf16 lies within
the range of float32. Without bf16 instructions the results are the same, but take longer.

    python benchmarks/precision.py
"""

import argparse
import statistics
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import model
from benchmarks.measuring import Parser, describe_machine, spread_text
from benchmarks.training_step import Stepper, Variant
from utils.training.precision import has_bf16


def train(options: argparse.Namespace, seed: int, dtype: torch.dtype | None) -> list[float]:
    """Train with one seed; return the mean loss of every part of the training."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(seed)
    network = model.create_model(
        options.network,
        num_classes=options.classes,
        base_width=options.base_width,
        image_size=options.size,
        early_stride=1,
    ).to(device)
    patterns = torch.randn(options.classes, 3, options.frames, options.size, options.size)
    stepper = Stepper(Variant(dtype), network, patterns.to(device), rate=options.rate)
    losses = []
    for _ in range(options.steps):
        labels = torch.randint(0, options.classes, (options.batch,))
        clips = patterns[labels] + options.noise * torch.randn(options.batch, *patterns.shape[1:])
        stepper.clips, stepper.labels = clips.to(device), labels.to(device)
        losses.append(stepper.step().item())
    length = options.steps // options.parts
    return [statistics.mean(losses[part * length : (part + 1) * length]) for part in range(options.parts)]


def measure(options: argparse.Namespace) -> None:
    """Train with every seed in both dtypes and print a line for each part."""
    curves = {dtype: [train(options, seed, dtype) for seed in range(options.seeds)] for dtype in (None, torch.bfloat16)}
    print(f"{'steps':12}{'float32':26}{'bf16':26}bf16's mean")
    length = options.steps // options.parts
    for part in range(options.parts):
        exact, rough = ([curve[part] for curve in found] for found in curves.values())
        texts = [spread_text(one, digits=3, middle=statistics.mean) for one in (exact, rough)]
        inside = "inside" if min(exact) <= statistics.mean(rough) <= max(exact) else "outside"
        print(f"{f'{part * length + 1}-{(part + 1) * length}':12}{texts[0]:26}{texts[1]:26}{inside}", flush=True)


def parse_options() -> argparse.Namespace:
    """Parse the command line."""
    parser = Parser(__doc__)
    parser.add_argument("--network", default="dg_p3d_resnet18")
    parser.add_clips(batch=8, size=32, frames=4, base_width=8)
    parser.add_number("--seeds", 5, "trainings in each dtype")
    parser.add_number("--steps", 80, "steps per training")
    parser.add_number("--parts", 8, "parts of a training, one line each")
    parser.add_number("--classes", 10, "number of patterns")
    parser.add_number("--noise", 2.0, "standard deviation; that of the patterns is 1")
    parser.add_number("--rate", 0.02, "learning rate")
    return parser.parse_args()


def main() -> None:
    """Train and print."""
    options = parse_options()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    print(f"{describe_machine()}\n{'bf16' if has_bf16(device) else 'no bf16'} instructions; {options.network}")
    measure(options)


if __name__ == "__main__":
    main()
