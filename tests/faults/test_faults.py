"""The experiments run on few trials, and detect the faults that they look for."""

import dataclasses
import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.faults import experiment, flips, fuzz, kills, signals, soak
from tests.faults.outcomes import BAD, find_outcome
from utils.errors import UserError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("faults")


def left_over(folder: Path, name: str) -> list[Path]:
    return list(folder.glob(f"{name}-*-[0-9]*"))


def test_killed_runs_are_compared(folder: Path) -> None:
    counts = kills.try_kind(folder, "training", count=1)
    assert counts["kills"] >= 1 and counts["equal"] == counts["runs"]
    assert kills.try_kind(folder, "training", count=1) == counts  # counted trials are not repeated
    assert left_over(folder, "killed") == []
    whole = experiment.run_whole(folder, "training")
    other = dataclasses.replace(whole, digest="of other weights")
    assert kills.compare("training", whole, whole.output, code=0) == "equal"
    assert kills.compare("training", other, whole.output, code=0) == "different"
    assert kills.compare("training", whole, whole.output, code=2) == "failed"


def test_stopped_runs_are_compared(folder: Path) -> None:
    counts = signals.try_kind(folder, "training", count=1)
    assert counts["stopped"] >= 2 and counts["equal"] == counts["runs"] and not counts["bad stop"]
    assert left_over(folder, "stopped") == []


def test_orphaned_processes_are_detected(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(experiment, "TIMEOUT", 0.3)

    def leave() -> None:
        if os.fork() == 0:
            time.sleep(60)
            os._exit(0)

    assert experiment.end(experiment.start(leave, log=folder / "left.log")) == -signal.SIGABRT
    assert experiment.end(experiment.start(lambda: None, log=folder / "none.log")) == 0


def test_flipped_bits_are_detected(folder: Path) -> None:
    for kind in ("checkpoint", "config"):
        counts = flips.try_kind(folder, kind, count=5)
        assert counts.total() == 5 and not any(counts[name] for name in BAD), kind
    assert left_over(folder, "flipped") == []


@pytest.mark.parametrize("kind", fuzz.KINDS)
def test_corrupt_files_are_detected(folder: Path, kind: str) -> None:
    counts = fuzz.try_kind(folder, kind, count=3)
    assert counts.total() == 3 and not any(counts[name] for name in BAD)


def test_wrong_pictures_are_distinguished_from_right_ones(folder: Path) -> None:
    jpeg = fuzz.KINDS["jpeg"]
    path = jpeg.make(folder / "sound")
    expected, _ = jpeg.read(path)
    wrong = fuzz.Kind(jpeg.make, lambda path: ([255 - expected[0]], ()), jpeg.reference)
    noted = fuzz.Kind(jpeg.make, lambda path: ([255 - expected[0]], ("damaged",)), jpeg.reference)
    as_others = fuzz.Kind(jpeg.make, wrong.read, lambda path: [255 - expected[0]])
    assert [fuzz.judge(kind, path, expected) for kind in (jpeg, wrong, noted, as_others)] == [
        "as it was",
        "silently wrong",
        "reported",
        "unmarked",
    ]


def test_all_outcomes_are_distinguished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.faults.outcomes.TIMEOUT", 0.3)
    path = tmp_path / "file.txt"

    def fail(error: Exception) -> Any:
        def read() -> str:
            raise error

        return read

    def crash() -> str:
        os.kill(os.getpid(), signal.SIGKILL)
        return ""

    def hang() -> str:
        time.sleep(60)
        return ""

    tries = {
        "refused": fail(UserError(f"{path}: it is damaged")),
        "unnamed": fail(UserError("it is damaged")),
        "traceback": fail(ValueError(f"{path}: it is damaged")),
        "crash": crash,
        "hang": hang,
        "reported": lambda: "reported",
    }
    assert {name: find_outcome(read, path, log=tmp_path / "log") for name, read in tries.items()} == {
        name: name for name in tries
    }


def test_training_is_sampled_and_growth_is_detected(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soak, "REPEATS", 1)
    samples = soak.train_watched(folder, "RAW", count=12)
    assert samples and samples[-1].batches in (6, 12)
    assert min(samples[0].memory, samples[0].loader_memory) > 1 and samples[0].descriptors > 3
    flat = [soak.Sample(number, 100, 200, 20, 30) for number in range(9)]
    assert soak.is_flat(flat)
    for number, name in ((5, "memory"), (6, "loader_memory"), (3, "descriptors"), (4, "loader_descriptors")):
        grown = [
            soak.Sample(**{**vars(sample), name: getattr(sample, name) + number * i}) for i, sample in enumerate(flat)
        ]
        assert not soak.is_flat(grown), name


def test_digests_distinguish_values() -> None:
    assert experiment.digest({"a": torch.ones(2), "seconds": 1}) == experiment.digest(
        {"seconds": 2, "a": torch.ones(2)}
    )
    for other in ({"a": torch.zeros(2)}, {"b": torch.ones(2)}, {"a": torch.ones(3)}, {"a": [1.0, 1.0]}):
        assert experiment.digest({"a": torch.ones(2)}) != experiment.digest(other)
    assert fuzz.corrupt(b"0123456789" * 100, random.Random(0)) != b"0123456789" * 100
