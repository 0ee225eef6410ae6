"""train_3d_op.py with a larger search.budget than its search began with: real videos, killed in the middle of it."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import helpers
from tests.killed_search import search_through_kills
from tests.scripts.test_budgeted_run import journal_of, make_budgeted, run, train_path, weights_of
from tests.scripts.test_train import assert_equal
from utils.config import ConfigError, load_config
from utils.planning.peaks import HORIZON
from utils.search.budgeted import plan_budget
from utils.training.checkpoint import load_checkpoint

__all__ = ["make_budgeted"]  # a fixture


def test_a_larger_budget_goes_on_with_what_was_seen(make_budgeted: Any, tmp_path: Path) -> None:
    record = make_budgeted("first")
    small = run(record)
    seen, weights = journal_of(small), weights_of(small)
    shutil.copytree(small.run_dir, small.run_dir.with_name("second"))
    large = load_config(record, ["search.budget={epochs: 12}"])
    plan_budget(large, helpers.make_budgeted_parts, force=False)
    journal = journal_of(large)
    assert journal[: len(seen)] == seen
    events = [line["event"] for line in journal[len(seen) :]]
    assert events[:2] == ["budget", "aside"]
    assert "readout" in [line["event"] for line in seen]
    assert set(events[2:-3]) <= {"peak"}, "pilots are not run again"
    assert events[-3:] == ["plan", "test", "end"]
    assert journal[-3]["factors"][-1] == pytest.approx((10 / 12) ** HORIZON)
    # The weights are those of the record that it has written, from its start.
    assert_equal(weights_of(train_path(large, tmp_path / "again")), weights_of(large))
    # The earlier path is whole in a folder, and what it has trained is said.
    earlier = small.run_dir / "earlier-001"
    assert_equal(load_checkpoint(earlier / "current.pth")[0]["network"], weights)
    assert load_config(earlier / "first-path.yml").states != load_config(large.run_dir / "first-path.yml").states
    spent = json.loads((large.run_dir / "search.json").read_text())["spent"]
    planned = next(line for line in seen if line["event"] == "plan")
    assert 0.8 * planned["compute"] < spent["earlier"] < planned["compute"], "its pilot is counted as one"
    said = (large.run_dir / "log.txt").read_text()
    assert "the budget has grown to 1.2 times what it was" in said
    assert f"moved the earlier path to {earlier}" in said
    assert "of this one; they are not run again" in said
    # The same, killed at any moment, also in the middle of the change.
    second = make_budgeted("second", search={"budget": {"epochs": 12}})
    assert search_through_kills(second, 4, 8, 120) >= 3, "too few kills to mean anything"
    killed = load_config(second)
    found = [[line for line in lines if line["event"] != "aside"] for lines in (journal_of(killed), journal)]
    assert found[0] == found[1]
    assert_equal(weights_of(killed), weights_of(large))
    # A budget only grows, and in the unit that it has.
    with pytest.raises(ConfigError, match=r"search.budget: smaller than what this search has had, \{epochs: 12\}, "):
        run(record)
    with pytest.raises(ConfigError, match="has counted what it spent in frames x pixels, and would in seconds"):
        plan_budget(load_config(record, ["search.budget={hours: 1}"]), helpers.make_budgeted_parts, force=False)
