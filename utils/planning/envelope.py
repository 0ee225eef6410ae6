"""Learning rate envelope over a whole path: the factor of the peak rate at each fraction of the path's compute.

The released schedules use one rate for each state; an envelope spans all states, so that a path ends annealed wherever
its inputs change. "linear" to zero is the baseline (Li, Yumer, Ramanan: "Budgeted Training", ICLR 2020); "wsd" is
warm-up, stable, decay (Hägele et al., 2024).
"""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

SHAPES = ("linear", "cosine", "wsd", "steps", "constant")

WSD_DECAY = 0.4  # fraction of the path over which wsd falls to zero
# steps: where the rate falls, and to which factor; the proportions of the paper's records (128 epochs: 32, 64, 96 of a
# 10th)
STEPS = ((0.5, 0.1), (0.75, 0.01))

# Gauss-Legendre on [0, 1]: exact for polynomials up to degree 15 on each smooth piece, 1e-14 for the cosine.
_NODES, _WEIGHTS = (half / 2 for half in np.polynomial.legendre.leggauss(8))
_NODES = _NODES + 0.5

_FACTORS: dict[str, Callable[[float], float]] = {
    "linear": lambda u: 1 - u,
    "cosine": lambda u: (1 + math.cos(math.pi * u)) / 2,
    "wsd": lambda u: min(1.0, (1 - u) / WSD_DECAY),
    "steps": lambda u: next((factor for start, factor in reversed(STEPS) if u >= start), 1.0),
    "constant": lambda _: 1.0,
}
_BREAKS: dict[str, tuple[float, ...]] = {"wsd": (1 - WSD_DECAY,), "steps": tuple(start for start, _ in STEPS)}


@dataclass(frozen=True)
class Envelope:
    """The learning rate over a path, as a factor of the peak.

    Attributes:
        shape: One of `SHAPES`.
        warmup: Fraction of the path over which the rate rises linearly to the shape's; 0: no warm-up.
        start: Factor of the shape's rate at the first step of the warm-up, 0 to 1.
    """

    shape: str
    warmup: float = 0.0
    start: float = 0.0

    def factor(self, u: float) -> float:
        """Return the factor of the peak rate after a fraction `u` (0 to 1) of the compute is spent."""
        ramp = self.start + (1 - self.start) * u / self.warmup if u < self.warmup else 1.0
        return ramp * _FACTORS[self.shape](u)

    def integral(self, start: float, end: float) -> float:
        """Return the integral of the factor between two fractions of the compute."""
        inside = (cut for cut in (self.warmup, *_BREAKS.get(self.shape, ())) if start < cut < end)
        cuts = [start, *sorted(inside), end]
        return sum(
            (high - low) * float(weight) * self.factor(low + (high - low) * float(node))
            for low, high in itertools.pairwise(cuts)
            for node, weight in zip(_NODES, _WEIGHTS, strict=True)
        )
