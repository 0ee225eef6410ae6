"""What the experiments share: counts that go on after an interruption, processes of their own, and what is attacked."""

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

PATIENCE = 120.0  # seconds; a process that is not done by then hangs
_TIMES = ("seconds", "wait", "per_second")  # in names of what depends on the clock


def read_options(description: str | None, kinds: Iterable[str], *, count: int) -> argparse.Namespace:
    """Return the command line: which `kinds`, how many (`count`), and the `folder` of what is made and counted."""
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
    """Counts in a file, which go on where an interrupted experiment stood."""

    def __init__(self, path: Path) -> None:
        """Read the counts that are there."""
        super().__init__(json.loads(path.read_text()) if path.exists() else {})
        self._path = path

    def add(self, found: Mapping[str, int]) -> None:
        """Add what one trial has found; the file has all of it or nothing."""
        self.update(found)
        write_text_atomically(self._path, json.dumps(self, indent=1))


def start(
    main: Callable[[], object], *, log: Path, words: Iterable[str] = (), before: Callable[[], object] = lambda: None
) -> BaseProcess:
    """Start a process of a group of its own, as a shell does, that runs a script's main function as the script does.

    It forks from this one, which spares it the seconds of its imports. What it prints is added to a file.

    Args:
        main: What the script hands to `run_script`.
        log: The file.
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
    """Wait for the process and for all that it has started; return its exit code, or -SIGABRT of one that hung."""
    process.join(PATIENCE)
    deadline = time.monotonic() + PATIENCE
    while _is_alive(process) and time.monotonic() < deadline:
        time.sleep(0.02)
    hung = _is_alive(process)
    if hung:
        assert process.pid is not None
        os.killpg(process.pid, signal.SIGKILL)
        process.join()
    return -signal.SIGABRT if hung or process.exitcode is None else process.exitcode


def _is_alive(process: BaseProcess) -> bool:
    """Return whether a process or one that it has started is there."""
    assert process.pid is not None
    if process.exitcode is None:
        return True
    try:
        os.killpg(process.pid, 0)
    except ProcessLookupError:
        return False
    return True


def digest(content: Any) -> str:
    """Return a checksum of tensors, arrays and plain values in dictionaries and lists, whatever the time was."""
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
    """What is interrupted.

    Attributes:
        title: Of its row.
        main: The script's main function.
        result: Returns what it leaves behind, but for times, given the configuration.
        sections: What its record says beyond the common.
    """

    title: str
    main: Callable[[], object]
    result: Callable[[RunConfig], Any]
    sections: Mapping[str, dict[str, Any]] = field(default_factory=dict)


def _training(config: RunConfig) -> Any:
    content = load_tensors(config.weights_path)
    del content["config"]  # it names the folder
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
    """Return all scores of a record, of whichever parts, or raise what merging them would."""
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
    """Write the record of a subject, and make its videos and, for scores, its weights where they are absent."""
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
    """Return the words behind a script's name that run a record with results in a folder."""
    return ["--config_file", str(record), f"logging.output_dir={output}"]


def load_run(record: Path, output: Path) -> RunConfig:
    """Return the configuration of a record with results in a folder."""
    return load_config(record, [f"logging.output_dir={output}"])


@dataclass(frozen=True)
class Whole:
    """A subject's run that nothing interrupted: record, output folder, digest of its result, duration in seconds."""

    record: Path
    output: Path
    digest: str
    seconds: float


def run_whole(folder: Path, kind: str) -> Whole:
    """Run a subject without an interruption."""
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
    """Try one run after the other, each with an output folder and a log of its own, until there are enough.

    What is counted under a name of `bad` is kept, with its log.
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
