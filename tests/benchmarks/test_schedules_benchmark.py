"""The schedules benchmark: equal clips, valid random paths, and it runs from a searched record to its table."""

import random
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import helpers
from benchmarks import schedules
from tests.conftest import ROOT, few_videos
from tests.scripts.searches import make_search as make_search
from tests.utils.planning.test_graph import all_paths, is_within
from utils.config import ConfigError, load_config
from utils.search.run import search_path


@pytest.fixture(autouse=True)
def _in_project_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


@pytest.mark.parametrize("total", [3, 4, 9, 10, 23, 100])
def test_scaled_epochs_are_proportional_and_add_up(total: int) -> None:
    scaled = schedules.scale_epochs([4, 3, 2], total)
    assert sum(scaled) == total
    assert min(scaled) >= 1
    assert scaled == sorted(scaled, reverse=True)
    if total == 9:
        assert scaled == [4, 3, 2]
    with pytest.raises(ConfigError):
        schedules.scale_epochs([1] * (total + 1), total)


def test_random_paths_lead_to_the_goal_with_all_epochs() -> None:
    search = load_config("record/search-synthetic-dg-p3d-resnet18.yml")
    settings = {search.state_config(s, epochs=1): s for s in search.graph.states}
    paths, seen = all_paths(search.graph), set()
    for seed in range(40):
        walk = schedules.walk_at_random(search, 12, random.Random(seed))
        states = [settings[replace(state, epochs=1)] for state in walk]
        assert sum(state.epochs for state in walk) == 12
        assert states[-1] == search.graph.goal
        assert any([*states] == path[1:] for path in paths)
        seen.add(tuple(states))
        short = schedules.walk_at_random(search, 2, random.Random(seed))
        assert [state.epochs for state in short] == [1, 1]
        assert any(is_within([settings[replace(state, epochs=1)] for state in short], path) for path in paths)
    assert len(seen) > 10


def test_it_compares_a_searched_record(
    make_search: Any,
    tiny_set: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    search = {"graph": ["initial -> (0,0)", "(0,0) -> (1,1)"], "max_epochs": 1, "selection": "eval_list"}
    dataset = few_videos(tiny_set, tmp_path, num_train=12, num_test=5)
    record = make_search(search=search, dataset=dataset | {"eva_num_crop": 1}, sampler={"eva_num_clips": 1})
    arguments = ["schedules.py", "--config_file", str(record), "--seeds", "1"]
    by_hand = ["--by_hand", "record/op-synthetic-dg-p3d-resnet18.yml"]
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(ConfigError, match=r"tiny-path\.yml: not found; run train_3d_op\.py"):
        schedules.main()
    search_path(load_config(record), helpers.make_search_parts, force=False)
    schedules.main()
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ")][1:]
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    cosine = [f"cosine, {frames} frames, 24 px" for frames in (8, 16)]
    assert [row[0] for row in cells] == ["planned", *cosine, "linear", "quarter short", "random path"]
    assert len({row[1] for row in cells if row[0] != "quarter short"}) == 1, "equal clips"
    frames = {row[0]: int(row[2].replace(",", "")) for row in cells}
    assert frames["quarter short"] == pytest.approx(frames["linear"], rel=0.01), "equal compute at one crop"
    for row in cells:
        assert 0 <= float(row[3].split()[0]) <= 100
    seed = load_config(tmp_path / "output/tiny/schedules/cosine-8-frames-24-px-seed0/config.yml")
    assert (seed.optimizer.lr_scheduler, seed.optimizer.seed, len(seed.states)) == ("cosine", 0, 1)
    monkeypatch.setattr(sys, "argv", [*arguments, *by_hand])
    planned = load_config(tmp_path / "output/tiny/tiny-path.yml")
    if sum(state.epochs for state in planned.states) < 3:
        with pytest.raises(ConfigError, match="cannot be divided"):
            schedules.main()
