"""The budgets benchmark: equal compute, paired seeds, and its rows run from a record to table and figure."""

import math
from pathlib import Path
from typing import Any

import pytest

from benchmarks import budgets
from benchmarks.budgets import BEST_OF, ROWS, RUNS, Result, collect, interval, render_table
from benchmarks.readouts import rank_correlation
from tests.conftest import few_videos
from tests.scripts.test_budgeted_run import make_budgeted as make_budgeted
from utils.config import load_config

ROOT = Path(__file__).parents[2]


def test_intervals_are_of_students_t() -> None:
    assert interval([1.0, 2.0, 3.0]) == pytest.approx((2.0, 4.303 / math.sqrt(3)), abs=1e-3)
    assert interval([5.0])[0] == 5.0
    assert math.isnan(interval([5.0])[1])


def test_only_complete_seeds_count_and_costs_of_five_peaks_add_up(tmp_path: Path) -> None:
    def result(name: str, seed: int) -> Result:
        gain = {"linear x0.5": 9.0, "budgeted x4": 2.0}.get(name, 0.0)
        return Result(name, seed, 50.0 + 10 * seed + gain, 0.2 if name.startswith("fifth") else 1.0, 3.0)

    results = [result(name, seed) for seed in (0, 1) for name in RUNS] + [result("linear x1", 2)]
    rows = collect(results, list(RUNS))
    assert {tuple(found) for found in rows.values()} == {(0, 1)}
    full, fifth = (rows[name][1] for name in ("five peaks in full", "five peaks, a fifth each"))
    assert (full.top1, full.compute, full.seconds) == (69.0, 5.0, 15.0)
    assert (fifth.top1, fifth.compute) == (60.0, pytest.approx(1.0))
    lines = {line.split(" | ")[0].strip("| "): line for line in render_table(rows)}
    assert set(ROWS) <= set(lines)
    assert "| 1.00 | 57.0 ± 63.5 | +2.0 ± 0.0 |" in lines["budgeted x4"]
    assert "| 5.00 | 64.0 ± 63.5 | +9.0 ± 0.0 |" in lines["five peaks in full"]
    assert all(part in RUNS for parts in BEST_OF.values() for part in parts)
    some = collect(results, ["linear x1", "budgeted x1"])
    assert {name: sorted(found) for name, found in some.items()} == {"linear x1": [0, 1], "budgeted x1": [0, 1]}
    assert len(render_table(some)) == 4, "rows without runs are omitted"
    budgets.draw(rows, tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 10_000


def test_a_fixed_path_and_a_planned_one_have_equal_compute(
    make_budgeted: Any, tiny_set: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    dataset = few_videos(tiny_set, tmp_path, num_train=12, num_test=12)
    record = make_budgeted(search={"budget": {"frames": 1440}, "peaks": [1.0], "least_steps": 1}, dataset=dataset)
    monkeypatch.setattr(budgets, "SPARSE", record)
    search = load_config(record)
    for share, short in ((1.0, 0.0), (0.2, 0.0), (1.0, 0.25)):
        states = budgets._states(search, share=share, short=short)
        videos = len(budgets.read_training_list(search))
        spent = sum(state.epochs * videos * state.pixels_per_clip for state in states)
        assert spent == pytest.approx(share * 1440 * search.search.inputs[-1].crop_size ** 2)
    setting = budgets.Setting(tmp_path)
    by_hand = budgets.fixed(rate=1.0, share=0.25, short=0.25)("by hand", 3, setting)
    planned = budgets.budgeted(record, rate=1.0)("planned", 3, setting)
    assert 0 <= by_hand.top1 <= 100
    assert (by_hand.compute, by_hand.seed) == (0.25, 3)
    assert planned.compute == pytest.approx(1, rel=1 / 90), "steps are whole, 90 of two clips each"
    assert planned.plan == "0 + 1 at x1", "a budget without pilots"
    assert load_config(tmp_path / "planned-seed3/config.yml").optimizer.seed == 3
    smaller = {
        "search.lr_factors=[1.0,0.1,0.01]": "search.lr_factors=[1.0]",
        "search.max_epochs=3": "search.max_epochs=1",
    }
    monkeypatch.setattr(budgets, "RELEASED", [smaller.get(key, key) for key in budgets.RELEASED])
    paper = budgets.released(budgets.PAPER, 3, setting)
    assert 0.2 < paper.compute < 1, "an epoch of each input, and of the goal's after the short one"
    assert paper.plan.endswith("% of it the path")
    larger = budgets.Setting(tmp_path, times=2.0, noise=400).load(record, "larger", seed=3, rate=2.0)
    assert larger.search.budget.frames == 2 * 1440
    assert {each.base_learning_rate for each in larger.search.inputs} == {2 * budgets.BEST}
    assert {larger.dataset.root_path, larger.dataset.eva_root_path} == {"data/hard-400"}


def test_the_records_differ_in_the_first_input_only() -> None:
    sparse, dense = (load_config(ROOT / record) for record in (budgets.SPARSE, budgets.DENSE))
    assert sparse.search.inputs[1:] == dense.search.inputs[1:]
    first, last = ([config.search.inputs[i].pixels_per_clip for config in (sparse, dense)] for i in (0, 1))
    assert [a / b for a, b in zip(first, last, strict=True)] == pytest.approx([2 / 9, 1])


def test_rank_correlation_depends_on_ranks_only() -> None:
    assert rank_correlation([1, 2, 300], [0.1, 0.2, 0.3]) == pytest.approx(1)
    assert rank_correlation([3, 2, 1], [0.1, 0.2, 0.3]) == pytest.approx(-1)
    assert rank_correlation([1, 3, 2, 4], [1, 2, 3, 4]) == pytest.approx(0.8)
