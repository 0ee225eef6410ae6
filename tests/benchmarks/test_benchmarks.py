"""Benchmarks: baselines do the same work, and the scripts run."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import loader, measuring, scale, startup
from benchmarks.baseline_evaluation import FETCHERS
from dataset.listing import read_list
from dataset.readers import open_reader
from tests.conftest import ROOT


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("benchmark")
    loader.make_data(folder, videos=2, frames=40)
    return folder


@pytest.mark.parametrize("store", loader.STORES)
def test_the_baseline_reads_the_same_frames(root: Path, store: str) -> None:
    format = loader.STORES[store][0]
    numbers = [0, 1, 2, 9, 30, 31, 39]
    reader = open_reader(format, root / store)
    for record in read_list(root / f"{store}.txt"):
        ours = reader.read(record, numbers).numpy()
        images = FETCHERS[format](root / store / record.path, numbers)
        np.testing.assert_array_equal(np.stack([np.asarray(image) for image in images]), ours)
        assert len({frame.tobytes() for frame in ours}) == len(numbers)


def test_the_baseline_of_merging_has_the_same_accuracies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    config = scale.make_record(tmp_path, 40)
    scale.merge(config)
    video = json.loads((config.run_dir / "result.json").read_text())["metrics"]["video"]
    found = scale.merge_baseline(config)
    assert found == pytest.approx([video["top1"], video["top3"], video["top5"]])
    assert 0 < found[0] <= 1
    cost = scale.measure(scale.merge_baseline, config)
    assert cost.seconds > 0 and cost.processor > 0
    assert cost.memory > 0.01


def test_the_memory_of_a_process_is_its_own() -> None:
    """A new program does not inherit the peak memory of the process that starts it."""
    held = np.ones(200_000_000, np.uint8)  # in addition to torch, which the program imports, too
    assert measuring.peak_resident_bytes() > held.nbytes
    code = "from benchmarks.measuring import peak_resident_bytes as peak; import numpy as np; print(peak()); "
    code += "held = np.ones(100_000_000, np.uint8); print(peak())"
    printed = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    first, then = map(int, printed.split())
    assert first < measuring.peak_resident_bytes() - held.nbytes / 2
    assert first + 60_000_000 < then


def test_the_first_step_is_detected_in_the_progress_bar() -> None:
    bar = b"\rstate 1 epoch 1/8:   0%|          | 0/37 [00:00<?, ?step/s]"
    assert not startup.FIRST_STEP.search(bar)
    assert startup.FIRST_STEP.search(bar + b"\rstate 1 epoch 1/8:   3%|1         | 1/37 [00:00<00:09, 3.9step/s]")
