"""train_3d_op.py with search.policy budgeted, end to end: real videos, real training, killed and continued."""

import functools
import json
import logging
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import helpers
from tests import forked
from tests.conftest import MakeRecord, write_record
from tests.killed_search import search_through_kills
from tests.scripts.test_train import assert_equal
from utils.config import ConfigError, RunConfig, load_config
from utils.errors import UserError
from utils.jsonl import LineFileError
from utils.planning.peaks import HORIZON
from utils.planning.policy import GOAL_PILOT, SHORT_PILOT, Observations, RunPilot, TrainPlan
from utils.sealed import write_sealed_json
from utils.search.budgeted import open_journal, plan_budget
from utils.search.budgeted_events import InputCosts, PilotEnd, PilotReadout
from utils.search.budgeted_plan import make_pilot, make_policy, path_record
from utils.search.budgeted_runs import Runs, read_out
from utils.search.budgeted_trials import Trial, identify, run_job
from utils.search.jobs import Job
from utils.search.reuse import read_prior
from utils.training.checkpoint import load_checkpoint

SPACE = {
    "inputs": [{"clip_length": 4, "crop_size": 20}, {"clip_length": 8}],
    "policy": "budgeted",
    "budget": {"epochs": 5},
    "readout_videos": 4,
    "peaks": [1.0, 1.0e30],
    "least_steps": 1,
    "selection": "eval_list",
}


def write_budgeted(make: MakeRecord, name: str = "tiny", **sections: dict[str, Any]) -> Path:
    """Write a record of a small budgeted search; keywords of sections are merged over it."""
    merged: dict[str, dict[str, Any]] = {
        "search": SPACE | sections.pop("search", {}),
        "sampler": {"batch_size": 2},  # the smallest budget is counted in steps
        "optimizer": {"warmup_epoch": -1, "amp": "off", "envelope": "linear", "envelope_warmup": 0.01}
        | sections.pop("optimizer", {}),
    }
    return make(name, **merged, **sections)


@pytest.fixture
def make_budgeted(make_record: MakeRecord) -> Any:
    """`write_budgeted` in the test's own folder."""
    return functools.partial(write_budgeted, make_record)


def run(record: Path) -> RunConfig:
    """Run a budgeted search in this process."""
    config = load_config(record)
    plan_budget(config, helpers.make_budgeted_parts, force=False)
    return config


@pytest.fixture(scope="module")
def whole(tiny_set: Path, tmp_path_factory: pytest.TempPathFactory) -> RunConfig:
    """Return a search by one process without interruption; a test that changes its folder must copy it."""
    return run(write_budgeted(functools.partial(write_record, tiny_set, tmp_path_factory.mktemp("whole")), "first"))


def weights_of(config: RunConfig) -> dict[str, torch.Tensor]:
    return load_checkpoint(config.weights_path)[0]["network"]


def journal_of(config: RunConfig) -> list[dict[str, Any]]:
    """Return the lines of a journal without the fields that depend on the clock."""
    lines = map(json.loads, (config.run_dir / "search/journal.jsonl").read_text().splitlines()[1:])
    return [{key: value for key, value in line.items() if key not in ("seconds", "crc32")} for line in lines]


def train_path(config: RunConfig, folder: Path) -> RunConfig:
    """Train the record that a search has written, from its start."""
    path = load_config(config.run_dir / f"{config.name}-path.yml", [f"logging.output_dir={folder}"])
    helpers.train(path, force=False)
    return path


def test_killed_at_any_moment_it_continues_to_the_same_plan_and_weights(
    whole: RunConfig, make_budgeted: Any, tmp_path: Path
) -> None:
    said, journal = (whole.run_dir / "log.txt").read_text(), journal_of(whole)
    events = [line["event"] for line in journal]
    assert events[:3] == ["budget", "peak", "peak"]
    assert events[-3:] == ["plan", "test", "end"]
    assert journal[2]["loss"] is None, "a rate that diverges is a result"
    assert journal[-3]["factors"] == [1.0, 1.0]
    assert "budget: 5 epochs of the goal's input" in said
    assert said.index("budget: 5 epochs") < said.index("epoch 1/1")
    # The same, killed at any moment.
    record = make_budgeted("second")
    assert search_through_kills(record, 30, 60) >= 3, "too few kills to mean anything"
    killed = load_config(record)
    assert journal_of(killed) == journal
    assert_equal(weights_of(killed), weights_of(whole))
    # And the same as training the record of the plan from its start.
    assert_equal(weights_of(train_path(whole, tmp_path / "again")), weights_of(whole))
    ours, theirs = (c.run_dir / "log.jsonl" for c in (whole, load_config(record)))
    assert ours.read_text().count("\n") == theirs.read_text().count("\n")


def test_a_larger_budget_continues_from_earlier_results(whole: RunConfig, make_budgeted: Any, tmp_path: Path) -> None:
    """Also when killed in the middle of the change."""
    record = make_budgeted("first")
    small = load_config(record)
    for name in ("first", "second"):
        shutil.copytree(whole.run_dir, small.run_dir.with_name(name))
    seen, weights = journal_of(small), weights_of(small)
    large = load_config(record, ["search.budget={epochs: 6}"])
    plan_budget(large, helpers.make_budgeted_parts, force=False)
    journal = journal_of(large)
    assert journal[: len(seen)] == seen
    events = [line["event"] for line in journal[len(seen) :]]
    assert events[:2] == ["budget", "aside"]
    assert "readout" in [line["event"] for line in seen]
    assert set(events[2:-3]) <= {"peak"}, "pilots are not run again"
    assert events[-3:] == ["plan", "test", "end"]
    assert journal[-3]["factors"][-1] == pytest.approx((10 / 12) ** HORIZON)
    # Training the written record from its start gives the same weights.
    assert_equal(weights_of(train_path(large, tmp_path / "again")), weights_of(large))
    # The earlier path is complete in its folder, and its compute is reported.
    earlier = small.run_dir / "earlier-001"
    assert_equal(load_checkpoint(earlier / "current.pth")[0]["network"], weights)
    assert load_config(earlier / "first-path.yml").states != load_config(large.run_dir / "first-path.yml").states
    spent = json.loads((large.run_dir / "search.json").read_text())["spent"]
    planned = next(line for line in seen if line["event"] == "plan")
    assert 0.8 * planned["compute"] < spent["earlier"] < planned["compute"], "its pilot is counted as a pilot"
    said = (large.run_dir / "log.txt").read_text()
    assert "the budget has grown to 1.2 times the last one" in said
    assert f"moved the earlier path to {earlier}" in said
    assert "of this one; they are not run again" in said
    # The same, killed at any moment, also in the middle of the change.
    second = make_budgeted("second", search={"budget": {"epochs": 6}})
    assert search_through_kills(second, 4, 8, 40) >= 3, "too few kills to mean anything"
    killed = load_config(second)
    found = [[line for line in lines if line["event"] != "aside"] for lines in (journal_of(killed), journal)]
    assert found[0] == found[1]
    assert_equal(weights_of(killed), weights_of(large))
    # A budget can only grow, and in its own unit.
    with pytest.raises(ConfigError, match=r"search.budget: smaller than the \{epochs: 6\} that this search has "):
        run(record)
    with pytest.raises(ConfigError, match="found a budget in seconds, but this search counts frames x pixels"):
        plan_budget(load_config(record, ["search.budget={hours: 1}"]), helpers.make_budgeted_parts, force=False)


def test_two_workers_of_two_processes_find_the_plan_of_one(whole: RunConfig, make_budgeted: Any) -> None:
    """Peaks and pilots are trained by workers of one process each, the path by both processes together."""
    record = make_budgeted("together", search={"workers": 2})
    done = forked.run([sys.executable, "-m", "tests.stopped_ranks", record, "2", "train"], check=True)
    assert done.stdout.endswith("[0, 0]\n"), done.stderr[-3000:]
    together = load_config(record)
    planned = [[line for line in journal_of(each) if line["event"] != "test"] for each in (together, whole)]
    assert planned[0] == planned[1]
    assert "2 processes" in (together.run_dir / "log.txt").read_text()
    folders = [each.run_dir / "search" for each in (together, whole)]
    pilots = [load_checkpoint(folder / "pilot-0-0/current.pth")[0]["network"] for folder in folders]
    assert_equal(pilots[0], pilots[1])
    # A speculative peak run that was not needed has left no files.
    left = [{path.name for path in folder.iterdir()} for folder in folders]
    assert left[0] == left[1]


def test_continuing_a_short_pilot_gives_the_weights_of_the_path(make_budgeted: Any, tmp_path: Path) -> None:
    config = load_config(make_budgeted(search={"peaks": [], "budget": {"epochs": 3.5}}))
    assert "peaks: none, the rates of the record" in "\n".join(helpers.describe_search(config))  # --dry-run
    device = torch.device("cpu")
    parts = helpers.make_budgeted_parts(config, device)
    policy = make_policy(config, parts.inputs, scoring_videos=len(parts.search.scoring))
    path = policy.path_budget(Observations())
    action = policy.next_action(Observations(ended=frozenset({GOAL_PILOT})))
    assert isinstance(action, RunPilot)
    pilot = make_pilot(config, action, path=path, inputs=parts.inputs, attempt=0)
    runs = Runs(config, parts, folder=tmp_path / "search", log=logging.getLogger("test"))
    for branch in pilot.branches:
        runs.train_pilot(pilot, branch.begin)
        runs.train_short(branch.record, branch.name, start=pilot.name)
    assert pilot.branches[-1].begin % parts.inputs[0].per_epoch, "the pilot ends inside an epoch"
    record = path_record(config, (0.25, 0.75), factors=action.factors, compute=path.compute, inputs=parts.inputs)
    runs.train_plan(record, "continued", begin=pilot.name)
    runs.train_plan(record, "anew", begin="")
    ends = [load_checkpoint(tmp_path / "search" / name / "current.pth")[0] for name in ("continued", "anew")]
    assert_equal(ends[0]["network"], ends[1]["network"])


def test_a_readout_does_not_depend_on_running_statistics(make_budgeted: Any) -> None:
    config = load_config(make_budgeted())
    parts = helpers.make_budgeted_parts(config, torch.device("cpu"))
    record = path_record(config, (0.0, 1.0), factors=(1.0, 1.0), compute=parts.inputs[-1].epoch, inputs=parts.inputs)
    network = parts.search.make_network(None)
    trainer = parts.search.make_trainer(record, 0, network, "")
    found = read_out(trainer)
    for name, buffer in network.named_buffers():
        if "running" in name:
            buffer.add_(3.0)
    assert read_out(trainer) == found
    assert 0 < found.sd < found.loss < 10
    assert len(found.losses) == 4


def test_a_branch_that_diverges_ends_the_pilot_and_does_not_change_it(make_budgeted: Any) -> None:
    config = load_config(make_budgeted(search={"peaks": []}))
    parts = helpers.make_budgeted_parts(config, torch.device("cpu"))
    policy = make_policy(config, parts.inputs, scoring_videos=len(parts.search.scoring))
    path, ends, spent = policy.path_budget(Observations()), list[dict[str, Any]](), 0.0
    for goal in (1.0, 1.0e30):
        events: list[Any] = []
        action = RunPilot(SHORT_PILOT, 0, policy.pilot_fraction, (1.0, goal))
        trial = Trial(action, path, attempt=len(ends), inputs=parts.inputs, first_budget=policy.budget.compute)
        run_job(config, parts, Job(trial.name, trial), events.append, logging.getLogger("test"))
        place = config.run_dir / "search"
        pilot = make_pilot(config, action, path=path, inputs=parts.inputs, attempt=len(ends))
        if goal > 1:
            assert [(type(event), event.diverged) for event in events] == [(PilotEnd, 1)], "the goal's rate is to blame"
            assert events[0].compute == spent, "the whole branch counts"
            Runs(config, parts, folder=place, log=logging.getLogger("test")).train_pilot(
                pilot, pilot.branches[-1].begin
            )
        else:
            assert [type(event) for event in events] == [PilotReadout, PilotReadout, PilotEnd]
            spent = events[0].compute
        assert [folder.name for folder in place.glob("*branch*")] == [], "branches are removed"
        ends.append(load_checkpoint(place / pilot.name / "current.pth")[0])
    assert_equal(ends[0]["network"], ends[1]["network"])


def test_a_studied_plan_is_checked_and_then_trained(make_budgeted: Any, tmp_path: Path) -> None:
    """The prior of another search favors short inputs first, as too little is learned here to favor anything."""
    base = load_config(make_budgeted("seen"))
    places = ((0.0, 1.0, 2.0), (0.0, 2.0, 1.7), (3.0, 0.2, 1.2), (6.0, 0.4, 0.8))
    readouts = [{"pilot": 0, "at": 0.1, "weighted": [a, b], "loss": loss, "sd": 0.01} for a, b, loss in places]
    write_sealed_json(tmp_path / "seen.json", {"is_planned": True, "config": base.to_dict(), "readouts": readouts})
    search = {"policy": "studied", "budget": {"epochs": 1.5}, "overhead": 3.0, "peaks": []}
    config = run(make_budgeted("studied", search=search | {"reuse": [str(tmp_path / "seen.json")]}))
    journal = journal_of(config)
    events = [line["event"] for line in journal]
    assert events[:7] == ["budget", *["readout", "readout", "pilot"] * 2]
    assert events[-3:] == ["plan", "test", "end"]
    checks = [line for line in journal if line["event"] == "check"]
    assert [check["share"] for check in checks][:2] == [1 / 8] * 2
    assert checks[-1]["share"] == 1 / 4
    for check in checks:
        assert len(check["losses"]) == 4
        assert sum(check["losses"]) / 4 == pytest.approx(check["loss"], abs=1e-5)
    left = {path.name for path in (config.run_dir / "search").iterdir()}
    assert left == {"journal.jsonl", "pilot-0-0", "pilot-1-0", "run"}
    assert journal[-3]["compute"] == 27 * 2 * 8 * 24**2, "the path has the whole budget"
    assert "less all at the goal" in (config.run_dir / "search.html").read_text()
    assert_equal(weights_of(train_path(config, tmp_path / "again")), weights_of(config))
    with pytest.raises(
        ConfigError, match=r"search.budget: larger than the \{epochs: 1.5\} that this search has studied, "
    ):
        plan_budget(
            load_config(tmp_path / "studied.yml", ["search.budget={epochs: 2}"]),
            helpers.make_budgeted_parts,
            force=False,
        )


def test_only_files_that_a_run_has_written_are_removed(make_budgeted: Any, tmp_path: Path) -> None:
    config, place = load_config(make_budgeted()), tmp_path / "search"
    parts = helpers.make_budgeted_parts(config, torch.device("cpu"))
    runs = Runs(config, parts, folder=place, log=logging.getLogger("test"))
    for name in ("ours", "theirs"):
        (place / name / "tensorboard").mkdir(parents=True)
        unfinished = ".current.pth.0123abcd.tmp"
        for file in ("config.yml", "current.pth", unfinished, "log.jsonl", "tensorboard/events.out.tfevents.1"):
            (place / name / file).touch()
    (place / "theirs/notes.txt").touch()
    for name in ("ours", "theirs", "never there"):
        runs.remove(name)
    assert sorted(place.rglob("*")) == [place / "theirs", place / "theirs/notes.txt"]


def test_if_every_rate_diverges_one_line_says_so(make_budgeted: Any) -> None:
    record = make_budgeted(search={"peaks": []}, optimizer={"base_learning_rate": 1.0e30})
    with pytest.raises(UserError, match="diverged at every rate"):
        run(record)
    config = load_config(record)
    assert [line["event"] for line in journal_of(config)] == ["budget", "pilot"]
    assert load_config(config.run_dir / "tiny-path.yml").states[-1].crop_size == 24  # there is a record from the start


def test_budgets_in_hours_use_costs_that_are_measured_once(make_budgeted: Any) -> None:
    record = make_budgeted(search={"budget": {"hours": 1e-6}})
    assert "measured when the search begins" in "\n".join(helpers.describe_search(load_config(record)))  # --dry-run
    found = set()
    for _ in range(2):  # on any machine, as 20 measured steps of both inputs take more than 3.6 ms
        with pytest.raises(ConfigError, match=r"search.budget: too small .*needs at least \{hours: ") as caught:
            run(record)
        found.add(str(caught.value))
    _, costs = journal_of(load_config(record))
    assert costs["event"] == "costs"
    assert min(costs["step_seconds"]) > 0
    assert found == {str(caught.value)}, "measured again"
    # A quarter of it for two runs of a step, each with a readout: 4 videos and 8 batches of 2, a third of a step.
    two = 2 * (max(costs["step_seconds"]) + (4 + 8 * 2) / 2 / 3 * costs["step_seconds"][-1])
    assert f"hours: {two / 0.25 / 3600:.3g}" in found.pop()
    # If steps took half a second and one second, 90 s are 90 steps of the goal, 5 epochs.
    config = load_config(make_budgeted("known", search={"budget": {"hours": 90 / 3600}}))
    parts = helpers.make_budgeted_parts(config, torch.device("cpu"))
    open_journal(config, identify(config, parts)).append(InputCosts((0.5, 1.0)))
    plan_budget(config, helpers.make_budgeted_parts, force=False)
    said = (config.run_dir / "log.txt").read_text()
    assert "budget: 5 epochs of the goal's input (90 s of training steps, loading included)" in said
    assert "an epoch of the inputs costs 0.5 : 1" in said
    assert [line["event"] for line in journal_of(config)][:3] == ["costs", "budget", "peak"]
    assert "Compute is counted in seconds of training steps" in (config.run_dir / "search.html").read_text()
    # Its readouts are the prior of another search with another budget.
    reuse = [str(config.run_dir / "search.json")]
    other = run(make_budgeted("other", search={"budget": {"epochs": 7}, "peaks": [], "reuse": reuse}))
    policy = make_policy(other, parts.inputs, scoring_videos=len(parts.search.scoring))
    prior, history = (
        read_prior(other, tau_scale=policy.budget.tau_scale),
        open_journal(other, identify(other, parts)).history,
    )
    gains = []
    for each in (replace(policy, prior=prior), policy):
        action = each.next_action(history.observations())
        assert isinstance(action, TrainPlan)
        gains.append({one.split: one.gain for one in action.plan.table})
    assert history.plan is not None
    assert gains[0][history.plan.split] == history.plan.gain
    assert gains[0] != gains[1]
    with pytest.raises(LineFileError, match="reused search 1: was [0-9a-f]{64}, is None"):
        run(make_budgeted("other", search={"budget": {"epochs": 7}, "peaks": []}))


@pytest.mark.parametrize(
    ("search", "optimizer", "message"),
    [
        ({"budget": {}}, {}, r"tiny.yml: search.budget: search.policy budgeted needs one of epochs, hours and"),
        ({"budget": {"epoch": 2}}, {}, r"search.budget.epoch: unknown key; did you mean 'epochs'"),
        ({"budget": {"epochs": 2, "frames": 3}}, {}, r"search.budget: search.policy budgeted needs one of epochs"),
        ({"budget": 20}, {}, r"search.budget: found 20, expected one of"),
        ({"peaks": [2, 1]}, {}, r"search.peaks: found \[2.0, 1.0\], expected increasing factors"),
        ({}, {"envelope": "none"}, r"optimizer.envelope: search.policy budgeted needs an envelope"),
    ],
)
def test_mistakes_are_named(make_budgeted: Any, search: Any, optimizer: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(make_budgeted(search=search, optimizer=optimizer))


def test_a_budget_too_small_to_plan_is_refused(make_budgeted: Any) -> None:
    with pytest.raises(ConfigError, match=r"too small .*needs at least \{epochs: 1.93\}"):
        run(make_budgeted(search={"budget": {"epochs": 1.5}}))
    with pytest.raises(ConfigError, match=r"optimizer.envelope_warmup: found 0.2, but pilots are"):
        run(make_budgeted(optimizer={"envelope_warmup": 0.2}))
