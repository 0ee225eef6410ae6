"""The studied policy, driven by closed-form results: its actions, its cap, and the effect of the check."""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from tests.utils.planning.test_policy import BUDGET, RULE, power_law
from utils.planning.budget import Split
from utils.planning.law import RUN_SD, Readout
from utils.planning.policy import (
    BRANCH_COST,
    COOL_DOWN,
    READ_AT,
    Check,
    Observations,
    RunCheck,
    RunPilot,
    TrainPlan,
    TryPeak,
)
from utils.planning.studied import MIN_DISTANCE, StudiedPolicy, _distance, paired_difference

POLICY = StudiedPolicy(
    BUDGET, RULE, peak_compute=1.0, max_for_peaks=10.0, pilot_fraction=1 / 8, readout=0.1, overhead=2 * BUDGET.compute
)
VIDEOS = np.random.default_rng(0).normal(0, 0.3, size=400)  # difficulty of each video

Losses = Callable[[RunCheck], tuple[float, ...]]


def law(action: RunCheck, more: float = 0.0) -> tuple[float, ...]:
    """Return the losses of a run of the check if the law is true; videos differ, but equally in all runs."""
    part = replace(BUDGET, compute=action.fraction * BUDGET.compute)
    return tuple((power_law(part.weighted_epochs(action.split)) + more + VIDEOS - VIDEOS.mean()).tolist())


def drive(
    policy: StudiedPolicy, show: Losses = law
) -> tuple[list[TryPeak | RunPilot | RunCheck], TrainPlan, Observations]:
    """Return all actions before the plan, the plan, and the results."""
    seen, actions = Observations(), []
    while not isinstance(action := policy.next_action(seen), TrainPlan):
        assert policy.next_action(seen) == action, "a pure function of the results"
        actions.append(action)
        if isinstance(action, TryPeak):
            tried = {**seen.peaks.get(action.input, {}), action.factor: math.log(action.factor) ** 2}
            seen = replace(seen, peaks={**seen.peaks, action.input: tried})
        elif isinstance(action, RunPilot):
            read = tuple(
                Readout(action.number, at, weighted, power_law(weighted), 0.01)
                for at in (action.until * place for place in READ_AT)
                for weighted in [BUDGET.weighted_cool_down(action.input, at=at, epochs=COOL_DOWN * at * BUDGET.compute)]
            )
            seen = replace(seen, readouts=seen.readouts + read, ended=seen.ended | {action.number})
        else:
            seen = replace(seen, checks=(*seen.checks, Check(action.split, action.fraction, show(action))))
    return actions, action, seen


def checks_of(actions: list[TryPeak | RunPilot | RunCheck]) -> list[tuple[float, Split]]:
    return [(each.fraction, each.split) for each in actions if isinstance(each, RunCheck)]


def spent(policy: StudiedPolicy, actions: list[TryPeak | RunPilot | RunCheck]) -> float:
    """Return the compute of all training and scoring."""
    total = 0.0
    for each in actions:
        if isinstance(each, TryPeak):
            total += each.compute + policy.readout
        elif isinstance(each, RunCheck):
            total += each.fraction * BUDGET.compute + policy.readout
        else:
            total += each.until * (1 + BRANCH_COST) * BUDGET.compute + 2 * policy.readout
    return total


def test_a_pilot_at_every_input_then_a_check_in_two_rounds_and_the_path_has_the_whole_budget() -> None:
    actions, plan, seen = drive(POLICY)
    kinds = [type(each) for each in actions]
    assert kinds == sorted(kinds, key=[TryPeak, RunPilot, RunCheck].index)
    assert [each.input for each in actions if isinstance(each, RunPilot)] == [2, 0, 1]
    checks = checks_of(actions)
    assert [fraction for fraction, _ in checks] == [1 / 8] * 3 + [1 / 4] * 2
    first, second = ({split for fraction, split in checks if fraction == part} for part in (1 / 8, 1 / 4))
    assert second < first
    assert BUDGET.goal_only in first
    best, goal, other = (split for fraction, split in checks if fraction == 1 / 8)
    assert min(_distance(other, best), _distance(other, goal)) > MIN_DISTANCE
    assert POLICY.path_budget(seen) == BUDGET
    # The first is preferred after the pilots; the check keeps the truly best two and narrows their gains.
    before = POLICY.choose(POLICY.posterior(replace(seen, checks=())), BUDGET)
    assert before.chosen.split == best
    ends = {split: power_law(BUDGET.weighted_epochs(split)) for split in first}
    assert second == set(sorted(ends, key=ends.__getitem__)[:2])
    assert ends[plan.plan.chosen.split] < min(ends.values()) + 0.01
    spreads = [{each.split: each.spread for each in table} for table in (before.table, plan.plan.table)]
    assert all(spreads[1][split] < spreads[0][split] for split in first - {BUDGET.goal_only})


@pytest.mark.parametrize("overhead", [0.55, 0.78, 0.88, 0.92, 1.37, 1.43])
def test_the_check_shrinks_to_fit_the_cap(overhead: float) -> None:
    policy = replace(POLICY, overhead=overhead * BUDGET.compute, max_for_peaks=0.0)
    actions, _, _ = drive(policy)
    whole = spent(policy, actions)
    assert whole <= policy.overhead or not checks_of(actions)
    counts = {part: len([each for each, _ in checks_of(actions) if each == part]) for part in (1 / 8, 1 / 4)}
    left = overhead - 3 / 8 * (1 + BRANCH_COST)
    assert counts[1 / 8] == (3 if left > 3 / 8 else 2 if left > 2 / 8 else 0)
    assert counts[1 / 4] == (2 if left > 3 / 8 + 2 / 4 else 0)
    assert checks_of(actions)[1:2] in ([], [(1 / 8, BUDGET.goal_only)]), "the first two are never without the goal"


def test_only_runs_of_a_quarter_drop_a_split_by_their_losses() -> None:
    """The split preferred after the pilots loses to all at the goal by more than noise, in either round."""
    _, plan, _ = drive(POLICY)
    best = plan.plan.chosen.split
    assert best != BUDGET.goal_only

    def lose(at: float, by: float) -> Losses:
        return lambda action: law(action, by if action.split == best and action.fraction == at else 0.0)

    assert drive(POLICY, lose(1 / 4, 0.1))[1].plan.chosen.split != best
    # A loss at an eighth is only one more readout; a difference below the noise of runs does not count.
    assert drive(POLICY, lose(1 / 4, 0.005))[1].plan.chosen.split == best
    assert drive(POLICY, lose(1 / 8, 0.02))[1].plan.chosen.split == best


def test_a_diverged_split_is_dropped_and_if_all_diverge_the_posterior_decides() -> None:
    best = drive(POLICY)[1].plan.chosen.split
    actions, plan, _ = drive(POLICY, lambda action: () if action.split == best else law(action))
    assert plan.plan.chosen.split != best
    assert (1 / 4, best) not in checks_of(actions)
    actions, plan, _ = drive(POLICY, lambda _: ())
    assert checks_of(actions)[0][1] == plan.plan.chosen.split
    assert len(checks_of(actions)) == 3


def test_one_input_is_neither_piloted_nor_checked() -> None:
    actions, plan, _ = drive(replace(POLICY, budget=replace(BUDGET, costs=(1.0,))))
    assert {type(each) for each in actions} == {TryPeak}
    assert plan.plan.chosen.split == (1.0,)


def test_runs_of_a_round_are_parallel_and_the_next_round_waits() -> None:
    _, _, seen = drive(POLICY)
    for done, count in ((0, 3), (1, 2), (3, 2), (4, 1), (5, 1)):
        actions = POLICY.next_actions(replace(seen, checks=seen.checks[:done]), 8)
        assert len(actions) == count
        assert len({getattr(each, "fraction", None) for each in actions}) == 1


def test_differences_are_paired_by_video() -> None:
    rng = np.random.default_rng(1)
    one, other = VIDEOS + rng.normal(0.01, 0.02, 400), VIDEOS + rng.normal(0, 0.02, 400)
    first, second = (Check((1.0,), 0.25, tuple(losses.tolist())) for losses in (one, other))
    mean, sd = paired_difference(first, second)
    assert mean == pytest.approx(one.mean() - other.mean())
    resampled = [np.mean((one - other)[rng.integers(0, 400, 400)]) for _ in range(4000)]
    assert math.sqrt(sd**2 - 2 * RUN_SD**2) == pytest.approx(np.std(resampled), rel=0.1)
    assert all(map(math.isnan, paired_difference(first, replace(second, losses=()))))
