"""The budgeted policy, driven by closed-form results: the order of its actions, and that it keeps to the budget."""

import functools
import math
from collections.abc import Callable
from dataclasses import replace

import pytest

from utils.planning.budget import Budget
from utils.planning.envelope import Envelope
from utils.planning.law import Readout
from utils.planning.peaks import PeakRule
from utils.planning.policy import (
    COOL_DOWN,
    GOAL_PILOT,
    READ_AT,
    SHORT_PILOT,
    Action,
    BudgetedPolicy,
    Observations,
    RunPilot,
    TrainPlan,
    TryPeak,
)

RULE = PeakRule((0.5, 1.0, 2.0, 4.0, 8.0))
BUDGET = Budget(compute=64.0, costs=(0.1, 0.5, 1.0), envelope=Envelope("linear"))
POLICY = BudgetedPolicy(BUDGET, RULE, peak_compute=1.0, max_for_peaks=10.0)


def drive(
    policy: BudgetedPolicy, peak_loss: Callable[[int, float], float], readout_loss: Callable[[tuple[float, ...]], float]
) -> tuple[list[Action], Observations]:
    seen, actions = Observations(), list[Action]()
    while True:
        action = policy.next_action(seen)
        assert policy.next_action(seen) == action  # a pure function of the results
        actions.append(action)
        assert len(actions) < 20
        if isinstance(action, TryPeak):
            tried = {**seen.peaks.get(action.input, {}), action.factor: peak_loss(action.input, action.factor)}
            seen = replace(seen, peaks={**seen.peaks, action.input: tried})
        elif isinstance(action, RunPilot):
            path = policy.path_budget(seen)
            readouts = tuple(
                Readout(action.number, at, weighted, readout_loss(weighted), 0.01)
                for at in (action.until * place for place in READ_AT)
                for epochs in [COOL_DOWN * at * path.compute / path.costs[-1]]
                for weighted in [path.weighted_cool_down(action.input, at=at, epochs=epochs)]
            )
            seen = replace(seen, readouts=seen.readouts + readouts, ended=seen.ended | {action.number})
        else:
            return actions, seen


def power_law(weighted: tuple[float, ...]) -> float:
    return 0.1 + 1.5 * (1 + sum(weighted) / 2) ** -0.5 + 0.5 * (1 + weighted[-1] / 2) ** -0.5


def raised_power_law(by: float, weighted: tuple[float, ...]) -> float:
    return by + power_law(weighted)


def test_first_the_goals_peak_then_the_shortest_inputs_then_pilots_then_the_plan() -> None:
    optimum = {0: 4.0, 2: 2.0}
    actions, seen = drive(POLICY, lambda number, f: math.log(f / optimum[number]) ** 2, power_law)
    peaks = [(each.input, each.factor) for each in actions if isinstance(each, TryPeak)]
    # Losses at 0.5, 1, 2, 4 of the goal; between 2 and its better neighbor (of equal ones the lower); then around 2.
    assert peaks == [(2, 0.5), (2, 1.0), (2, 2.0), (2, 4.0), (2, pytest.approx(math.sqrt(2))), (0, 2.0), (0, 4.0)]
    pilots = [each for each in actions if isinstance(each, RunPilot)]
    assert [(each.number, each.until) for each in pilots] == [(GOAL_PILOT, 1 / 32), (SHORT_PILOT, 1 / 32)]
    assert [each.input for each in pilots] == [2, 0]
    assert pilots[0].factors == (4.0, 4.0, 2.0)
    plan = actions[-1]
    assert isinstance(plan, TrainPlan)
    assert plan.factors == (4.0, 4.0, 2.0)
    assert plan.plan.chosen.gain > 0
    assert plan.plan.chosen.split[-1] >= 0.5
    # All of it adds up to the budget: peaks, the path with its pilot, the other pilot, and four branches, each a
    # quarter of a 64th or of a 32nd.
    path = POLICY.path_budget(seen)
    branches = 2 * (1 / 64 + 1 / 32) / 4
    assert len(peaks) * 1.0 + path.compute * (1 + 1 / 32 + branches) == pytest.approx(BUDGET.compute)


def test_a_path_continues_a_pilot() -> None:
    policy = replace(POLICY, pilot_fraction=1 / 15)
    plan = drive(policy, lambda _number, f: math.log(f) ** 2, power_law)[0][-1]
    assert isinstance(plan, TrainPlan)
    # At least an eighth, as a sixteenth is less than a pilot; none begins at the middle input, which has no pilot.
    assert {each.split[0] for each in plan.plan.table if each.split[-1] < 1} == {k / 16 for k in range(2, 9)}
    assert all(policy.pilot_of(each.split) is not None for each in plan.plan.table)
    assert policy.pilot_of((0.25, 0.0, 0.75)) == SHORT_PILOT
    assert policy.pilot_of((0.0, 0.0, 1.0)) == GOAL_PILOT
    assert policy.pilot_of((0.0, 0.5, 0.5)) is None
    assert policy.pilot_of((1 / 16, 0.0, 15 / 16)) is None


def test_one_input_has_no_pilot() -> None:
    policy = replace(POLICY, budget=replace(BUDGET, costs=(1.0,)))
    actions, seen = drive(policy, lambda _number, f: math.log(f) ** 2, lambda w: 1 / (1 + w[0]))
    assert not any(isinstance(each, RunPilot) for each in actions)
    plan = actions[-1]
    assert isinstance(plan, TrainPlan)
    assert plan.plan.chosen.split == (1.0,)
    assert plan.factors == (1.0,)
    assert policy.path_budget(seen).compute == 64.0 - 4 * 1.0


def test_without_pilots_the_plan_is_all_at_the_goal_and_nothing_is_lost() -> None:
    policy = replace(POLICY, pilot_fraction=0.0)
    actions, seen = drive(policy, lambda _number, f: math.log(f) ** 2, power_law)
    assert not any(isinstance(each, RunPilot) for each in actions)
    plan = actions[-1]
    assert isinstance(plan, TrainPlan)
    assert plan.plan.chosen.split == (0, 0, 1)
    peaks = len([each for each in actions if isinstance(each, TryPeak)])
    assert policy.path_budget(seen).compute == BUDGET.compute - peaks


def test_the_cap_ends_the_peaks() -> None:
    policy = replace(POLICY, max_for_peaks=3.0)
    actions, _ = drive(policy, lambda _number, f: -f, power_law)
    assert [each.factor for each in actions if isinstance(each, TryPeak)] == [0.5, 1.0, 2.0]
    plan = actions[-1]
    assert isinstance(plan, TrainPlan)
    assert plan.factors == (2.0, 2.0, 2.0)
    nothing, _ = drive(replace(POLICY, max_for_peaks=0.0), lambda _number, f: -f, power_law)
    assert not any(isinstance(each, TryPeak) for each in nothing)
    assert isinstance(nothing[-1], TrainPlan)
    assert nothing[-1].factors == (1.0, 1.0, 1.0)


def test_readouts_are_inside_the_budget() -> None:
    policy = replace(POLICY, readout=0.25, max_for_peaks=3.0)
    actions, seen = drive(policy, lambda _number, f: -f, power_law)
    assert len([each for each in actions if isinstance(each, TryPeak)]) == 2, "a third would be 3.75 with its readout"
    path = policy.path_budget(seen).compute
    assert 2 * 1.25 + 4 * 0.25 + path * (1 + 1.75 / 32) == pytest.approx(BUDGET.compute)


def test_pilots_that_learned_nothing_leave_the_goal_alone() -> None:
    """By these readouts, which are no better than chance, short inputs would look good."""
    policy = replace(POLICY, rule=replace(RULE, chance_loss=2.0))
    for more, is_alone in ((2.0, True), (0.0, False)):
        actions, seen = drive(policy, lambda _number, f: math.log(f) ** 2, functools.partial(raised_power_law, more))
        plan = actions[-1]
        assert isinstance(plan, TrainPlan)
        assert (plan.plan.chosen.split == (0, 0, 1)) == is_alone
        assert (policy.posterior(seen) is None) == is_alone


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_pilots_that_diverge_leave_the_goal_alone(loss: float) -> None:
    actions, _ = drive(POLICY, lambda _number, f: math.log(f) ** 2, lambda _: loss)
    plan = actions[-1]
    assert isinstance(plan, TrainPlan)
    assert plan.plan.chosen.split == (0, 0, 1)
    assert plan.posterior is None


def test_a_late_rise_keeps_the_goal_alone() -> None:
    """No law explains a rising loss, so no split has an expected gain."""
    actions, _ = drive(POLICY, lambda _number, f: math.log(f) ** 2, lambda w: 1.0 + sum(w))
    plan = actions[-1]
    assert isinstance(plan, TrainPlan)
    assert plan.plan.chosen.split == (0, 0, 1)


def test_parallel_actions_begin_with_the_next_action() -> None:
    """At each stage: increasing rates while the loss may fall, pilots together, nothing that needs unknown results."""
    optimum = {0: 4.0, 2: 2.0}
    _, seen = drive(POLICY, lambda number, f: math.log(f / optimum[number]) ** 2, power_law)

    def asked(seen: Observations, most: int) -> list[object]:
        actions = POLICY.next_actions(seen, most)
        assert actions[0] == POLICY.next_action(seen)
        assert len(actions) <= most
        return [each.factor if isinstance(each, TryPeak) else getattr(each, "number", "plan") for each in actions]

    goal = seen.peaks[2]
    begun = Observations({2: {factor: goal[factor] for factor in (0.5, 1.0)}})
    assert asked(begun, 1) == [2.0]
    assert asked(begun, 3) == [2.0, 4.0, 8.0]
    turned = Observations({2: {factor: goal[factor] for factor in (0.5, 1.0, 2.0, 4.0)}})
    assert asked(turned, 2)[0] == pytest.approx(math.sqrt(2))
    assert asked(Observations(seen.peaks), 4) == [GOAL_PILOT, SHORT_PILOT]
    assert asked(seen, 4) == ["plan"]
