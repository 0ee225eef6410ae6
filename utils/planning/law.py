"""Predict the held-out loss of any split of any budget from the pilots: a parametric law with a posterior on a grid.

With w_i the rate-weighted epochs on input i (the integral of the envelope over them), inputs from short to long,

    L(w) = L_inf + A * sum_m a_m (1 + T_m / tau)^-alpha,    T_m = sum_{i >= m} w_i,    a_m >= 0, sum a_m = 1.

Component m of the task is learned from every input at least as long as m; only the goal, the last input, teaches the
last one. T is the sum of rates in the laws of annealed training (Tissue et al., 2024: "Scaling law with learning rate
annealing"); their second term is absent because paths, and the branches that read a pilot, end at rate zero.

For a point (alpha, tau, a) of the grid the best L_inf >= 0 and A >= 0 solve a weighted least-squares problem in closed
form, so no start value is needed and no solver can fail, as with `utils.planning.knee.fit_knee`.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

_Floats = NDArray[np.float64]

ALPHAS = (0.15, 0.25, 0.4, 0.6, 0.9, 1.3)
TAUS = (0.01, 0.03, 0.1, 0.3, 1.0)  # fractions of the rate-weighted epochs of the whole budget
COMPONENT_STEPS = 8  # the components a_m are multiples of 1/8
# Standard deviations of a readout beside its own: between runs, and of the law itself.
RUN_SD, LAW_SD = 0.006, 0.02
# Readouts of one pilot are correlated: chi^2 is scaled by this factor.
CORRELATION = 0.35


@dataclass(frozen=True)
class Readout:
    """A measurement of a pilot at one point of its training.

    Attributes:
        pilot: Number of the pilot.
        at: Fraction of the budget that it has spent.
        weighted: Rate-weighted epochs so far on each input, short to long, those of the cool-down included.
        loss: Mean held-out cross-entropy on the goal's clip after a cool-down; not finite: diverged.
        sd: Standard error of that mean over the videos drawn.
    """

    pilot: int
    at: float
    weighted: tuple[float, ...]
    loss: float
    sd: float


@dataclass(frozen=True)
class Posterior:
    """A weighted grid of parameters of the law.

    Attributes:
        alphas: Exponents alpha, [points].
        taus: Scales tau in rate-weighted epochs, [points].
        components: Components a_m, [points, inputs].
        floors: L_inf, [points].
        heights: A, [points].
        log_weights: Logarithms of the points' weights, which sum to 1, [points].
    """

    alphas: _Floats
    taus: _Floats
    components: _Floats
    floors: _Floats
    heights: _Floats
    log_weights: _Floats

    def losses(self, weighted: _Floats) -> _Floats:
        """Return the loss that each point of the grid predicts for each path.

        Args:
            weighted: Rate-weighted epochs, [paths, inputs].

        Returns:
            Losses, [points, paths].
        """
        return self.floors[:, None] + self.heights[:, None] * _basis(
            weighted, alphas=self.alphas, taus=self.taus, components=self.components
        )

    def moments(self, values: _Floats) -> tuple[_Floats, _Floats]:
        """Return the posterior mean and standard deviation of values [points, paths], each [paths]."""
        weights = np.exp(self.log_weights)[:, None]
        mean = (weights * values).sum(axis=0)
        return mean, np.sqrt(np.maximum(0.0, (weights * (values - mean) ** 2).sum(axis=0)))

    def tempered(self, power: float) -> "Posterior":
        """Return the posterior with its weights raised to a power, 0 (uniform) to 1, as a prior for another run."""
        return replace(self, log_weights=_normalize(power * self.log_weights))


def fit_posterior(readouts: Sequence[Readout], *, tau_scale: float, prior: Posterior | None = None) -> Posterior | None:
    """Weight each point of the grid by how well it explains the readouts.

    Args:
        readouts: Readouts of all pilots; a pilot that diverged has them up to that point.
        tau_scale: Rate-weighted epochs of the whole budget on its cheapest input, which `TAUS` are fractions of.
        prior: Posterior of an earlier search with the same number of inputs; its floors and heights are fitted again.

    Returns:
        The posterior, or None for fewer than two finite readouts.
    """
    finite = [readout for readout in readouts if math.isfinite(readout.loss)]
    if len(finite) < 2:
        return None
    weighted = np.array([readout.weighted for readout in finite], dtype=np.float64)
    losses = np.array([readout.loss for readout in finite], dtype=np.float64)
    precision = 1 / (np.array([readout.sd for readout in finite]) ** 2 + RUN_SD**2 + LAW_SD**2)
    if prior is None:
        alphas, taus, components = _grid(weighted.shape[1], tau_scale)
        before = np.zeros(len(alphas))
    else:
        alphas, taus, components, before = prior.alphas, prior.taus, prior.components, prior.log_weights
    basis = _basis(weighted, alphas=alphas, taus=taus, components=components)
    floors, heights, chi2 = _fit_lines(basis, losses, precision)
    log_weights = _normalize(before - CORRELATION * chi2 / 2)
    return Posterior(alphas, taus, components, floors, heights, log_weights)


def _grid(num_inputs: int, tau_scale: float) -> tuple[_Floats, _Floats, _Floats]:
    """Return alphas [points], taus [points] and components [points, inputs] of the full grid."""
    simplex = [
        np.diff([-1, *bars, COMPONENT_STEPS + num_inputs - 1]) - 1  # stars and bars
        for bars in itertools.combinations(range(COMPONENT_STEPS + num_inputs - 1), num_inputs - 1)
    ]
    points = list(itertools.product(ALPHAS, TAUS, simplex))
    alphas = np.array([alpha for alpha, _, _ in points])
    taus = np.array([tau * tau_scale for _, tau, _ in points])
    return alphas, taus, np.array([components for *_, components in points]) / COMPONENT_STEPS


def _basis(weighted: _Floats, *, alphas: _Floats, taus: _Floats, components: _Floats) -> _Floats:
    """Return sum_m a_m (1 + T_m / tau)^-alpha, [points, paths]."""
    taught = np.cumsum(weighted[:, ::-1], axis=1)[:, ::-1]  # T: [paths, inputs]
    left = (1 + taught[None] / taus[:, None, None]) ** -alphas[:, None, None]  # [points, paths, inputs]
    return np.asarray(np.einsum("kpi,ki->kp", left, components))


def _fit_lines(basis: _Floats, losses: _Floats, precision: _Floats) -> tuple[_Floats, _Floats, _Floats]:
    """Return the floor >= 0, height >= 0 and chi^2 of the weighted least-squares line of each row of the basis."""
    total = precision.sum()
    mean_x, mean_y = basis @ precision / total, float(losses @ precision / total)
    centered = basis - mean_x[:, None]
    variance = centered**2 @ precision
    slope = centered @ (precision * losses) / np.where(variance > 1e-12, variance, np.inf)
    heights = np.maximum(0.0, slope)  # a rising loss is fitted by the floor alone
    floors = mean_y - heights * mean_x
    # A negative floor is clamped to zero; the line then passes through the origin.
    through_origin = np.maximum(0.0, basis @ (precision * losses) / (basis**2 @ precision))
    heights = np.where(floors < 0, through_origin, heights)
    floors = np.maximum(0.0, floors)
    residuals = losses - (floors[:, None] + heights[:, None] * basis)
    return floors, heights, residuals**2 @ precision


def _normalize(log_weights: _Floats) -> _Floats:
    shifted = log_weights - log_weights.max()
    return np.asarray(shifted - math.log(np.exp(shifted).sum()))
