"""The pure part of a budgeted search: journal lines, records of actions, and the loop on losses of closed forms."""

import json
import math
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from utils.config import RunConfig, load_config
from utils.files import file_sha256
from utils.jsonl import as_json
from utils.planning.law import fit_posterior
from utils.planning.policy import GOAL_PILOT, SHORT_PILOT, RunPilot, Seen, TryPeak
from utils.sealed import write_sealed_json
from utils.search.budgeted_events import (
    BudgetedEvent,
    BudgetedHistory,
    PeakScore,
    PilotEnd,
    PilotReadout,
    Planned,
    read_history,
    write_event,
)
from utils.search.budgeted_page import render_budgeted_page
from utils.search.budgeted_plan import (
    HORIZON,
    InputSteps,
    describe_budget,
    first_slice,
    make_policy,
    path_record,
    peak_record,
    pilot_slices,
)
from utils.search.budgeted_report import build_report
from utils.search.events import EventError
from utils.search.reuse import ReuseError, identify_reused, read_prior

INPUTS = (InputSteps(75, 8 * 100.0), InputSteps(75, 16 * 100.0), InputSteps(75, 16 * 500.0))


@pytest.fixture(scope="module")
def config() -> RunConfig:
    return load_config(
        Path("record/plan-synthetic.yml"),
        [
            "search.budget={epochs: 40}",
            "search.inputs=[{clip_length: 8, num_steps: 1}, {clip_length: 16, num_steps: 1}, {clip_length: 16}]",
        ],
    )


def train_closed_form(config: RunConfig, *, diverges_above: float = math.inf) -> list[BudgetedEvent]:
    """Drive the policy as the search does, from its journal alone; losses are closed forms, nothing is trained."""
    policy = make_policy(config, INPUTS, scoring_videos=500)
    events: list[BudgetedEvent] = []
    for _ in range(100):
        # Every time from the lines of the journal, as after a kill.
        lines = [write_event(event) for event in events]
        history = read_history([plain(line) for line in lines], source="journal, line", first=2)
        action = policy.next_action(history.seen())
        if isinstance(action, TryPeak):
            loss = 1.5 + 0.3 * math.log2(action.factor / 4) ** 2 if action.factor <= 8 else math.nan
            events.append(PeakScore(action.input, action.factor, loss, 0.02, 50.0, 30, action.compute, 1.0))
        elif isinstance(action, RunPilot):
            if action.factors[-1] > diverges_above:
                events.append(PilotEnd(action.number, action.factors, len(INPUTS) - 1))
                continue
            path = policy.path_budget(history.seen())
            for piece in pilot_slices(config, action, path=path, inputs=INPUTS, attempt=0):
                for stop in piece.stops:
                    loss = 0.2 + 2.2 * (1 + sum(stop.weighted)) ** -0.5
                    events.append(
                        PilotReadout(
                            action.number, piece.state, stop.step, stop.at, stop.weighted, loss, 0.02, 50.0, 1.0
                        )
                    )
            events.append(PilotEnd(action.number, action.factors))
        else:
            chosen = action.plan.chosen
            compute = policy.path_budget(history.seen()).compute
            return [*events, Planned(chosen.split, chosen.gain, chosen.spread, action.factors, compute)]
    raise AssertionError("the policy came to no plan")


def plain(line: dict[str, Any]) -> dict[str, Any]:
    """Return a line as JSON gives it back."""
    return as_json(line)


def test_the_plan_follows_from_the_journal_and_pays_its_way(config: RunConfig) -> None:
    events = train_closed_form(config)
    kinds = [type(event) for event in events]
    assert kinds.index(PilotReadout) > max(i for i, kind in enumerate(kinds) if kind is PeakScore)
    history, policy = BudgetedHistory(events), make_policy(config, INPUTS, scoring_videos=500)
    plan = history.plan
    assert plan is not None
    # The best peak of the closed form, at both ends; an input between goes by the shortest.
    assert plan.factors == (4.0, 4.0, 4.0)
    # Cheap inputs teach as much a rate-weighted epoch: the plan begins with them.
    assert plan.split[0] > 0
    assert plan.split[-1] >= 0.5
    assert plan.gain > 0
    # Peaks, path and what is lost are the budget, and no more.
    peaks = sum(peak.compute + policy.readout for peak in history.peaks())
    assert peaks <= 0.25 * policy.budget.compute
    lost = 1.5 * policy.pilot_share * plan.compute + policy.readout * len(history.readouts())
    assert peaks + plan.compute + lost == pytest.approx(policy.budget.compute)


def test_a_pilot_that_diverges_lowers_the_peaks_and_all_pilots_begin_anew(config: RunConfig) -> None:
    events = train_closed_form(config, diverges_above=3)
    history = BudgetedHistory(events)
    assert [end.factors[-1] for end in history.retreats()] == [4.0]
    assert history.plan is not None
    assert history.plan.factors[-1] < 4
    assert {readout.pilot for readout in history.readouts()} == {GOAL_PILOT, SHORT_PILOT}


def test_what_every_split_begins_with_are_the_same_steps(config: RunConfig) -> None:
    policy = make_policy(config, INPUTS, scoring_videos=500)
    path = policy.path_budget(Seen())
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


def test_slices_end_where_the_pilot_does_and_come_one_behind_the_other(config: RunConfig) -> None:
    policy = make_policy(config, INPUTS, scoring_videos=500)
    path = policy.path_budget(Seen())
    action = replace(policy, most_for_peaks=0.0).next_action(Seen(ended=frozenset({GOAL_PILOT})))
    assert isinstance(action, RunPilot)
    short, fork = pilot_slices(config, action, path=path, inputs=INPUTS, attempt=0)
    step = INPUTS[-1].compute / path.compute
    assert short.stops[-1].at == pytest.approx(policy.pilot_share / 2, abs=step)
    assert fork.stops[-1].at == pytest.approx(policy.pilot_share, abs=step)
    assert round(fork.record.states[0].epochs * INPUTS[0].per_epoch) == short.stops[-1].step
    for piece in (short, fork):
        steps = [stop.step for stop in piece.stops]
        assert steps == sorted(set(steps))
        for before, stop in zip((0, *steps), piece.stops, strict=False):
            assert before <= stop.tail < stop.step, "tails do not overlap"
        for stop in piece.stops:
            assert stop.weighted == path.weighted_epochs(action.split, until=stop.at)
    assert sum(fork.stops[0].weighted[:2]) == pytest.approx(short.stops[-1].weighted[0])
    assert [first_slice(split) for split in ((0, 0, 1), (0.25, 0, 0.75), (0, 0.25, 0.75))] == ["goal", "short", ""]


def test_a_peak_has_the_fewest_steps_that_mean_something(config: RunConfig) -> None:
    small = replace(config, search=replace(config.search, budget=replace(config.search.budget, epochs=15)))
    policy = make_policy(small, INPUTS, scoring_videos=500)
    action = policy.next_action(Seen())
    assert isinstance(action, TryPeak)
    record = peak_record(small, action, INPUTS)
    assert record.states[0].epochs * INPUTS[-1].per_epoch == pytest.approx(config.search.least_steps)
    assert record.optimizer.envelope_epochs == 0, "annealed to zero over its own steps"
    rate = config.search.inputs[-1].base_learning_rate * action.factor
    assert record.states[0].base_learning_rate == pytest.approx(rate * 18.75**HORIZON), (
        "1,125 steps of the budget, 60 here"
    )
    assert "pilots: none" in "\n".join(describe_budget(config, policy, INPUTS))
    assert "peaks: 3 runs at most of 5.33% of the budget each" in "\n".join(describe_budget(config, policy, INPUTS))


def test_what_was_seen_is_in_search_json_and_on_the_page(config: RunConfig) -> None:
    events, policy = train_closed_form(config), make_policy(config, INPUTS, scoring_videos=500)
    before = Planned(policy.budget.goal_only, 0.0, 0.0, (1.0, 1.0, 1.0), policy.budget.compute)
    early = build_report(config, BudgetedHistory(), policy=policy, planned=before, path_record="p.yml")
    assert "Until the pilots have ended" in render_budgeted_page(early)
    history = BudgetedHistory(events)
    assert history.plan is not None
    report = build_report(config, history, policy=policy, planned=history.plan, path_record="p.yml")
    content = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert content["splits"][0]["split"] == list(history.plan.split)
    assert len(content["readouts"]) == len(history.readouts())
    assert sum(asdict(report.spent).values()) == pytest.approx(report.budget)
    losses = [loss for _, _, loss in report.pareto]
    assert losses == sorted(losses, reverse=True), "a larger budget is expected to end lower"
    page = render_budgeted_page(report)
    assert "The plan is" in page
    assert page.count("<svg") == 3
    at_goal = replace(history.plan, split=policy.budget.goal_only)
    only = build_report(config, history, policy=policy, planned=at_goal, path_record="p.yml")
    assert "The plan is all at the goal" in render_budgeted_page(only)


def test_readouts_of_other_searches_are_the_prior_of_this_one(config: RunConfig, tmp_path: Path) -> None:
    events, policy = train_closed_form(config), make_policy(config, INPUTS, scoring_videos=500)
    history = BudgetedHistory(events)
    longest = policy.path_budget(history.seen()).longest  # the grid of the posterior that it is compared with
    assert history.plan is not None
    report = build_report(config, history, policy=policy, planned=history.plan, path_record="p.yml")
    file = tmp_path / "search.json"
    write_sealed_json(file, report.to_json())
    reusing = replace(config, search=replace(config.search, reuse=(str(file),)))
    prior = read_prior(reusing, longest=longest)
    fitted = fit_posterior(history.seen().readouts, longest=longest)
    assert prior is not None and fitted is not None
    assert prior.log_weights == pytest.approx(fitted.tempered(0.3).log_weights)
    assert read_prior(config, longest=longest) is None
    assert identify_reused(reusing) == {"reused search 1": file_sha256(file)}
    # What is said of the plan is said with it, and is surer.
    sure = build_report(config, history, policy=replace(policy, prior=prior), planned=history.plan, path_record="p.yml")
    spreads = [{each.split: each.spread for each in one.splits} for one in (sure, report)]
    assert any(spreads[0][split] < spreads[1][split] for split in spreads[0].keys() & spreads[1].keys())
    # What cannot be used is named.
    other = replace(reusing, search=replace(reusing.search, inputs=reusing.search.inputs[1:]))
    with pytest.raises(ReuseError, match=r"search.json: its inputs .* are \[\[.*, those of plan-synthetic are"):
        read_prior(other, longest=longest)
    write_sealed_json(file, replace(report, is_planned=False).to_json())
    with pytest.raises(ReuseError, match="not the search.json of a budgeted search that has its plan"):
        read_prior(reusing, longest=longest)
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
        ({"event": "end", "more": 1}, "a field 'more' is not known"),
    ],
)
def test_what_is_no_event_is_named(line: dict[str, Any], message: str) -> None:
    with pytest.raises(EventError, match=message):
        read_history([line], source="journal, line", first=2)
