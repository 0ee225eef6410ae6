"""The law: its grid against a scalar formula and a brute-force fit, and known results for degenerate readouts."""

import dataclasses
import itertools
import math
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from utils.planning.law import ALPHAS, CORRELATION, LAW_SD, RUN_SD, TAUS, Posterior, Readout, fit_posterior

TAU_SCALE = 20.0


def law(
    weighted: tuple[float, ...], *, floor: float, height: float, alpha: float, tau: float, parts: tuple[float, ...]
) -> float:
    """The law for one path, as the module docstring writes it."""
    total = 0.0
    for m, part in enumerate(parts):
        total += part * (1 + sum(weighted[m:]) / tau) ** -alpha
    return floor + height * total


TRUTH: dict[str, Any] = {"floor": 0.2, "height": 2.0, "alpha": 0.6, "tau": 0.1 * TAU_SCALE, "parts": (0.5, 0.25, 0.25)}


def readouts_of(loss_of: Callable[[tuple[float, ...], int], float], *, sd: float = 0.0) -> list[Readout]:
    goal = [(0.0, 0.0, 0.15 * k) for k in range(1, 9)]
    short = [(2.0, 0.0, 0.08 * k) for k in range(1, 9)]
    return [
        Readout(pilot, 0.004 * k, weighted, loss_of(weighted, k), sd)
        for pilot, path in enumerate((goal, short))
        for k, weighted in enumerate(path, start=1)
    ]


def test_losses_are_those_of_the_scalar_formula() -> None:
    posterior = fit_posterior(readouts_of(lambda w, k: law(w, **TRUTH)), tau_scale=TAU_SCALE)
    assert posterior is not None
    assert len(posterior.alphas) == len(ALPHAS) * len(TAUS) * 45  # (a_0, a_1, a_2) in eighths: 10 over 2
    paths = np.array([(4.0, 1.0, 2.0), (0.0, 0.0, 5.0)])
    losses = posterior.losses(paths)
    for point in random.Random(0).sample(range(len(posterior.alphas)), 40):
        for column, path in enumerate(paths):
            expected = law(
                tuple(path),
                floor=posterior.floors[point],
                height=posterior.heights[point],
                alpha=posterior.alphas[point],
                tau=posterior.taus[point],
                parts=tuple(posterior.components[point]),
            )
            assert losses[point, column] == pytest.approx(expected, rel=1e-12)


def test_fits_are_the_bounded_optimum_of_a_brute_force() -> None:
    """Floors and heights of grid points are compared with a fine grid of both, zero bounds included."""
    rng = random.Random(1)
    readouts = readouts_of(lambda w, k: max(0.0, law(w, **TRUTH) - 0.9 + rng.gauss(0, 0.05)), sd=0.02)
    posterior = fit_posterior(readouts, tau_scale=TAU_SCALE)
    assert posterior is not None
    losses = np.array([readout.loss for readout in readouts])
    weights = np.array([1 / (readout.sd**2 + RUN_SD**2 + LAW_SD**2) for readout in readouts])
    grid = np.array(list(itertools.product(np.linspace(0, 2, 201), np.linspace(0, 4, 401))))
    for point in rng.sample(range(len(posterior.alphas)), 25):
        shape = {"alpha": posterior.alphas[point], "tau": posterior.taus[point]}
        parts = tuple(posterior.components[point])
        basis = np.array([law(r.weighted, floor=0.0, height=1.0, parts=parts, **shape) for r in readouts])
        errors = ((losses - grid[:, :1] - grid[:, 1:] * basis) ** 2 * weights).sum(axis=1)
        mine = ((losses - posterior.floors[point] - posterior.heights[point] * basis) ** 2 * weights).sum()
        assert mine <= errors.min() + 1e-9
        assert posterior.floors[point] >= 0
        assert posterior.heights[point] >= 0
    assert (posterior.floors == 0).any()  # the bound was active somewhere


def test_weights_are_the_tempered_likelihood_and_sum_to_one() -> None:
    readouts = readouts_of(lambda w, k: law(w, **TRUTH) + (0.03 if k % 2 else -0.03), sd=0.01)
    posterior = fit_posterior(readouts, tau_scale=TAU_SCALE)
    assert posterior is not None
    weighted = np.array([readout.weighted for readout in readouts])
    residuals = np.array([readout.loss for readout in readouts])[None] - posterior.losses(weighted)
    chi2 = (residuals**2).sum(axis=1) / (0.01**2 + RUN_SD**2 + LAW_SD**2)
    by_hand = np.exp(-CORRELATION * (chi2 - chi2.min()) / 2)
    assert np.exp(posterior.log_weights) == pytest.approx(by_hand / by_hand.sum(), rel=1e-9)
    mean, sd = posterior.moments(posterior.losses(np.array([(0.0, 0.0, 1.0)])))
    assert sd[0] > 0
    assert mean[0] == pytest.approx(law((0.0, 0.0, 1.0), **TRUTH), abs=0.05)


def test_a_prior_narrows_what_few_readouts_leave_open() -> None:
    rich = fit_posterior(readouts_of(lambda w, k: law(w, **TRUTH)), tau_scale=TAU_SCALE)
    poor = readouts_of(lambda w, k: law(w, **TRUTH))[:2]
    assert rich is not None
    far = np.array([(0.0, 0.0, 10.0)])
    alone = fit_posterior(poor, tau_scale=TAU_SCALE)
    helped = fit_posterior(poor, tau_scale=TAU_SCALE, prior=rich.tempered(0.3))
    assert alone is not None
    assert helped is not None
    assert helped.moments(helped.losses(far))[1] < alone.moments(alone.losses(far))[1]
    forgotten = fit_posterior(poor, tau_scale=TAU_SCALE, prior=rich.tempered(0.0))
    assert forgotten is not None
    assert forgotten.log_weights == pytest.approx(alone.log_weights)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_readouts_that_diverged_are_left_out(bad: float) -> None:
    whole = readouts_of(lambda w, k: law(w, **TRUTH))
    diverged = [dataclasses.replace(each, loss=bad) if each.pilot == 1 else each for each in whole]
    found, of_goal = (fit_posterior(each, tau_scale=TAU_SCALE) for each in (diverged, whole[:8]))
    assert found is not None
    assert of_goal is not None
    assert np.array_equal(found.log_weights, of_goal.log_weights)
    nothing = [dataclasses.replace(each, loss=bad) for each in whole]
    assert fit_posterior(nothing, tau_scale=TAU_SCALE) is None
    assert fit_posterior(whole[:1], tau_scale=TAU_SCALE) is None


@pytest.mark.parametrize("slope", [0.0, 0.01, 0.5])
def test_a_plateau_or_a_rising_loss_has_no_height(slope: float) -> None:
    posterior = fit_posterior(readouts_of(lambda w, k: 1.0 + slope * k), tau_scale=TAU_SCALE)
    assert posterior is not None
    assert posterior.heights == pytest.approx(np.zeros(len(posterior.heights)), abs=1e-9)


def test_all_values_of_a_posterior_are_finite() -> None:
    rng = random.Random(3)
    for _ in range(20):
        posterior = fit_posterior(
            readouts_of(lambda w, k: rng.choice([0.0, 1e-9, 1.0, 50.0]), sd=rng.choice([0.0, 3.0])), tau_scale=TAU_SCALE
        )
        assert isinstance(posterior, Posterior)
        for values in dataclasses.astuple(posterior):
            assert np.isfinite(values).all()
