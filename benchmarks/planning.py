"""Compare planning policies on simulated problems, at equal compute of the path and at equal total compute.

`benchmarks/simulated.py` defines the problems. A readout costs a thousandth of the budget. No torch; five minutes,
nearly all of them for the paper's search.

  python benchmarks/planning.py [--problems 200] [--first 3000] [--epochs 60] [--policies NAME ...]

Budgeted policies are the current ones, with five peaks, runs of at least 60 steps, detection of losses no better than a
guess, and pilots that are read after cool-downs. They have two kinds of rows. "power 0.3": the best rate falls with the
power that the planner assumes. "any power": with the problem's own power. "1,000 steps" is a budget so small that runs
of peaks take 6% each and there are no pilots; the others have 8,000 steps. "peak only" plans all at the goal: its
difference to the row above is the value of the split, which should be found where the shortest input is cheap (at most
a quarter of the goal's cost).

Gains are points of 100 exp(-loss / 2) over "linear to zero at the goal" at the configured rate. Problems below 1000
were used while the policies were developed; the default ones were not. The simulation says how policies compare under
these assumptions, not what they gain on a data set.

Predicted before the first run of this version (equal total compute; all, too low, within 2, too high, cheap):
  budgeted, power 0.3               +11,  +9, +0.5, +29, +12
  the same, peak only               +10,  +8, 0,    +28, +10
  budgeted, any power               +7,   +7, -4,   +24, +8
  the same, peak only               +6.5, +7, -4,   +24, +6
  budgeted, power 0.3, 1,000 steps  +8,   +6, -3,   +26, +8
  budgeted, any power, 1,000 steps  +5,   +5, -6,   +22, +5
"""

import argparse
import math
import random
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.simulated import Problem, Weights, World, draw_problem
from utils.planning.budget import MIN_GOAL, Budget, Split
from utils.planning.envelope import Envelope
from utils.planning.graph import Transition, build_graph
from utils.planning.knee import KneeRule
from utils.planning.law import Readout
from utils.planning.peaks import HORIZON, PeakRule
from utils.planning.policy import COOL_DOWN, READ_AT, BudgetedPolicy, Observations, RunPilot, TrainPlan, TryPeak
from utils.planning.search import Outcome, search
from utils.planning.search import Path as Steps
from utils.search.budgeted_plan import MAX_FOR_PEAKS, MAX_PILOT_FRACTION, MIN_PILOT_RUNS, PEAK_FRACTION, PILOT_FRACTION

RATES = (1.0, 0.1, 0.01)  # levels of the released lattice
PEAKS = (0.5, 1.0, 2.0, 4.0, 8.0)  # search.peaks
LEAST_STEPS = 60  # search.least_steps
READOUT = 1e-3  # cost of a readout, as a fraction of the budget
REFERENCE_SD = 0.02  # standard deviation of a held-out loss on 500 videos, the same in all runs
SCORING_NOISE = 0.8  # standard deviation of a score from epoch to epoch, points
CHEAP = 0.25  # cost / goal's cost of an input up to which a split should gain


LINEAR = Envelope("linear", warmup=0.05)
Policy = Callable[[World, float], tuple[float, float]]  # (world, compute) -> scores at equal path, total compute


def fixed(split: Split, shape: str = "linear") -> Policy:
    """Return a fixed schedule, whose planning costs nothing."""

    def train(world: World, compute: float) -> tuple[float, float]:
        envelope = Envelope(shape, warmup=0.05)
        value = world.finish(split, compute=compute, envelope=envelope, rates=(1.0, 1.0, 1.0))
        return value, value

    return train


def five_peaks(world: World, compute: float) -> tuple[float, float]:
    """Train the goal with five peaks and keep the best; at equal total compute each gets a fifth."""

    def best(each: float) -> float:
        return max(
            world.finish((0.0, 0.0, 1.0), compute=each, envelope=LINEAR, rates=(factor,) * 3)
            for factor in (0.25, 0.5, 1.0, 2.0, 4.0)
        )

    return best(compute), best(compute / 5)


def random_path(world: World, compute: float) -> tuple[float, float]:
    """Train a random path of the lattice, to longer inputs and lower rates; the rate of a state is constant."""
    rng = random.Random(world.problem.seed)
    stages = sorted((rng.randrange(3), rng.randrange(3)) for _ in range(4))
    stages = [(max(i for i, _ in stages[: k + 1]), level) for k, (_, level) in enumerate(stages)] + [(2, 2)]
    cuts = [0.0, *sorted(rng.random() for _ in stages[1:]), 1.0]
    weights = Weights()
    for (number, level), start, end in zip(stages, cuts, cuts[1:], strict=False):
        epochs = (end - start) * compute / world.problem.costs[number]
        weights = constant_epochs(world.problem, weights, number, epochs=epochs, rate=RATES[level])
    value = world.problem.worth(weights.loss(world.problem))
    return value, value


def constant_epochs(problem: Problem, weights: Weights, number: int, *, epochs: float, rate: float) -> Weights:
    """Train `epochs` epochs at a constant rate, in steps of at most a quarter of an epoch."""
    for _ in range(pieces := max(1, math.ceil(4 * epochs))):
        weights = weights.trained(problem, number, epochs=epochs / pieces, rate=rate)
    return weights


def released(world: World, compute: float) -> tuple[float, float]:
    """Search the extended lattice as the paper does, with this project's search and knee rule."""
    problem = world.problem
    graph = build_graph(["extended"], num_inputs=3, num_levels=3)
    longest = max(8, round(compute / 4))
    rule = KneeRule(attempt_epochs=max(3, longest // 8), max_epochs=longest)
    cost = 0.0

    def explore(transition: Transition, path: Steps) -> Outcome:
        nonlocal cost
        weights = path[-1].outcome.weights if path else Weights()
        number, rate = transition.end.input, RATES[transition.end.level]
        kept, scores = [weights], [_raw_score(world, weights) if path else 0.0]
        while (verdict := rule.judge(scores)) is None:
            kept.append(constant_epochs(problem, kept[-1], number, epochs=1.0, rate=rate))
            scores.append(_raw_score(world, kept[-1]) if not kept[-1].diverged else math.nan)
            cost += problem.costs[number]
        return Outcome(verdict.value, verdict.epoch, kept[verdict.epoch])

    plan = search(graph, explore)
    stages = [(step.transition.end, step.outcome.epochs) for step in plan.trained_steps]
    path_cost = sum(problem.costs[state.input] * epochs for state, epochs in stages)

    def train(total: float) -> float:
        weights = Weights()
        for state, epochs in stages:
            scaled = epochs * total / path_cost
            weights = constant_epochs(problem, weights, state.input, epochs=scaled, rate=RATES[state.level])
        return problem.worth(weights.loss(problem))

    if not stages:
        return 0.0, 0.0
    return train(compute), train(compute * path_cost / (path_cost + cost))


def _raw_score(world: World, weights: Weights) -> float:
    return world.problem.worth(weights.loss(world.problem)) + float(world.rng.normal(0, SCORING_NOISE))


def planned(*, min_goal: float = MIN_GOAL, steps: int = 8000, horizon: float | None = None) -> Policy:
    """Return the budgeted policy.

    Args:
        min_goal: As in `BudgetedPolicy`; 1: it finds the peak only.
        steps: Budget in steps of the goal's input.
        horizon: Power with which the best rate falls with the length of a run; None: the problem's own.
    """

    def train(world: World, compute: float) -> tuple[float, float]:
        problem = replace(world.problem, horizon=world.problem.horizon if horizon is None else horizon)

        def spend(budget: float) -> tuple[float, float]:
            policy = make_policy(problem, budget, min_goal=min_goal, least=LEAST_STEPS * compute / steps)
            return plan_and_train(World(problem), policy)

        whole, overhead = spend(compute)
        return spend(compute + overhead)[0], whole

    return train


def make_policy(problem: Problem, compute: float, *, min_goal: float, least: float) -> BudgetedPolicy:
    """Return the policy for a budget as this project builds it; `least` is the compute of the shortest run."""
    most, readout = compute * MAX_FOR_PEAKS, compute * READOUT
    share = max(PILOT_FRACTION, MIN_PILOT_RUNS * least / (compute - most - 2 * len(READ_AT) * readout))
    return BudgetedPolicy(
        Budget(compute, problem.costs, LINEAR),
        PeakRule(PEAKS, tolerance=1.4 * REFERENCE_SD, chance_loss=problem.floor + problem.height),
        peak_compute=max(compute * PEAK_FRACTION, least),
        max_for_peaks=most,
        pilot_fraction=share if share <= MAX_PILOT_FRACTION else 0.0,
        min_goal=min_goal,
        readout=readout,
    )


def plan_and_train(world: World, policy: BudgetedPolicy) -> tuple[float, float]:
    """Spend a budget with a policy; return the score of the path and the compute of planning."""
    compute, seen = policy.budget.compute, Observations()
    misfit = (policy.peak_compute / compute) ** (world.problem.horizon - HORIZON)
    while True:
        action = policy.next_action(seen)
        if isinstance(action, TryPeak):  # the rate fits the run's length if the world has the planner's power
            only = tuple(float(number == action.input) for number in range(3))
            (weights,) = world.train(only, compute=action.compute, envelope=LINEAR, rates=(action.factor * misfit,) * 3)
            loss = world.read(_own_loss(world.problem, weights, action.input), REFERENCE_SD)
            peaks = {**seen.peaks, action.input: {**seen.peaks.get(action.input, {}), action.factor: loss}}
            seen = replace(seen, peaks=peaks)
        elif isinstance(action, RunPilot):
            readouts = _run_pilot(world, action, policy.path_budget(seen))
            seen = replace(seen, readouts=(*seen.readouts, *readouts), ended=seen.ended | {action.number})
        elif isinstance(action, TrainPlan):
            path = policy.path_budget(seen)
            value = world.finish(action.plan.chosen.split, compute=path.compute, envelope=LINEAR, rates=action.factors)
            return value, compute - path.compute


def _run_pilot(world: World, pilot: RunPilot, path: Budget) -> list[Readout]:
    """Train a pilot; return the readouts of its branches."""
    only, rates, readouts = path.only(pilot.input), pilot.factors, []
    found = world.train(only, compute=path.compute, envelope=LINEAR, rates=rates, until=pilot.until, places=READ_AT)
    for at, weights in zip((place * pilot.until for place in READ_AT), found, strict=True):
        epochs = COOL_DOWN * at * path.compute / path.costs[-1]
        loss = world.cool_down(weights, epochs=epochs, rate=rates[-1] * LINEAR.factor(at)).loss(world.problem)
        weighted = path.weighted_cool_down(pilot.input, at=at, epochs=epochs)
        readouts.append(Readout(pilot.number, at, weighted, world.read(loss, REFERENCE_SD), REFERENCE_SD))
    return readouts


def _own_loss(problem: Problem, weights: Weights, number: int) -> float:
    """Return the loss at an input's own clip, which depends only on the components that the input teaches."""
    if weights.diverged:
        return math.inf
    seen = Weights(tuple(t if number >= m else math.inf for m, t in enumerate(weights.taught)), weights.rate)
    return seen.loss(problem)


BASELINE = "linear at the goal"
POLICIES: dict[str, Policy] = {
    BASELINE: fixed((0.0, 0.0, 1.0)),
    "cosine at the goal": fixed((0.0, 0.0, 1.0), "cosine"),
    "steps at the goal": fixed((0.0, 0.0, 1.0), "steps"),
    "a quarter short, linear": fixed((0.25, 0.0, 0.75)),
    "random path": random_path,
    "released search": released,
    "five peaks at the goal": five_peaks,
    "budgeted, power 0.3": planned(horizon=HORIZON),
    "the same, peak only": planned(horizon=HORIZON, min_goal=1.0),
    "budgeted, any power": planned(),
    "any power, peak only": planned(min_goal=1.0),
    "power 0.3, 1,000 steps": planned(horizon=HORIZON, steps=1000),
    "any power, 1,000 steps": planned(steps=1000),
}


def describe(gains: NDArray[np.float64]) -> str:
    """Return means at equal path and total compute with standard errors, then tenth percentile and worst."""
    errors = gains.std(axis=0) / math.sqrt(len(gains))
    means = [f"{mean:.1f} ± {error:.1f}" for mean, error in zip(gains.mean(axis=0), errors, strict=True)]
    return " | ".join([*means, f"{np.percentile(gains[:, 1], 10):.1f}", f"{gains[:, 1].min():.1f}"])


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", type=int, default=200, metavar="N", help="how many (default 200)")
    parser.add_argument("--first", type=int, default=3000, metavar="SEED", help="seed of the first (default 3000)")
    parser.add_argument("--epochs", type=float, default=60.0, metavar="N", help="budget, epochs of the goal's input")
    parser.add_argument("--policies", nargs="+", default=list(POLICIES), choices=list(POLICIES), metavar="NAME")
    arguments = parser.parse_args()
    seeds = range(arguments.first, arguments.first + arguments.problems)
    problems = [draw_problem(seed, arguments.epochs) for seed in seeds]
    worths = {
        name: np.array([POLICIES[name](World(problem), arguments.epochs) for problem in tqdm(problems, desc=name)])
        for name in dict.fromkeys((BASELINE, *arguments.policies))
    }  # [problems, 2]: equal path, equal total compute
    print(f"{arguments.problems} problems from seed {arguments.first}, {arguments.epochs:g} epochs of the goal's input")
    best, shortest = np.array([problem.best for problem in problems]), np.array([each.costs[0] for each in problems])
    groups = {
        "too low": best > 2,
        "within 2": (best >= 0.5) & (best <= 2),
        "too high": best < 0.5,
        "cheap": shortest <= CHEAP,
        "cheap, within 2": (shortest <= CHEAP) & (best >= 0.5) & (best <= 2),
    }
    heads = [f"{name} ({chosen.sum()})" for name, chosen in groups.items()]
    print(f"| policy | equal path | equal total | 10% | worst | {' | '.join(heads)} |")
    print("|---" * (5 + len(groups)) + "|")
    for name, values in worths.items():
        gains = values - worths[BASELINE]
        means = [f"{gains[chosen, 1].mean() if chosen.any() else math.nan:.1f}" for chosen in groups.values()]
        print(f"| {name} | {describe(gains)} | {' | '.join(means)} |")


if __name__ == "__main__":
    main()
