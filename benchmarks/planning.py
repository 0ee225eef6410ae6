"""Policies of planning on simulated problems: what each gains at equal compute of the path, and of everything.

A problem is a task of three components, each taught by every input at least as long as it, with its own size, power and
time scale (the planner's law has one power and one scale for all, so it is never exactly true), a loss by noise that is
proportional to the rate at the end, a cost of adaptation after a change of input, a rate above which training diverges,
a best rate that falls with the length of a run to a power of 0.15 to 0.45 (the planner takes 0.3), and a user whose
rate is wrong by a factor of up to 4 either way. A readout costs a thousandth of the budget. No torch; minutes.

  python benchmarks/planning.py [--problems 200] [--first 3000] [--epochs 60]

Gains are points of 100 exp(-loss / 2) over "linear to zero at the goal" at the written rate. Problems below 1000 were
used while the policies were written; the default ones were not. What is simulated says how policies compare under these
assumptions, not what a data set gives.
"""

import argparse
import functools
import math
import random
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from utils.planning.budget import Budget, Split
from utils.planning.envelope import Envelope
from utils.planning.graph import Transition, build_graph
from utils.planning.knee import KneeRule
from utils.planning.law import Readout
from utils.planning.peaks import HORIZON, PeakRule
from utils.planning.policy import COOL_DOWN, PLACES, BudgetedPolicy, RunPilot, Seen, TryPeak
from utils.planning.search import Outcome, search
from utils.planning.search import Path as Steps
from utils.search.budgeted_plan import MOST_FOR_PEAKS, PEAK_SHARE, PILOT_SHARE

RATES = (1.0, 0.1, 0.01)  # levels of the released lattice
PEAKS = (0.5, 1.0, 2.0, 4.0, 8.0)  # search.peaks
READOUT = 1e-3  # of the budget: what one costs
READING_SD = 0.02  # of a held-out loss, of 500 videos that are the same in all runs
SCORING_NOISE = 0.8  # points of a raw score, from epoch to epoch
STEPS, COOLING = 256, 16  # of the integration of a whole budget, and of a cool-down


@dataclass(frozen=True)
class Problem:
    """A task and a user.

    Attributes:
        costs: Seconds of an epoch on every input; the goal's is 1.
        parts, powers, scales: Of each component: size, power, and epochs at the best rate.
        height, floor: Loss before training, less the floor; the loss that no training removes.
        noise: Loss per rate (1: the best) while the rate is not annealed.
        adaptation: Loss right after a change of input; it fades within a quarter of an epoch.
        best: The best rate, as a factor of the written one.
        limit: Training diverges above this factor of the best rate.
        seed: For the noise of what is measured.
        horizon: The power of a run's length that its best rate falls with; `best` is that of the whole budget.
    """

    costs: tuple[float, ...]
    parts: tuple[float, ...]
    powers: tuple[float, ...]
    scales: tuple[float, ...]
    height: float
    floor: float
    noise: float
    adaptation: float
    best: float
    limit: float
    seed: int
    horizon: float

    def worth(self, loss: float) -> float:
        """Return the score of a loss, points."""
        return 100 * math.exp(-loss / 2) if math.isfinite(loss) else 0.0


def draw_problem(seed: int, epochs: float) -> Problem:
    """Draw a problem for budgets around `epochs` epochs of the goal."""
    rng = random.Random(seed)
    shortest = rng.uniform(0.06, 0.6)
    cuts = sorted((rng.random(), rng.random()))
    return Problem(
        costs=(shortest, rng.uniform(max(shortest, 0.3), 0.9), 1.0),
        parts=(cuts[0], cuts[1] - cuts[0], 1 - cuts[1]),
        powers=tuple(rng.uniform(0.3, 1.2) for _ in range(3)),
        scales=tuple(epochs * 10 ** rng.uniform(-2, -0.3) for _ in range(3)),
        height=rng.uniform(1.5, 4.0),
        floor=rng.uniform(0.0, 0.5),
        noise=rng.uniform(0.1, 0.6),
        adaptation=rng.uniform(0.0, 0.4),
        best=4 ** rng.uniform(-1, 1),
        limit=2 ** rng.uniform(1, 2),
        seed=seed,
        horizon=rng.uniform(0.15, 0.45),
    )


@dataclass(frozen=True)
class Weights:
    """Where a network stands: rate-weighted epochs that each component was taught, the rate's noise, what fades.

    Attributes:
        taught: Of every component.
        rate: Average rate of the last steps, as a factor of the best rate.
        input: The input trained last; -1: none.
        fading: Loss of adaptation that is left.
        diverged: Whether it is lost.
    """

    taught: tuple[float, ...] = (0.0, 0.0, 0.0)
    rate: float = 0.0
    input: int = -1
    fading: float = 0.0
    diverged: bool = False

    def loss(self, problem: Problem) -> float:
        """Return the loss at the goal's clip."""
        if self.diverged:
            return math.inf
        left = (
            part * (1 + taught / scale) ** -power
            for part, taught, scale, power in zip(
                problem.parts, self.taught, problem.scales, problem.powers, strict=True
            )
        )
        return problem.floor + problem.height * sum(left) + problem.noise * self.rate + self.fading

    def trained(self, problem: Problem, number: int, *, epochs: float, rate: float) -> "Weights":
        """Return the weights after some epochs on an input at a rate, a factor of the written one.

        Progress is in proportion to the rate below the best and falls beyond it: at half the best rate 0.62 of the
        best, at twice 0.5.
        """
        relative = rate / problem.best
        if self.diverged or relative > problem.limit:
            return replace(self, diverged=True)
        progress = epochs * 1.25 * relative / (1 + relative**4 / 4)
        taught = tuple(t + progress * (number >= m) for m, t in enumerate(self.taught))
        kept = math.exp(-epochs / 0.05)
        fading = self.fading if number == self.input or self.input < 0 else self.fading + problem.adaptation
        return Weights(taught, kept * self.rate + (1 - kept) * relative, number, fading * math.exp(-epochs / 0.25))


@dataclass
class World:
    """A problem in use: what is trained is counted, what is measured is noisy."""

    problem: Problem
    spent: float = 0.0

    @functools.cached_property
    def rng(self) -> np.random.Generator:
        """Where the noise of what is measured comes from."""
        return np.random.default_rng(self.problem.seed)

    def train(
        self, split: Split, *, compute: float, envelope: Envelope, rates: Sequence[float], until: float = 1.0
    ) -> list[tuple[float, Weights]]:
        """Train the beginning of a path; return (fraction spent, weights) after every step of the integration."""
        steps = max(16, round(STEPS * until))
        ends = np.cumsum(split)
        weights, states = Weights(), []
        for step in range(steps):
            start, end = until * step / steps, until * (step + 1) / steps
            middle = (start + end) / 2
            number = min(int(np.searchsorted(ends, middle, side="right")), len(split) - 1)
            epochs = (end - start) * compute / self.problem.costs[number]
            rate = rates[number] * envelope.factor(middle)
            weights = weights.trained(self.problem, number, epochs=epochs, rate=rate)
            states.append((end, weights))
        self.spent += until * compute
        return states

    def cool_down(self, weights: Weights, *, epochs: float, rate: float) -> Weights:
        """Train on at the goal, the rate falling linearly to zero; return the weights."""
        for step in range(COOLING):
            weights = weights.trained(
                self.problem, 2, epochs=epochs / COOLING, rate=rate * (1 - (step + 0.5) / COOLING)
            )
        self.spent += epochs
        return weights

    def finish(self, split: Split, *, compute: float, envelope: Envelope, rates: Sequence[float]) -> float:
        """Train a path to its end; return its worth."""
        weights = self.train(split, compute=compute, envelope=envelope, rates=rates)[-1][1]
        return self.problem.worth(weights.loss(self.problem))

    def read(self, loss: float, sd: float) -> float:
        """Return a loss as it is measured."""
        return loss + float(self.rng.normal(0, sd)) if math.isfinite(loss) else math.inf


LINEAR = Envelope("linear", warmup=0.05)
Policy = Callable[[World, float], tuple[float, float]]  # world, compute -> worth at equal path, at equal total compute


def plain(split: Split, shape: str = "linear") -> Policy:
    """Return a schedule that is written down: it costs nothing to find."""

    def train(world: World, compute: float) -> tuple[float, float]:
        envelope = Envelope(shape, warmup=0.05)
        value = world.finish(split, compute=compute, envelope=envelope, rates=(1.0, 1.0, 1.0))
        return value, value

    return train


def five_peaks(world: World, compute: float) -> tuple[float, float]:
    """Train the goal in full at five peaks and keep the best; at equal total compute each has a fifth."""

    def best(each: float) -> float:
        return max(
            world.finish((0.0, 0.0, 1.0), compute=each, envelope=LINEAR, rates=(factor,) * 3)
            for factor in (0.25, 0.5, 1.0, 2.0, 4.0)
        )

    return best(compute), best(compute / 5)


def random_path(world: World, compute: float) -> tuple[float, float]:
    """Walk at random through inputs and falling rates of the lattice, constant rates, at the written peak."""
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
    """Train some epochs at a constant rate, in small steps."""
    for _ in range(pieces := max(1, math.ceil(4 * epochs))):
        weights = weights.trained(problem, number, epochs=epochs / pieces, rate=rate)
    return weights


def released(world: World, compute: float) -> tuple[float, float]:
    """Search the extended lattice as the paper does, with the product's own search and knee rule."""
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


def planned(least_goal: float | None) -> Policy:
    """Return the budgeted policy; with `least_goal` 1 it finds the peak only."""

    def train(world: World, compute: float) -> tuple[float, float]:
        overhead = plan_and_train(World(world.problem), compute, least_goal=least_goal)[1]
        whole = plan_and_train(world, compute, least_goal=least_goal)[0]
        return plan_and_train(World(world.problem), compute + overhead, least_goal=least_goal)[0], whole

    return train


def plan_and_train(world: World, compute: float, *, least_goal: float | None) -> tuple[float, float]:
    """Spend a budget as the budgeted policy does; return the worth of the path and what planning has cost."""
    policy = BudgetedPolicy(
        Budget(compute, world.problem.costs, LINEAR),
        PeakRule(PEAKS, tolerance=1.4 * READING_SD),
        peak_compute=compute * PEAK_SHARE,
        most_for_peaks=compute * MOST_FOR_PEAKS,
        pilot_share=PILOT_SHARE,
        least_goal=least_goal,
        readout=compute * READOUT,
    )
    misfit, seen = PEAK_SHARE ** (world.problem.horizon - HORIZON), Seen()
    while True:
        action = policy.next_action(seen)
        if isinstance(action, TryPeak):  # at a rate that is right for its length if the world's power is the planner's
            only = tuple(float(number == action.input) for number in range(3))
            states = world.train(only, compute=action.compute, envelope=LINEAR, rates=(action.factor * misfit,) * 3)
            loss = world.read(_own_loss(world.problem, states[-1][1], action.input), READING_SD)
            peaks = {**seen.peaks, action.input: {**seen.peaks.get(action.input, {}), action.factor: loss}}
            seen = replace(seen, peaks=peaks)
        elif isinstance(action, RunPilot):
            readouts = _run_pilot(world, action, policy.path_budget(seen))
            seen = replace(seen, readouts=(*seen.readouts, *readouts), ended=seen.ended | {action.number})
        else:
            path = policy.path_budget(seen)
            value = world.finish(action.plan.chosen.split, compute=path.compute, envelope=LINEAR, rates=action.factors)
            return value, compute - path.compute


def _run_pilot(world: World, pilot: RunPilot, path: Budget) -> list[Readout]:
    """Train a pilot; return what its branches show."""
    only, rates, readouts = path.only(pilot.input), pilot.factors, []
    states = world.train(only, compute=path.compute, envelope=LINEAR, rates=rates, until=pilot.until)
    for at, weights in (states[round(place * len(states)) - 1] for place in PLACES):
        epochs = COOL_DOWN * at * path.compute / path.costs[-1]
        loss = world.cool_down(weights, epochs=epochs, rate=rates[-1] * LINEAR.factor(at)).loss(world.problem)
        weighted = path.weighted_cool_down(pilot.input, at=at, epochs=epochs)
        readouts.append(Readout(pilot.number, at, weighted, world.read(loss, READING_SD), READING_SD))
    return readouts


def _own_loss(problem: Problem, weights: Weights, number: int) -> float:
    """Return the loss at an input's own clip: of the components that it teaches."""
    if weights.diverged:
        return math.inf
    seen = Weights(tuple(t if number >= m else math.inf for m, t in enumerate(weights.taught)), weights.rate)
    return seen.loss(problem)


POLICIES: dict[str, Policy] = {
    "linear at the goal": plain((0.0, 0.0, 1.0)),
    "cosine at the goal": plain((0.0, 0.0, 1.0), "cosine"),
    "steps at the goal": plain((0.0, 0.0, 1.0), "steps"),
    "a quarter short, linear": plain((0.25, 0.0, 0.75)),
    "random path": random_path,
    "released search": released,
    "five peaks at the goal": five_peaks,
    "peak, all at the goal": planned(1.0),
    "budgeted": planned(None),
}


def describe(name: str, gains: Sequence[float], whole: Sequence[float]) -> str:
    """Return a row: mean with its standard error, tenth percentile and worst, at equal path and equal total compute."""
    cells = [
        f"{np.mean(each):6.2f} +- {np.std(each) / math.sqrt(len(each)):4.2f} | {np.percentile(each, 10):6.2f} | "
        f"{min(each):6.2f}"
        for each in (gains, whole)
    ]
    return f"| {name:24s} | {' | '.join(cells)} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", type=int, default=200, metavar="N", help="how many (default 200)")
    parser.add_argument("--first", type=int, default=3000, metavar="SEED", help="seed of the first (default 3000)")
    parser.add_argument("--epochs", type=float, default=60.0, metavar="N", help="budget, epochs of the goal's input")
    arguments = parser.parse_args()
    results: dict[str, list[tuple[float, float]]] = {name: [] for name in POLICIES}
    for seed in tqdm(range(arguments.first, arguments.first + arguments.problems)):
        problem = draw_problem(seed, arguments.epochs)
        for name, policy in POLICIES.items():
            results[name].append(policy(World(problem), arguments.epochs))
    print(f"{arguments.problems} problems from seed {arguments.first}, {arguments.epochs:g} epochs of the goal's input")
    best = np.array([draw_problem(arguments.first + i, arguments.epochs).best for i in range(arguments.problems)])
    groups = {
        "all": best > 0,
        "written rate 2 to 4 times too low": best > 2,
        "written rate within a factor of 2": (best >= 0.5) & (best <= 2),
        "written rate 2 to 4 times too high": best < 0.5,
    }
    for title, chosen in ((title, chosen) for title, chosen in groups.items() if chosen.any()):
        print(f"\n{title} ({chosen.sum()} problems)")
        print("| policy | equal path: mean | 10% | worst | equal total: mean | 10% | worst |")
        print("|---|---|---|---|---|---|---|")
        base = np.array(results["linear at the goal"])[chosen]
        for name, values in results.items():
            gains = np.array(values)[chosen] - base
            print(describe(name, gains[:, 0].tolist(), gains[:, 1].tolist()))


if __name__ == "__main__":
    main()
