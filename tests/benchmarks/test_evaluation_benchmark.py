"""The benchmarks of evaluation and of memory: ours and the baseline have equal scores, and the scripts run."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest

import helpers
from benchmarks import evaluation, loader, measuring, memory, scale
from benchmarks.baseline_evaluation import extract_baseline
from dataset.listing import VideoRecord, list_of
from tests import forked
from utils.config import load_config
from utils.evaluation.provenance import scores_folder
from utils.evaluation.score_index import index_scores
from utils.evaluation.scores import read_manifest

TINY = "--videos 3 --clips 2 --length 4 --workers 1 --repeats 1"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("evaluation")
    loader.make_data(folder, videos=2, frames=12)
    return folder


def options_of(monkeypatch: pytest.MonkeyPatch, root: Path, *words: str) -> None:
    monkeypatch.setattr(sys, "argv", ["evaluation.py", "--root", str(root), *TINY.split(), *words])


def test_loading_is_timed_for_each_store_and_size(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options_of(monkeypatch, root, "--stores", "RAW-12", "LMDB", "--sizes", "64")
    evaluation.main()
    lines = capsys.readouterr().out.splitlines()
    assert "cores of" in lines[0]
    assert [line.split()[:2] for line in lines[-2:]] == [["RAW-12,", "64"], ["LMDB,", "64"]]
    assert all(float(number) > 0 for line in lines[-2:] for number in line.split()[2:5])


def test_whole_extractions_are_timed_and_compared(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*words: str) -> float:
        script = (
            words[2:] if words[:2] == ("-m", "utils.launch") else words
        )  # without the launcher, which starts an interpreter
        forked.run([sys.executable, *script], check=True)
        return 1.0

    monkeypatch.setattr(evaluation, "run", run)  # the same scripts, without seconds for their imports
    options_of(monkeypatch, root, "--stores", "FRAME", "--sizes", "64", "--network", "8")
    evaluation.main()
    line = capsys.readouterr().out.splitlines()[-1].split()
    assert line[:2] == ["FRAME,", "64"]
    assert line[-1] == "100.0%"
    assert float(line[-2].rstrip(",")) < 5e-3


@pytest.mark.parametrize(
    ("store", "size", "tolerance"), [("LMDB", 256, 1e-5), ("RAW-250", 256, 1e-5), ("LMDB", 96, 5e-3)]
)
def test_ours_and_the_baseline_score_the_same_views(
    root: Path, monkeypatch: pytest.MonkeyPatch, store: str, size: int, tolerance: float
) -> None:
    """Pixels are equal without a resize; with one, some of Pillow's differ from torch's by one level."""
    options_of(monkeypatch, root)
    record = evaluation.make_record(evaluation.parse_options(), root, store=store, crop_size=size)
    config = load_config(record)
    helpers.extract(config, crops=(0, 1, 2), force=True, trained_by="", merged_by="")
    manifest = read_manifest(scores_folder(config))
    assert manifest is not None
    ours = np.concatenate([scores for _, scores in index_scores(scores_folder(config), manifest).blocks()])
    baseline = extract_baseline(config)
    assert baseline.shape == (3, 2, 3, 20)
    np.testing.assert_allclose(baseline, ours.swapaxes(1, 2), atol=tolerance)
    views = baseline[:2].reshape(-1, 20)  # of two different videos
    nearest = min(np.abs(a - b).max() for i, a in enumerate(views) for b in views[:i])
    assert nearest > 3 * np.abs(baseline - ours.swapaxes(1, 2)).max()  # views are distinguishable


@pytest.mark.parametrize("store", memory.STORES)
def test_a_worker_reports_its_memory(tmp_path: Path, store: str) -> None:
    videos = memory.make_videos(tmp_path, store, distinct=2, listed=5)
    found = memory.watch_worker(tmp_path, store, videos)
    assert len(found) == 5
    assert all(0 < one.written <= one.private for one in found)


def test_written_memory_is_private() -> None:
    """In a new process: one with a higher peak could reuse memory."""
    code = "from benchmarks.measuring import own_memory as own; import numpy as np; print(*own()); "
    code += "held = np.ones(100 * 2**20, np.uint8); print(*own())"
    printed = forked.run([sys.executable, "-c", code], check=True).stdout
    before, after = (measuring.Memory(*map(float, line.split())) for line in printed.splitlines())
    assert after.written - before.written > 90
    assert after.private - before.private > 90


@pytest.mark.parametrize("workers", [1, 3])
def test_our_list_adds_nothing_to_a_worker(workers: int) -> None:
    tuples = [(f"a/folder/video_{number:08d}.mp4", number % 400) for number in range(60_000)]
    records = [VideoRecord(path, 300, label) for path, label in tuples]
    ours = scale.added_memory(list_of(records, path="test"), workers=workers)
    theirs = scale.added_memory(tuples, workers=workers)
    assert len(ours) == len(theirs) == workers
    assert max(ours) < 2 < min(theirs)


def test_the_memory_benchmark_prints_its_table(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["memory.py", *["--distinct", "1", "--after", "1", "3", "--stores", "FRAME"]])
    memory.main()
    assert re.fullmatch(r"FRAME( +\d+\.\d \(\d+\.\d\)){2}", capsys.readouterr().out.splitlines()[-1])


def test_the_memory_that_workers_add_is_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(scale, "WORKERS", (1, 2))
    monkeypatch.setattr(sys, "argv", ["scale.py", *["--list", "1000", "--parts", "list"]])
    scale.main()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[-5:]] == ["a", "MB", "workers", "1", "2"]
