"""Simulated problems for `benchmarks/planning.py`: closed-form learning curves with noisy measurements.

A problem is a task of three components, each taught by every input at least as long as it, with its own size, power and
time scale (the planner's law has one power and one scale for all, so it is never exactly true); a loss from gradient
noise that is proportional to the final rate; a cost of adaptation after a change of input; a rate above which training
diverges; a best rate that falls with the length of a run to a power of 0.15 to 0.45; and a user whose rate is wrong by
a factor of up to 4 either way. No torch.
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

STEPS, COOLING = 256, 16  # integration steps of a whole budget, and of a cool-down
RATE_FADES, CHANGE_FADES = 0.05, 0.25  # time constants, epochs: of a rate's noise, and of a change of input


@dataclass(frozen=True)
class Problem:
    """A task and a user.

    Attributes:
        costs: Cost of an epoch on every input, relative to the goal's.
        parts, powers, scales: Size, power, and time scale (epochs at the best rate) of each component.
        height, floor: Loss before training minus the floor; loss that no training removes.
        noise: Loss per unit of the rate (1: the best rate) that annealing removes.
        adaptation: Loss right after a change of input; it decays with a time constant of a quarter of an epoch.
        best: Best rate for the whole budget, as a factor of the configured one.
        limit: Factor of the best rate above which training diverges.
        seed: Seed of the noise of measurements.
        horizon: The best rate of a run is proportional to its length to the power of -horizon.
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
        """Return the score of a loss, points in [0, 100]."""
        return 100 * math.exp(-loss / 2) if math.isfinite(loss) else 0.0


def draw_problem(seed: int, epochs: float) -> Problem:
    """Draw a random problem for budgets of about `epochs` epochs of the goal."""
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
    """State of a training.

    Attributes:
        taught: Rate-weighted epochs of each component.
        rate: Average rate of the last steps, as a factor of the best rate.
        input: Index of the input trained last; -1: none.
        fading: Remaining loss of adaptation.
        diverged: Whether training has diverged.
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
        """Return the weights after some epochs on input `number` at a rate, a factor of the configured one.

        Progress is proportional to the rate well below the best one and falls above it: 0.62 of the best at half the
        best rate, 0.5 at twice.
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
    """Return the envelope's factor at the midpoint of every step from 0 to `until` of a path, [steps]."""
    return np.array([envelope.factor(until * (step + 0.5) / steps) for step in range(steps)])


@dataclass(frozen=True)
class World:
    """A problem with noisy measurements."""

    problem: Problem

    @functools.cached_property
    def rng(self) -> np.random.Generator:
        """The generator of the measurements' noise."""
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
        """Train the beginning of a path, up to the fraction `until`; return the weights at fractions `places` of it.

        Equals repeated `Weights.trained`, vectorized over the steps of the integration: each step's contribution to a
        decaying sum is discounted to the place.
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
        """Continue at the goal with a rate falling linearly to zero; return the weights."""
        for step in range(COOLING):
            weights = weights.trained(
                self.problem, 2, epochs=epochs / COOLING, rate=rate * (1 - (step + 0.5) / COOLING)
            )
        return weights

    def finish(self, split: Split, *, compute: float, envelope: Envelope, rates: Sequence[float]) -> float:
        """Train a path to its end; return its score."""
        (weights,) = self.train(split, compute=compute, envelope=envelope, rates=rates)
        return self.problem.worth(weights.loss(self.problem))

    def read(self, loss: float, sd: float) -> float:
        """Return a noisy measurement of a loss, with standard deviation `sd`."""
        return loss + float(self.rng.normal(0, sd)) if math.isfinite(loss) else math.inf
