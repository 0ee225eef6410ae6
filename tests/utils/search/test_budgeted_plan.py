"""The pure part of a budgeted search: journal lines, records of actions, and the loop driven by closed-form losses."""

import json
import math
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from utils.config import ConfigError, RunConfig, load_config
from utils.files import file_sha256
from utils.jsonl import as_json
from utils.planning.law import fit_posterior
from utils.planning.peaks import HORIZON
from utils.planning.policy import GOAL_PILOT, SHORT_PILOT, Observations, RunCheck, RunPilot, TryPeak
from utils.planning.studied import StudiedPolicy
from utils.sealed import write_sealed_json
from utils.search.budgeted_events import (
    BudgetedEvent,
    BudgetedHistory,
    CheckScore,
    PeakScore,
    PilotEnd,
    PilotReadout,
    Planned,
    read_history,
)
from utils.search.budgeted_page import render_budgeted_page
from utils.search.budgeted_plan import (
    InputSteps,
    describe_budget,
    make_pilot,
    make_policy,
    path_record,
    peak_record,
)
from utils.search.budgeted_report import build_report
from utils.search.events import EventError, write_event
from utils.search.reuse import ReuseError, identify_reused, read_prior

INPUTS = (InputSteps(75, 8 * 100.0), InputSteps(75, 16 * 100.0), InputSteps(75, 16 * 500.0))


@pytest.fixture(scope="module")
def config() -> RunConfig:
    return load_config(
        Path("record/plan-synthetic.yml"),
        [
            "search.budget={epochs: 60}",
            "search.inputs=[{clip_length: 8, num_steps: 1}, {clip_length: 16, num_steps: 1}, {clip_length: 16}]",
        ],
    )


LOST = 2e6  # compute of a pilot that diverges, frames x pixels


def train_closed_form(config: RunConfig, *, diverges_above: float = math.inf) -> list[BudgetedEvent]:
    """Return the events of a search with closed-form losses, driven from its journal alone; nothing is trained."""
    policy = make_policy(config, INPUTS, scoring_videos=500)
    events: list[BudgetedEvent] = []
    for _ in range(100):
        # Parse the lines of the journal each time, as after a kill.
        lines = [write_event(event) for event in events]
        history = read_history([plain(line) for line in lines], source="journal, line", first=2)
        action = policy.next_action(history.observations())
        if isinstance(action, TryPeak):
            loss = 1.5 + 0.3 * math.log2(action.factor / 4) ** 2 if action.factor <= 8 else math.nan
            events.append(PeakScore(action.input, action.factor, loss, 0.02, 50.0, 30, action.compute, 1.0))
        elif isinstance(action, RunPilot):
            if action.factors[-1] > diverges_above:
                events.append(PilotEnd(action.number, action.factors, len(INPUTS) - 1, LOST))
                continue
            path = policy.path_budget(history.observations())
            pilot = make_pilot(config, action, path=path, inputs=INPUTS, attempt=0)
            spent = 0.0
            for branch in pilot.branches:
                loss = 0.2 + 2.2 * (1 + sum(branch.weighted)) ** -0.5
                place = branch.begin, branch.steps, branch.at, branch.weighted
                spent += branch.steps * INPUTS[-1].compute
                compute = branch.at * path.compute + spent
                events.append(PilotReadout(action.number, *place, loss, 0.02, 50.0, compute, 1.0))
            events.append(PilotEnd(action.number, action.factors))
        elif isinstance(action, RunCheck):
            part = replace(policy.budget, compute=action.fraction * policy.budget.compute)
            loss = 0.2 + 2.2 * (1 + sum(part.weighted_epochs(action.split))) ** -0.5
            losses = (loss - 0.1, loss, loss + 0.1)
            events.append(CheckScore(action.split, action.fraction, loss, 0.05, 50.0, losses, 1.0))
        else:
            chosen = action.plan.chosen
            compute = policy.path_budget(history.observations()).compute
            return [*events, Planned(chosen.split, chosen.gain, chosen.spread, action.factors, compute)]
    raise AssertionError("the policy has not made a plan")


def plain(line: dict[str, Any]) -> dict[str, Any]:
    """Return a line as JSON reads it back."""
    return as_json(line)


def test_the_plan_follows_from_the_journal_and_all_costs_add_up_to_the_budget(config: RunConfig) -> None:
    events = train_closed_form(config)
    kinds = [type(event) for event in events]
    assert kinds.index(PilotReadout) > max(i for i, kind in enumerate(kinds) if kind is PeakScore)
    history, policy = BudgetedHistory(events), make_policy(config, INPUTS, scoring_videos=500)
    plan = history.plan
    assert plan is not None
    # The best peak of the closed form, at both ends; the input in between uses the shortest's.
    assert plan.factors == (4.0, 4.0, 4.0)
    # A rate-weighted epoch teaches as much on cheap inputs, so the plan begins with them.
    assert plan.split[0] > 0
    assert plan.split[-1] >= 0.5
    assert plan.gain > 0
    # Peaks, path and lost compute add up to the budget.
    peaks = sum(peak.compute + policy.readout for peak in history.peaks())
    assert peaks <= 0.25 * policy.budget.compute
    branches = sum(readout.branch for readout in history.readouts()) * INPUTS[-1].compute
    lost = policy.pilot_fraction * plan.compute + policy.readout * len(history.readouts())
    assert peaks + plan.compute + lost + branches == pytest.approx(policy.budget.compute, rel=1e-3), "whole steps"


def test_a_pilot_that_diverges_lowers_the_peaks_and_restarts_all_pilots(config: RunConfig) -> None:
    events = train_closed_form(config, diverges_above=3)
    history = BudgetedHistory(events)
    assert [end.factors[-1] for end in history.diverged_pilots()] == [4.0]
    assert history.plan is not None
    assert history.plan.factors[-1] < 4
    assert {readout.pilot for readout in history.readouts()} == {GOAL_PILOT, SHORT_PILOT}
    # The compute that it had spent is deducted from the path.
    policy = make_policy(config, INPUTS, scoring_videos=500)
    peaks = sum(peak.compute + policy.readout for peak in history.peaks())
    branches = sum(readout.branch for readout in history.readouts()) * INPUTS[-1].compute
    lost = policy.pilot_fraction * history.plan.compute + policy.readout * len(history.readouts()) + LOST
    assert peaks + history.plan.compute + lost + branches == pytest.approx(policy.budget.compute, rel=1e-3)


def test_all_splits_have_the_same_envelope_and_compute(config: RunConfig) -> None:
    policy = make_policy(config, INPUTS, scoring_videos=500)
    path = policy.path_budget(Observations())
    records = [
        path_record(config, split, factors=(1.0, 2.0, 3.0), compute=path.compute, inputs=INPUTS)
        for split in ((0.25, 0.0, 0.75), (0.125, 0.25, 0.625), (0.0, 0.0, 1.0))
    ]
    assert len({record.optimizer.envelope_epochs for record in records}) == 1
    assert [len(record.states) for record in records] == [2, 3, 1]
    written = config.search.inputs[0].base_learning_rate
    assert [state.base_learning_rate for state in records[1].states] == pytest.approx(
        [written, 2 * written, 3 * written]
    )
    for record in records:
        by_clip = {(8, 1): 0, (16, 1): 1, (16, 2): 2}
        spent = sum(state.epochs * INPUTS[by_clip[state.clip_length, state.num_steps]].epoch for state in record.states)
        assert spent == pytest.approx(path.compute, rel=len(record.states) * INPUTS[-1].compute / path.compute)


@pytest.mark.parametrize("number", [GOAL_PILOT, SHORT_PILOT])
def test_a_branch_is_a_quarter_of_the_compute_so_far_at_the_goal_from_the_rate_of_the_path(
    config: RunConfig, number: int
) -> None:
    policy = make_policy(config, INPUTS, scoring_videos=500)
    path, place = policy.path_budget(Observations()), policy.pilots[number]
    action = RunPilot(number, place, policy.pilot_fraction, (1.0, 1.0, 3.0))
    pilot = make_pilot(config, action, path=path, inputs=INPUTS, attempt=0)
    own, goal = INPUTS[place], INPUTS[-1]
    half, step = policy.pilot_fraction / 2, own.compute / path.compute
    assert [branch.at for branch in pilot.branches] == pytest.approx([half, 2 * half], abs=step)
    # It is the beginning of a path with more of this input, under the common envelope.
    assert pilot.record.states[0].epochs * own.per_epoch > pilot.branches[-1].begin
    longer = path_record(config, path.goal_only, factors=action.factors, compute=path.compute, inputs=INPUTS)
    assert pilot.record.optimizer == longer.optimizer
    for branch in pilot.branches:
        spent = branch.begin * own.compute
        assert branch.steps * goal.compute == pytest.approx(spent / 4, abs=goal.compute / 2)
        (state,), settings = branch.record.states, branch.record.optimizer
        assert (state.clip_length, state.num_steps) == (16, 2)
        assert state.epochs * goal.per_epoch == pytest.approx(branch.steps)
        assert (settings.envelope, settings.envelope_warmup, settings.envelope_epochs) == ("linear", 0.0, 0.0)
        begins = path.envelope.factor(branch.at)
        assert state.base_learning_rate == pytest.approx(3 * config.search.inputs[-1].base_learning_rate * begins)
        # Its rate-weighted epochs: the sum of the rates of its steps, in units of the peak, on top of the pilot's.
        rates = sum(begins * (1 - (step + 0.5) / branch.steps) for step in range(branch.steps))
        alone = path.weighted_epochs(path.only(place), until=branch.at)
        more = [after - before for after, before in zip(branch.weighted, alone, strict=True)]
        assert more == pytest.approx([0, 0, rates / goal.per_epoch])


@pytest.mark.parametrize(("times", "cost"), [(1, None), (4, 0.22), (8, 0.18)])
@pytest.mark.parametrize("name", ["sparse", "dense"])
def test_the_records_of_the_experiment_have_pilots_from_four_times_their_budget_on(
    name: str, times: int, cost: float | None
) -> None:
    hard = load_config(Path(f"record/plan-hard-{name}.yml"), [f"search.budget={{frames: {100800 * times}}}"])
    costs = [6.0 * setting.pixels_per_clip for setting in hard.search.inputs]
    policy = make_policy(hard, [InputSteps(400, compute) for compute in costs], scoring_videos=100)
    assert bool(policy.pilots) == (cost is not None)
    if cost is not None:  # with the peaks of such a search: three, the refinement, and two at the short input
        seen = Observations({0: {1.0: 1.0, 2.0: 1.1}, 1: {0.25: 1.2, 1.0: 1.0, 4.0: 1.3, 2.0: 1.1}})
        assert 1 - policy.path_budget(seen).compute / policy.budget.compute < cost


def test_a_peak_run_has_at_least_the_least_steps(config: RunConfig) -> None:
    small = replace(config, search=replace(config.search, budget=replace(config.search.budget, epochs=15)))
    policy = make_policy(small, INPUTS, scoring_videos=500)
    action = policy.next_action(Observations())
    assert isinstance(action, TryPeak)
    record = peak_record(small, action, INPUTS, first_budget=policy.budget.compute)
    assert record.states[0].epochs * INPUTS[-1].per_epoch == pytest.approx(config.search.least_steps)
    assert record.optimizer.envelope_epochs == 0, "annealed to zero over its own steps"
    rate = config.search.inputs[-1].base_learning_rate * action.factor
    assert record.states[0].base_learning_rate == pytest.approx(rate * 18.75**HORIZON), (
        "1,125 steps of the budget, 60 here"
    )
    assert "pilots: none" in "\n".join(describe_budget(config, policy, INPUTS))
    assert "peaks: at most 3 runs of 5.33% of the budget each" in "\n".join(describe_budget(config, policy, INPUTS))


def test_results_are_in_search_json_and_on_the_page(config: RunConfig) -> None:
    events, policy = train_closed_form(config), make_policy(config, INPUTS, scoring_videos=500)
    before = Planned(policy.budget.goal_only, 0.0, 0.0, (1.0, 1.0, 1.0), policy.budget.compute)
    early = build_report(config, BudgetedHistory(), policy=policy, planned=before)
    assert "There is no plan until the pilots have ended" in render_budgeted_page(early)
    history = BudgetedHistory(events)
    assert history.plan is not None
    report = build_report(config, history, policy=policy, planned=history.plan)
    content = json.loads(json.dumps(as_json(report.to_json())))
    assert content["splits"][0]["split"] == list(history.plan.split)
    assert len(content["readouts"]) == len(history.readouts())
    assert sum(asdict(report.spent).values()) == pytest.approx(report.budget, rel=1e-3), "whole steps"
    assert report.spent.earlier == 0
    losses = [loss for _, _, loss in report.pareto]
    assert losses == sorted(losses, reverse=True), "a larger budget is expected to end lower"
    page = render_budgeted_page(report)
    assert "The plan spends" in page
    assert f'<td class="number">{history.readouts()[0].branch}</td>' in page
    at_goal = replace(history.plan, split=policy.budget.goal_only)
    only = build_report(config, history, policy=policy, planned=at_goal)
    assert "The plan spends all compute at the goal's input" in render_budgeted_page(only)


@pytest.fixture(scope="module")
def studied(config: RunConfig) -> RunConfig:
    return replace(config, search=replace(config.search, policy="studied", overhead=1.0))


def test_studied_planning_comes_on_top_of_the_path_and_keeps_to_the_cap(studied: RunConfig) -> None:
    events, policy = train_closed_form(studied), make_policy(studied, INPUTS, scoring_videos=500)
    history = BudgetedHistory(events)
    assert isinstance(policy, StudiedPolicy)
    assert history.plan is not None
    assert history.plan.compute == policy.budget.compute
    assert {readout.pilot for readout in history.readouts()} == {0, 1, 2}
    assert [check.share for check in history.checks()] == [1 / 8] * 2, "a cap of one training leaves no more"
    report = build_report(studied, history, policy=policy, planned=history.plan)
    spent = asdict(report.spent)
    assert spent["path"] == report.budget
    assert report.budget / 2 < sum(spent.values()) - spent["path"] < report.budget
    assert spent["lost"] == pytest.approx(2 / 8 * report.budget), "the plan continues one of three"
    pilot = policy.pilot_of(history.plan.split)
    assert pilot is not None and policy.pilots[pilot] == 0
    content = json.loads(json.dumps(as_json(report.to_json())))
    at_goal = next(one for one in content["checks"] if one["split"][-1] == 1)
    other = next(one for one in content["checks"] if one["split"][-1] < 1)
    assert at_goal["less"] is None
    assert other["less"] == pytest.approx(other["loss"] - at_goal["loss"])
    page = render_budgeted_page(report)
    assert "less all at the goal" in page
    said = "\n".join(describe_budget(studied, policy, INPUTS))
    assert "pilots: 3 of 12.50% of the path (562 steps of the goal) each" in said
    assert "on top of the budget, at most 1.00 of it" in said


def test_too_small_an_overhead_or_budget_to_study_is_refused(studied: RunConfig) -> None:
    with pytest.raises(ConfigError, match=r"search.overhead: found 0.5, but .* take 0.59 of the budget"):
        make_policy(replace(studied, search=replace(studied.search, overhead=0.5)), INPUTS, scoring_videos=500)
    small = replace(studied, search=replace(studied.search, budget=replace(studied.search.budget, epochs=18)))
    with pytest.raises(ConfigError, match=r"too small to study: .*give it at least \{epochs: 19.2\}"):
        make_policy(small, INPUTS, scoring_videos=500)


def test_readouts_of_other_searches_are_the_prior_of_this_one(config: RunConfig, tmp_path: Path) -> None:
    events, policy = train_closed_form(config), make_policy(config, INPUTS, scoring_videos=500)
    history = BudgetedHistory(events)
    tau_scale = policy.path_budget(history.observations()).tau_scale  # the same grid as in the comparison below
    assert history.plan is not None
    report = build_report(config, history, policy=policy, planned=history.plan)
    file = tmp_path / "search.json"
    write_sealed_json(file, report.to_json())
    reusing = replace(config, search=replace(config.search, reuse=(str(file),)))
    prior = read_prior(reusing, tau_scale=tau_scale)
    fitted = fit_posterior(history.observations().readouts, tau_scale=tau_scale)
    assert prior is not None and fitted is not None
    assert prior.log_weights == pytest.approx(fitted.tempered(0.3).log_weights)
    assert read_prior(config, tau_scale=tau_scale) is None
    assert identify_reused(reusing) == {"reused search 1": file_sha256(file)}
    # The report uses the prior, and some gains are less uncertain with it.
    sure = build_report(config, history, policy=replace(policy, prior=prior), planned=history.plan)
    spreads = [{each.split: each.spread for each in one.splits} for one in (sure, report)]
    assert any(spreads[0][split] < spreads[1][split] for split in spreads[0].keys() & spreads[1].keys())
    # Errors name the file that cannot be used.
    other = replace(reusing, search=replace(reusing.search, inputs=reusing.search.inputs[1:]))
    with pytest.raises(ReuseError, match=r"search.json: its inputs .* are \[\[.*, those of plan-synthetic are"):
        read_prior(other, tau_scale=tau_scale)
    write_sealed_json(file, replace(report, is_planned=False).to_json())
    with pytest.raises(ReuseError, match="not the search.json of a budgeted search with a plan"):
        read_prior(reusing, tau_scale=tau_scale)
    file.unlink()
    with pytest.raises(ReuseError, match=r"search.reuse: no such file .*search.json'"):
        identify_reused(reusing)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ({"event": "pilott"}, r"journal, line 2: event: found 'pilott'; did you mean 'pilot'\?"),
        ({"event": "pilot", "pilot": 0}, "journal, line 2: 'factors' is missing"),
        (
            {"event": "pilot", "pilot": 0.5, "factors": [1.0], "diverged": -1},
            "pilot: found 0.5, expected a whole number",
        ),
        ({"event": "pilot", "pilot": 0, "factors": 1.0, "diverged": -1}, "factors: found 1.0, expected a list"),
        ({"event": "end", "more": 1}, "unknown field 'more'"),
        ({"event": "costs", "step_seconds": [0.5, None]}, "step_seconds: found None, expected a number"),
    ],
)
def test_lines_that_are_not_events_are_refused(line: dict[str, Any], message: str) -> None:
    with pytest.raises(EventError, match=message):
        read_history([line], source="journal, line", first=2)
