"""Tables over seeds, splits and folds: numbers equal numpy's, and results that cannot be averaged."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import ROOT, MakeRecord
from tests.utils.evaluation.test_result import make_result
from utils.config import load_config
from utils.evaluation.summary import COLUMNS, Run, SummaryError, group_runs, read_run, render
from utils.sealed import write_sealed_json

Write = Callable[..., Run]


@pytest.fixture
def write(make_record: MakeRecord, tmp_path: Path) -> Write:
    """Write the result of a record with random accuracies and read it."""

    def write(name: str, *words: str, number: int = 0, **changes: Any) -> Run:
        rng = np.random.default_rng(number)
        result = make_result(config=load_config(make_record(name), words).to_dict(), scores_digest=name)
        result["metrics"]["video"] |= dict(zip(COLUMNS, rng.random(3).tolist(), strict=True))
        result["protocol"] |= {"num_scored": 30 + number, "list_sha256": f"{number}", "list": f"{name}_list.txt"}
        folder = tmp_path / "output" / name
        folder.mkdir(parents=True)
        write_sealed_json(folder / "result.json", {**result, **changes})
        return read_run(folder)

    return write


def cells(table: str, title: str) -> list[str]:
    (line,) = [line for line in table.splitlines() if line.startswith(f"| {title}")]
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_folds_have_mean_standard_deviation_and_pooled_accuracies(write: Write) -> None:
    runs = [write(f"fold{i}", f"optimizer.heldout_seed={i}", f"dataset.list_file={i}.txt", number=i) for i in range(4)]
    (group,) = group_runs(runs)
    table = render([group])
    values = 100 * np.array([[run.accuracies[name] for name in COLUMNS] for run in runs])
    sizes = np.array([run.num_scored for run in runs])
    assert cells(table, "mean of 4 runs")[-3:] == [f"{mean:.2f}" for mean in values.mean(0)]
    assert cells(table, "standard deviation")[-3:] == [f"{sd:.2f}" for sd in values.std(0, ddof=1)]
    assert cells(table, "lowest, highest")[-1] == f"{values[:, 2].min():.2f}, {values[:, 2].max():.2f}"
    pooled = (values * sizes[:, None]).sum(0) / sizes.sum()
    assert cells(table, "all 126 videos together")[-3:] == [f"{pooled[0]:.2f}", f"{pooled[1]:.2f}", ""]
    assert cells(table, runs[2].name)[1:4] == ["2", "fold2_list.txt", "32"]
    assert len({line.count("|") for line in table.splitlines()}) == 1


def test_every_setting_has_a_table(write: Write) -> None:
    words = [["optimizer.seed=0"], ["network.dropout_ratio=0.1"], ["optimizer.seed=1", "logging.print_freq=9"]]
    groups = group_runs([write(f"run{i}", *each) for i, each in enumerate(words)])
    assert [[Path(run.name).name for run in group] for group in groups] == [["run0", "run2"], ["run1"]]
    first, second = render(groups).split("\n\n")
    assert first.splitlines()[0] == "network.dropout_ratio 0.5"
    assert cells(first, "run")[1] == "optimizer.seed"
    assert "videos together" not in first  # the lists are the same
    assert "one run: no spread" in second


def test_results_that_cannot_be_averaged_are_refused(write: Write, tmp_path: Path) -> None:
    first, again = write("first"), write("again", scores_digest="first")
    with pytest.raises(SummaryError, match=r"first and .*again are results of the same scores"):
        group_runs([first, again])
    other = write("other", classes=[{"name": "else", "videos": 1, "accuracy": 0.5}])
    with pytest.raises(SummaryError, match=r"other and .*first have different classes"):
        group_runs([first, other])
    checkpoint = {"epochs_trained": 2, "epochs_of_record": 6}
    with pytest.raises(SummaryError, match=r"trained for 2 of 6 epochs; complete the training"):
        write("short", checkpoint=checkpoint)
    with pytest.raises(SummaryError, match=r"nothing: has no result\.json; create it with merge_score\.py"):
        read_run(tmp_path / "nothing")


def test_the_command_prints_the_table_or_one_line(write: Write, tmp_path: Path) -> None:
    runs = [write(name, number=number) for number, name in enumerate(("a", "b"))]
    command = [sys.executable, "-m", "utils.evaluation.summary"]
    done = subprocess.run([*command, *(run.name for run in runs)], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == render([runs]) + "\n"
    done = subprocess.run([*command, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
