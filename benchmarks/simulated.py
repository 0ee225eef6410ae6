"""Simulated problems for `benchmarks/planning.py`: tasks that are learned in closed forms, and what training shows.

A problem is a task of three components, each taught by every input at least as long as it, with its own size, power and
time scale (the planner's law has one power and one scale for all, so it is never exactly true), a loss by noise that is
proportional to the rate at the end, a cost of adaptation after a change of input, a rate above which training diverges,
a best rate that falls with the length of a run to a power of 0.15 to 0.45, and a user whose rate is wrong by a factor
of up to 4 either way. No torch.
"""

import functools
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from utils.planning.budget import Split
from utils.planning.envelope import Envelope

STEPS, COOLING = 256, 16  # of the integration of a whole budget, and of a cool-down
RATE_FADES, CHANGE_FADES = 0.05, 0.25  # epochs in which the noise of a rate, and a change of input, are forgotten


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
        kept = math.exp(-epochs / RATE_FADES)
        fading = self.fading if number == self.input or self.input < 0 else self.fading + problem.adaptation
        rate = kept * self.rate + (1 - kept) * relative
        return Weights(taught, rate, number, fading * math.exp(-epochs / CHANGE_FADES))


@functools.cache
def envelope_factors(envelope: Envelope, until: float, steps: int) -> NDArray[np.float64]:
    """Return the envelope's factor in the middle of every step of the beginning of a path, [steps]."""
    return np.array([envelope.factor(until * (step + 0.5) / steps) for step in range(steps)])


@dataclass(frozen=True)
class World:
    """A problem in use: what is measured is noisy."""

    problem: Problem

    @functools.cached_property
    def rng(self) -> np.random.Generator:
        """Where the noise of what is measured comes from."""
        return np.random.default_rng(self.problem.seed)

    def train(
        self,
        split: Split,
        *,
        compute: float,
        envelope: Envelope,
        rates: Sequence[float],
        until: float = 1.0,
        places: Sequence[float] = (1.0,),
    ) -> list[Weights]:
        """Train the beginning of a path; return the weights at places of it, fractions, as `Weights.trained` has them.

        All steps of the integration at once: what a step adds to a sum that fades is added as it is at the place.
        """
        problem, steps = self.problem, max(16, round(STEPS * until))
        middles = until * (np.arange(steps) + 0.5) / steps
        numbers = np.minimum(np.searchsorted(np.cumsum(split), middles, side="right"), len(split) - 1)  # [steps]
        epochs = until / steps * compute / np.array(problem.costs)[numbers]
        relative = np.array(rates)[numbers] * envelope_factors(envelope, until, steps) / problem.best
        progress = epochs * 1.25 * relative / (1 + relative**4 / 4)
        rises = (1 - np.exp(-epochs / RATE_FADES)) * relative
        changes = np.diff(numbers, prepend=numbers[:1]) != 0
        found = []
        for count in (round(place * steps) for place in places):
            if (relative[:count] > problem.limit).any():
                found.append(Weights(diverged=True))
                continue
            left = epochs[:count][::-1].cumsum()[::-1]  # from before every step on: [count]
            rate = (rises[:count] * np.exp(-(left - epochs[:count]) / RATE_FADES)).sum()
            fading = problem.adaptation * np.exp(-left[changes[:count]] / CHANGE_FADES).sum()
            taught = tuple(float(progress[:count][numbers[:count] >= m].sum()) for m in range(len(split)))
            found.append(Weights(taught, float(rate), int(numbers[count - 1]), float(fading)))
        return found

    def cool_down(self, weights: Weights, *, epochs: float, rate: float) -> Weights:
        """Train on at the goal, the rate falling linearly to zero; return the weights."""
        for step in range(COOLING):
            weights = weights.trained(
                self.problem, 2, epochs=epochs / COOLING, rate=rate * (1 - (step + 0.5) / COOLING)
            )
        return weights

    def finish(self, split: Split, *, compute: float, envelope: Envelope, rates: Sequence[float]) -> float:
        """Train a path to its end; return its worth."""
        (weights,) = self.train(split, compute=compute, envelope=envelope, rates=rates)
        return self.problem.worth(weights.loss(self.problem))

    def read(self, loss: float, sd: float) -> float:
        """Return a loss as it is measured."""
        return loss + float(self.rng.normal(0, sd)) if math.isfinite(loss) else math.inf
