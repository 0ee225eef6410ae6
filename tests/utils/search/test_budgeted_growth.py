"""A budget that grows: what the journal of a smaller budget means for the larger, with closed-form losses."""

import logging
import math
from dataclasses import replace
from pathlib import Path

import pytest

from tests.utils.search.test_budgeted_plan import INPUTS, config, train_closed_form
from utils.config import RunConfig
from utils.planning.budget import choose_split
from utils.planning.law import fit_posterior
from utils.planning.peaks import HORIZON
from utils.planning.policy import GOAL_PILOT, SHORT_PILOT, Observations, RunPilot, TrainPlan, TryPeak
from utils.search.budgeted_events import (
    BudgetedEvent,
    BudgetedHistory,
    BudgetSet,
    CheckScore,
    PeakScore,
    PilotEnd,
    PilotReadout,
    Planned,
    SetAside,
)
from utils.search.budgeted_growth import adopt_budget
from utils.search.budgeted_page import render_budgeted_page
from utils.search.budgeted_plan import budget_compute, make_policy, peak_record
from utils.search.budgeted_report import build_report
from utils.search.events import End
from utils.search.journal import SearchJournal
from utils.training.checkpoint import Position, save_checkpoint

__all__ = ["config"]  # a fixture

UNIT = "frames x pixels"


def grown(config: RunConfig, times: float) -> RunConfig:
    budget = replace(config.search.budget, epochs=times * config.search.budget.epochs)
    return replace(config, search=replace(config.search, budget=budget))


@pytest.fixture
def journal(config: RunConfig) -> list[BudgetedEvent]:
    """Return the events of a complete search, and the first ones of its continuation with twice the budget."""
    compute = budget_compute(config, INPUTS)
    events = [BudgetSet(compute, UNIT), *train_closed_form(config), End()]
    return [*events, BudgetSet(2 * compute, UNIT, path=0.5 * compute), SetAside("earlier-001")]


def test_results_are_converted_and_their_cost_counts_and_there_is_a_new_plan(
    config: RunConfig, journal: list[BudgetedEvent]
) -> None:
    history, large = BudgetedHistory(journal), grown(config, 2)
    first = history.budgets[0].compute
    policy = make_policy(large, INPUTS, scoring_videos=500, first_budget=first)
    old = next(event for event in journal if isinstance(event, Planned))
    assert (history.plan, history.test, history.has_ended) == (None, None, False)
    seen = history.observations()
    assert seen.carried_over == seen.ended != frozenset()
    # A check of the smaller budget is about shorter paths, so it is repeated.
    check = CheckScore(policy.budget.goal_only, 1 / 8, 1.5, 0.02, 50.0, (1.5,), 1.0)
    for place, checks in ((-2, 0), (len(journal), 1)):
        assert len(BudgetedHistory([*journal[:place], check, *journal[place:]]).observations().checks) == checks
    # A rate that was found stands for one lower by 2^-0.3; the rate of the record is not converted.
    assert policy.factors(seen) == pytest.approx([factor * 0.5**HORIZON for factor in old.factors])
    assert policy.factors(replace(seen, peaks={})) == (1.0, 1.0, 1.0)
    # All planning so far counts, with the whole pilots, since no path continues them.
    pilots = [[each for each in history.readouts() if each.pilot == number] for number in (0, 1)]
    peaks = sum(peak.compute + policy.readout for peak in history.peaks())
    spent = peaks + sum(pilot[-1].compute for pilot in pilots) + policy.readout * len(history.readouts())
    path = policy.path_budget(seen)
    assert path.compute == pytest.approx(2 * first - spent)
    # There is compute for more peaks, and no pilot is run again.
    action = policy.next_action(seen)
    while isinstance(action, TryPeak):
        history.add(PeakScore(action.input, action.factor, 9.0, 0.02, 50.0, 30, action.compute, 1.0))
        action = policy.next_action(history.observations())
    assert isinstance(action, TrainPlan)
    path = policy.path_budget(history.observations())
    posterior = fit_posterior(history.observations().readouts, tau_scale=path.tau_scale)
    assert action.plan == choose_split(posterior, path, min_goal=policy.min_goal, min_first=policy.pilot_fraction)
    # The page states the compute of the earlier path, on top of the budget.
    chosen = action.plan.chosen
    history.add(planned := Planned(chosen.split, chosen.gain, chosen.spread, action.factors, path.compute))
    report = build_report(large, history, policy=policy, planned=planned)
    parts = report.spent
    assert parts.peaks + parts.readouts + parts.lost + parts.path == pytest.approx(2 * first)
    assert parts.earlier == first / 2
    assert "paths of smaller budgets, on top of it" in render_budgeted_page(report)
    assert report.peaks[0].factor == pytest.approx(history.peaks()[0].factor * 0.5**HORIZON)


def test_a_peak_run_is_the_same_under_every_budget(config: RunConfig) -> None:
    """So a killed one continues, and losses are those of equally long runs."""
    first = budget_compute(config, INPUTS)
    policies = [
        make_policy(each, INPUTS, scoring_videos=500, first_budget=first) for each in (config, grown(config, 3))
    ]
    assert policies[0] == make_policy(config, INPUTS, scoring_videos=500)
    actions = [policy.next_action(Observations({2: {0.25: 2.0, 1.0: 1.5}})) for policy in policies]
    assert isinstance(actions[0], TryPeak) and actions[0] == actions[1]
    records = [peak_record(each, actions[0], INPUTS, first_budget=first) for each in (config, grown(config, 3))]
    assert records[0].states == records[1].states
    assert policies[1].max_for_peaks == 3 * policies[0].max_for_peaks


def test_the_compute_of_an_abandoned_path_is_recorded(
    config: RunConfig, journal: list[BudgetedEvent], tmp_path: Path
) -> None:
    """It is taken from the last checkpoint, without the pilot that the path continued."""
    small = replace(config, logging=replace(config.logging, output_dir=str(tmp_path)))
    run, parts = small.run_dir / "search" / "run", journal[: journal.index(End())]
    planned = parts[-1]
    assert isinstance(planned, Planned) and planned.split[0] > 0
    pilot = max(event.at for event in parts if isinstance(event, PilotReadout) and event.pilot == SHORT_PILOT)
    whole, paths = planned.split[0] * planned.compute, list[float]()
    for position in (Position(0, 40, 3), Position(1, 2, 0), Position(3), Position(0)):
        save_checkpoint(run / "current.pth", {}, position=position)
        file = SearchJournal(tmp_path / f"{len(paths)}.jsonl", {}, read=lambda lines, _: BudgetedHistory())
        for event in parts:
            file.append(event)
        adopt_budget(grown(small, 2), file, INPUTS, log=logging.getLogger("test"))
        paths.append(file.history.budgets[-1].path + pilot * planned.compute * bool(file.history.budgets[-1].path))
    used = [number for number, fraction in enumerate(planned.split) if fraction > 0]
    short, second = (40 * 75 + 3) * INPUTS[0].compute, 2 * INPUTS[used[1]].epoch
    assert paths == pytest.approx([short, whole + second, planned.compute, 0.0])
    assert not run.exists()
    assert (small.run_dir / "earlier-001" / "search" / "run" / "current.pth").exists()


def test_pilots_that_led_to_no_plan_are_run_again(config: RunConfig, journal: list[BudgetedEvent]) -> None:
    """Their readouts are kept; a pilot that diverges at a converted rate rules out the rates that were tried."""
    cut = next(place for place, event in enumerate(journal) if isinstance(event, PilotEnd))
    small = journal[: cut + 1]  # the goal's pilot has ended, the other has not begun
    first = budget_compute(config, INPUTS)
    history = BudgetedHistory([*small, BudgetSet(2 * first, UNIT)])
    assert not history.is_set_aside
    assert history.attempt == 1
    assert history.of_pilot(GOAL_PILOT, attempt=0) == [e for e in small if isinstance(e, PilotReadout | PilotEnd)]
    assert history.of_pilot(GOAL_PILOT, attempt=1) == []
    seen = history.observations()
    assert (seen.ended, seen.lost_readouts) == (frozenset(), len(seen.readouts))
    assert seen.lost == history.readouts()[-1].compute
    policy = replace(make_policy(grown(config, 2), INPUTS, scoring_videos=500, first_budget=first), max_for_peaks=0.0)
    action = policy.next_action(seen)
    assert isinstance(action, RunPilot) and action.number == GOAL_PILOT
    paths = [policy.path_budget(each).compute for each in (seen, replace(seen, lost=0.0, lost_readouts=0))]
    assert paths[1] - paths[0] > 0.9 * (seen.lost + policy.readout * seen.lost_readouts)
    tried = set(seen.peaks[2])
    history.add(PilotEnd(GOAL_PILOT, action.factors, 2))
    after = history.observations().peaks[2]
    assert after.keys() == tried
    assert {factor for factor, loss in after.items() if math.isnan(loss)} == {
        factor for factor in tried if factor * policy.scale >= action.factors[2] * (1 - 1e-9) or factor > 8
    }
    # Under a third budget rates are converted from the first to the last.
    history.add(BudgetSet(8 * first, UNIT))
    assert history.attempt == 3
    largest = make_policy(grown(config, 8), INPUTS, scoring_videos=500, first_budget=first)
    best = largest.rule.best(after)
    assert best is not None
    assert largest.factors(history.observations())[2] == pytest.approx(best * 0.125**HORIZON)
