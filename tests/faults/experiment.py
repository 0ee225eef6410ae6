"""Helpers of the experiments: resumable counts, separate processes, and the runs under test."""

import argparse
import hashlib
import json
import multiprocessing
import os
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch

import extract_score_3d
import train_3d
import train_3d_op
from dataset.synthetic import make_synthetic
from model.build import make_initial_network
from tests import forked
from tests.conftest import write_record
from utils.cli import run_script
from utils.config import RunConfig, load_config
from utils.evaluation.provenance import scores_folder
from utils.evaluation.score_index import index_scores
from utils.evaluation.scores import read_manifest
from utils.files import write_text_atomically
from utils.training.checkpoint import load_tensors

TIMEOUT = 120.0  # seconds; a process that takes longer hangs
_TIMES = ("seconds", "wait", "per_second")  # parts of the keys of values that depend on time


def read_options(description: str | None, kinds: Iterable[str], *, count: int) -> argparse.Namespace:
    """Parse the command line: `kinds`, `count` of each, and the `folder` of files and counts."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kinds", nargs="*", default=list(kinds), help=f"of {', '.join(kinds)} (default: all)")
    parser.add_argument("--count", type=int, default=count, help="how many of each (default %(default)s)")
    parser.add_argument("--folder", type=Path, default=Path("output/faults"), help="of files, counts and what failed")
    options = parser.parse_args()
    options.folder = options.folder.resolve()
    if unknown := set(options.kinds) - set(kinds):
        parser.error(f"{', '.join(sorted(unknown))}: not one of {', '.join(kinds)}")
    return options


class Counts(Counter[str]):
    """Counts in a file, from which an interrupted experiment resumes."""

    def __init__(self, path: Path) -> None:
        """Read the existing counts."""
        super().__init__(json.loads(path.read_text()) if path.exists() else {})
        self._path = path

    def add(self, found: Mapping[str, int]) -> None:
        """Add the counts of one trial; the file gets all of them or none."""
        self.update(found)
        write_text_atomically(self._path, json.dumps(self, indent=1))


def start(
    main: Callable[[], object], *, log: Path, words: Iterable[str] = (), before: Callable[[], object] = lambda: None
) -> BaseProcess:
    """Start a process that runs a script's main function, in its own process group, as a shell does.

    It is forked from this one, which saves seconds of imports. Its output is appended to a file.

    Args:
        main: The function that the script passes to `run_script`.
        log: File of the output.
        words: The command line.
        before: Called in the process, before everything else.
    """

    def run() -> None:
        os.setpgid(0, 0)
        with log.open("ab") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        sys.stdout, sys.stderr = (open(number, "w", closefd=False) for number in (1, 2))  # noqa: SIM115
        sys.argv = ["script.py", *words]
        before()
        run_script(main)  # type: ignore[arg-type]

    forked.preload()
    process = multiprocessing.get_context("fork").Process(target=run)
    process.start()
    return process


def end(process: BaseProcess) -> int:
    """Wait for a process and all that it has started; return its exit code, or -SIGABRT if one hangs."""
    process.join(TIMEOUT)
    deadline = time.monotonic() + TIMEOUT
    while _is_alive(process) and time.monotonic() < deadline:
        time.sleep(0.02)
    hung = _is_alive(process)
    if hung:
        assert process.pid is not None
        os.killpg(process.pid, signal.SIGKILL)
        process.join()
    return -signal.SIGABRT if hung or process.exitcode is None else process.exitcode


def _is_alive(process: BaseProcess) -> bool:
    """Return whether a process, or one that it has started, is running."""
    assert process.pid is not None
    if process.exitcode is None:
        return True
    try:
        os.killpg(process.pid, 0)
    except ProcessLookupError:
        return False
    return True


def digest(content: Any) -> str:
    """Return a checksum of nested tensors, arrays and plain values, without those that depend on time."""
    if isinstance(content, Mapping):
        items = [(str(key), digest(value)) for key, value in content.items() if not any(t in str(key) for t in _TIMES)]
        return _hash(repr(sorted(items)).encode())
    if isinstance(content, list | tuple):
        return _hash(repr([digest(item) for item in content]).encode())
    if isinstance(content, torch.Tensor):
        content = content.numpy()
    return _hash(content.tobytes() if hasattr(content, "tobytes") else repr(content).encode())


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@dataclass(frozen=True)
class Subject:
    """A kind of run that is interrupted.

    Attributes:
        title: Title of its row.
        main: The script's main function.
        result: Returns the run's results, without times, from its configuration.
        sections: Sections of its record beyond the common ones.
    """

    title: str
    main: Callable[[], object]
    result: Callable[[RunConfig], Any]
    sections: Mapping[str, dict[str, Any]] = field(default_factory=dict)


def _training(config: RunConfig) -> Any:
    content = load_tensors(config.weights_path)
    del content["config"]  # contains the folder
    lines = [json.loads(line) for line in (config.run_dir / "log.jsonl").read_text().splitlines()]
    for line in lines:
        line.pop("crc32", None)
        line.pop("time", None)
    return content, lines


def _search(config: RunConfig) -> Any:
    found = json.loads((config.run_dir / "search.json").read_text())
    weights = load_tensors(config.weights_path)["network"]
    return weights, found["edges"], found["path"], found["test"], found["score"]


def read_scores(config: RunConfig) -> Any:
    """Return all scores of a record, whatever their parts; raise the errors that merging raises."""
    folder = scores_folder(config)
    manifest = read_manifest(folder)
    if manifest is None:
        return None
    index = index_scores(folder, manifest)
    index.require_complete(completed_by="extract_score_3d.py")
    return manifest.identity, index.missing, [(videos, scores) for videos, scores in index.blocks()]


_SPACE: dict[str, Any] = {
    "inputs": [{"clip_length": 4}, {"clip_length": 8, "batch_size": 2, "iter_size": 2}],
    "lr_factors": [1.0, 0.1],
    "graph": ["initial -> (0,0)", "(0,0) -> (1,1)", "(0,0) -> (0,1)", "(0,1) -> (1,1)"],
    "attempt_epochs": 1,
    "max_epochs": 2,
    "heldout_fraction": 0.3,
}
_STATES: dict[str, dict[str, Any]] = {
    "sampler": {"clip_length": [4, 8], "num_steps": [1, 1], "batch_size": [4, 4]},
    "optimizer": {"epochs": [1, 2], "base_learning_rate": [0.02, 0.01], "lr_scheduler": "constant", "ema": 0.9},
    "dataset": {"num_workers": 1},
}
SUBJECTS: dict[str, Subject] = {
    "training": Subject("training, one state", train_3d.main, _training),
    "states": Subject("training, two states, a loader process", train_3d.main, _training, _STATES),
    "search": Subject("search", train_3d_op.main, _search, {"search": _SPACE}),
    "extraction": Subject(
        "extraction, a loader process", extract_score_3d.main, read_scores, {"dataset": {"num_workers": 1}}
    ),
}


def make_record(folder: Path, kind: str) -> Path:
    """Write the record of a subject; make its videos and, for scores, its weights, unless they exist."""
    videos, start_weights = folder / "videos", folder / "weights.pth"
    make_synthetic(videos, num_train=16, num_test=20, size=32, frames=8, workers=1)
    own = dict(SUBJECTS[kind].sections)
    if kind == "extraction":
        own["network"] = {"eva_model": str(start_weights)}
    path = write_record(videos, folder, kind, **{"sampler": {"clip_length": 4}, "logging": {"save_steps": 2}, **own})
    if kind == "extraction" and not start_weights.exists():
        network = make_initial_network(load_config(path), trained=None)
        torch.save({"network": network.state_dict()}, start_weights)
    return path


def command_line(record: Path, output: Path) -> list[str]:
    """Return the arguments of a script that runs a record with results in a folder."""
    return ["--config_file", str(record), f"logging.output_dir={output}"]


def load_run(record: Path, output: Path) -> RunConfig:
    """Return the configuration of a record with results in a folder."""
    return load_config(record, [f"logging.output_dir={output}"])


@dataclass(frozen=True)
class Whole:
    """An uninterrupted run of a subject: record, output folder, digest of its result, duration in seconds."""

    record: Path
    output: Path
    digest: str
    seconds: float


def run_whole(folder: Path, kind: str) -> Whole:
    """Run a subject without interruption."""
    subject, record, output = SUBJECTS[kind], make_record(folder, kind), folder / f"{kind}-whole"
    known = Counts(folder / f"{kind}-whole.json")
    if not known["milliseconds"]:
        began = time.monotonic()
        code = end(start(subject.main, log=folder / f"{kind}-whole.log", words=command_line(record, output)))
        assert code == 0, f"it ended with {code}, see {folder}/{kind}-whole.log"
        known.add({"milliseconds": round(1000 * (time.monotonic() - began))})
    return Whole(record, output, digest(subject.result(load_run(record, output))), known["milliseconds"] / 1000)


def try_runs(
    counts: Counts,
    folder: Path,
    name: str,
    *,
    is_enough: Callable[[], bool],
    trial: Callable[[Path], Mapping[str, int]],
    bad: Sequence[str],
) -> None:
    """Try runs, each with its own output folder and log, until there are enough.

    Runs counted under a name in `bad` are kept, with their logs.
    """
    while not is_enough():
        output = folder / f"{name}-{counts['runs']:03d}"
        shutil.rmtree(output, ignore_errors=True)
        output.with_suffix(".log").unlink(missing_ok=True)
        found = trial(output)
        counts.add(found)
        if not any(found.get(verdict) for verdict in bad):
            shutil.rmtree(output)
            output.with_suffix(".log").unlink()
