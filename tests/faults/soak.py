"""Train for thousands of batches and sample memory and open descriptors of all processes from outside.

    python -m tests.faults.soak [RAW FRAME LMDB] [--count 3000]

Two loader processes read and augment videos of a format; the training scores and saves after every epoch. Memory is
private memory plus the proportional part of shared memory (PSS, Linux), in MiB.
"""

import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

import train_3d
from dataset.synthetic import make_synthetic
from tests.conftest import write_record
from tests.faults.experiment import command_line, end, load_run, read_options, start

FORMATS = ("RAW", "FRAME", "LMDB")
VIDEOS, REPEATS, BATCH = 24, 10, 4  # an epoch is 60 batches
# Largest growth from the middle third of a run to its last: data in transit changes it by a descriptor or two.
MOST_GROWTH = 0.02


@dataclass(frozen=True)
class Sample:
    """A sample: batches trained, memory (MiB) and descriptors of the training process and of its loaders."""

    batches: int
    memory: float
    loader_memory: float
    descriptors: int
    loader_descriptors: int


def _memory(pid: int) -> float:
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(next(line for line in text.splitlines() if line.startswith("Pss:")).split()[1]) / 1024


def _descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def watch(process: BaseProcess, log: Path) -> Iterator[Sample]:
    """Yield a sample after every epoch in the log, while a process trains."""
    epochs = 0
    while process.exitcode is None:
        time.sleep(0.1)
        lines = log.read_text().splitlines() if log.exists() else []
        if len(lines) <= epochs:
            continue
        epochs, pid = len(lines), process.pid
        assert pid is not None
        try:
            children = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
            yield Sample(
                epochs * VIDEOS * REPEATS // BATCH,
                _memory(pid),
                sum(map(_memory, children)),
                _descriptors(pid),
                sum(map(_descriptors, children)),
            )
        except OSError:  # the process or a loader ended
            continue


def train_watched(folder: Path, format: str, *, count: int) -> list[Sample]:
    """Train on videos of a format for at least `count` batches; return the samples."""
    folder.mkdir(parents=True, exist_ok=True)
    videos = folder / f"videos-{format}"
    make_synthetic(videos, num_train=VIDEOS, num_test=12, size=32, frames=8, format=format, workers=1)
    lines = (videos / "train_list.txt").read_text()
    (videos / "long_list.txt").write_text(lines * REPEATS)
    record = write_record(
        videos,
        folder,
        f"soak-{format}",
        dataset={"format": format, "num_workers": 2, "list_file": f"{videos}/long_list.txt"},
        optimizer={"epochs": -(-count // (VIDEOS * REPEATS // BATCH))},
        sampler={"clip_length": 4},
    )
    log = folder / f"soak-{format}.log"
    process = start(train_3d.main, log=log, words=[*command_line(record, folder), "--force"])
    samples = list(watch(process, load_run(record, folder).run_dir / "log.jsonl"))
    assert end(process) == 0, f"it failed, see {log}"
    return samples


def is_flat(samples: list[Sample]) -> bool:
    """Return whether neither memory nor descriptors have grown from the middle third to the last."""
    third = len(samples) // 3
    middle, last = samples[third:-third], samples[-third:]

    def grown(name: str) -> float:
        before, after = (statistics.median(getattr(sample, name) for sample in part) for part in (middle, last))
        return after / before - 1

    return max(map(grown, ("memory", "loader_memory", "descriptors", "loader_descriptors"))) <= MOST_GROWTH


def main() -> None:
    """Train, watch and print."""
    options, is_well = read_options(__doc__, FORMATS, count=3000), True
    for format in options.kinds:
        samples = train_watched(options.folder, format, count=options.count)
        is_well &= is_flat(samples)
        for sample in samples[:: max(1, len(samples) // 6)]:
            of_loaders = f"{sample.loader_memory:.0f} | {sample.loader_descriptors}"
            row = f"| {format} | {sample.batches} | {sample.memory:.0f} | {sample.descriptors} | {of_loaders} |"
            print(row, flush=True)
        print(f"{format}: {'flat' if is_flat(samples) else 'GROWS'}", flush=True)
    sys.exit(not is_well)


if __name__ == "__main__":
    main()
