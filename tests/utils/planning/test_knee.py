"""The knee: the fit against scipy and a fine grid of exact bounded problems; the rule on many kinds of curves."""

import math
import warnings
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
from scipy import optimize

from utils.planning import knee
from utils.planning.knee import CAPPED, HOPELESS, SETTLED, KneeRule, fit_knee

RULE = KneeRule(attempt_epochs=10, max_epochs=40)
STARTS = [(50, 0.2, 0, 0.01, 60), (10, 0.02, -1, 0.01, 40), (80, 1.0, 0.1, 0.001, 80), (5, 3.0, 0.0, 0.0, 30)]


def curve(x: Any, a: float, b: float, c: float, d: float, e: float) -> Any:
    return -a * np.exp(-b * x) - c * x - d * x**2 + e


def slopes(x: Any, a: float, b: float, *_others: float) -> np.ndarray:
    """Return the derivatives by a to e; without them scipy would spend most of its time on finite differences."""
    fall = np.exp(-b * x)
    return np.stack([-fall, a * x * fall, -x, -(x**2), np.ones_like(x)], axis=1)


def noisy_curve(rng: np.random.Generator) -> np.ndarray:
    """Return typical scores in percent: a rise, a drift, noise, sometimes overfitting, sometimes a jump."""
    x = np.arange(rng.integers(4, 60), dtype=float)
    e = rng.uniform(5, 95)
    a, b, c = rng.uniform(0, e), 10 ** rng.uniform(-2.5, 0.7), rng.normal(0, 0.2)
    y = curve(x, a, b, c, rng.choice([0, 10 ** rng.uniform(-4, -1)]), e)
    y += rng.normal(0, 10 ** rng.uniform(-2, 0.7), len(x))
    if rng.random() < 0.15:
        y[rng.integers(len(y)) :] -= rng.uniform(0, 30)
    if rng.random() < 0.3:
        y[0] = 0.0
    return np.clip(y, 0, 100)


def scipy_best(y: np.ndarray) -> float | None:
    """Return the sum of squared differences of the best of several bounded scipy fits; None if all of them raise."""
    x, best = np.arange(len(y), dtype=float), None
    lower, upper = (0, 0, -np.inf, 0, 0), np.inf
    for start in STARTS:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", (optimize.OptimizeWarning, RuntimeWarning))
                found, _ = optimize.curve_fit(curve, x, y, p0=start, jac=slopes, bounds=(lower, upper), max_nfev=2000)
        except (RuntimeError, TypeError):
            continue
        residual = float(((curve(x, *found) - y) ** 2).sum())
        best = residual if best is None else min(best, residual)
    return best


def test_no_curve_is_fitted_worse_than_scipy_fits_it() -> None:
    rng = np.random.default_rng(0)
    for case in range(10):
        y = noisy_curve(rng)
        fit, reference = fit_knee(y), scipy_best(y)
        assert min(fit.a, fit.b, fit.d, fit.e) >= 0
        residual = float(((curve(np.arange(len(y)), *fit[2:7]) - y) ** 2).sum())
        assert residual == pytest.approx(fit.residual, rel=1e-6, abs=1e-9)
        assert reference is None or residual <= 1.01 * reference + 1e-9, f"curve {case}: {y.tolist()}"


def test_the_fit_is_the_global_optimum() -> None:
    """The reference is scipy's exact bounded linear least squares for each b of a fine grid."""
    rng = np.random.default_rng(11)
    for _ in range(24):
        y = noisy_curve(rng)
        x = np.arange(len(y), dtype=float)
        grid = np.geomspace(1e-3 / len(y), 60, 300)
        problems = [np.stack([-np.exp(-b * x), -x, -(x**2), np.ones_like(x)], axis=1) for b in grid]
        bounds = ([0, -np.inf, 0, 0], np.inf)
        best = min(2 * optimize.lsq_linear(problem, y, bounds=bounds, method="bvls").cost for problem in problems)
        assert fit_knee(y).residual <= best * (1 + 1e-6) + 1e-9


def test_the_coefficients_of_a_curve_without_noise_are_recovered() -> None:
    x = np.arange(40, dtype=float)
    fit = fit_knee(curve(x, 60, 0.3, 0.05, 0.004, 75))
    assert fit[2:7] == pytest.approx((60, 0.3, 0.05, 0.004, 75), rel=1e-4)
    dense = curve(np.arange(1000.0), 60, 0.3, 0.05, 0.004, 75)
    assert (fit.epoch, fit.value) == (int(dense.argmax()), pytest.approx(dense.max()))
    assert fit.curve([0, 39]) == pytest.approx([15, curve(39.0, 60, 0.3, 0.05, 0.004, 75)])


def test_a_fit_is_found_where_scipy_raises() -> None:
    for y in ([50.0, 50.0], [10.0, 20.0, 15.0]):  # fewer points than coefficients
        x = np.arange(len(y), dtype=float)
        with pytest.raises(TypeError):
            optimize.curve_fit(curve, x, y)
        assert fit_knee(y).residual == pytest.approx(0, abs=1e-9) or len(y) > 2
    hard = [0.0, 3.1, 90.0, 2.0, 88.0, 1.0, 91.0, 0.5, 93.0, 0.1]
    with pytest.raises(RuntimeError):
        optimize.curve_fit(
            curve, np.arange(10.0), hard, p0=STARTS[2], max_nfev=3, bounds=((0, 0, -np.inf, 0, 0), np.inf)
        )
    assert math.isfinite(fit_knee(hard).value)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4])
def test_the_knee_does_not_depend_on_the_unit_of_scores(scale: float) -> None:
    y = noisy_curve(np.random.default_rng(5))
    fit, scaled = fit_knee(y), fit_knee(y * scale)
    assert scaled.epoch == fit.epoch
    assert scaled.value == pytest.approx(fit.value * scale, rel=1e-6)


def test_long_and_steep_and_constant_curves_are_fitted() -> None:
    assert fit_knee([0.0] + [80.0] * 999).epoch in (1, 2)
    assert fit_knee([0.0] * 30)[:2] == (0, 0.0)
    assert fit_knee([7.0])[:2] == (0, 7.0)
    rising = fit_knee(list(range(30)))
    assert (rising.epoch, rising.value) == (999, pytest.approx(999))
    assert fit_knee(list(range(30)), horizon=100).epoch == 100


@pytest.mark.parametrize("scores", [[], [1.0, math.nan], [math.inf], [[1.0, 2.0]]])
def test_invalid_scores_are_refused(scores: list) -> None:
    with pytest.raises(ValueError, match="finite scores"):
        fit_knee(scores)


def judge(scores: list[float]) -> tuple[int, str, int, float]:
    """Judge scores one by one, as a search does; return (epochs trained, kind, knee, value)."""
    for count in range(1, len(scores) + 1):
        verdict = RULE.judge(scores[:count])
        if verdict is not None:
            return count - 1, verdict.kind, verdict.epoch, verdict.value
    raise AssertionError("never decided")


def test_a_curve_that_levels_off_is_settled_once_the_attempt_epochs_have_passed() -> None:
    x = np.arange(60, dtype=float)
    epochs, kind, knee, value = judge(curve(x, 60, 0.5, 0, 0.01, 70).tolist())
    assert (kind, epochs) == (SETTLED, knee + RULE.attempt_epochs)
    assert value == pytest.approx(curve(np.arange(1000.0), 60, 0.5, 0, 0.01, 70).max(), abs=1e-3)


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([40.0] * 60, (10, HOPELESS, 0, 40.0)),  # flat
        ([40.0 - n for n in range(60)], (10, HOPELESS, 0, 40.0)),  # falling
        ([1.0 * n for n in range(60)], (40, CAPPED, 40, 40.0)),  # rising to the end
        ([0.0, 5.0, math.nan], (2, CAPPED, 1, 5.0)),  # diverged while rising
        ([5.0, 5.0, math.inf], (2, HOPELESS, 0, 5.0)),  # diverged while flat
        ([5.0, math.nan], (1, HOPELESS, 0, 5.0)),  # diverged at once
        ([math.nan], (0, HOPELESS, 0, -math.inf)),  # diverged before the first score
    ],
    ids=["flat", "falling", "rising", "diverged", "flat-diverged", "diverged-at-once", "never-scored"],
)
def test_edge_cases_have_the_documented_verdicts(scores: list[float], expected: tuple) -> None:
    epochs, kind, knee, value = judge(scores)
    assert (epochs, kind, knee) == expected[:3]
    assert value == pytest.approx(expected[3], abs=1e-6)


def test_few_points_go_on() -> None:
    for count in range(1, RULE.attempt_epochs + 1):
        assert RULE.judge([5.0] * count) is None
        assert RULE.epochs_left([5.0] * count) == (RULE.attempt_epochs - count + 1, RULE.max_epochs - count + 1)


def test_two_points_are_decided_at_the_cap() -> None:
    rule = KneeRule(attempt_epochs=1, max_epochs=1)
    verdicts = [rule.judge(pair) for pair in ([3.0, 5.0], [5.0, 3.0], [3.0, 3.0])]
    assert [verdict and verdict.kind for verdict in verdicts] == [CAPPED, HOPELESS, HOPELESS]


def test_no_knee_lies_beyond_the_trained_epochs() -> None:
    rng = np.random.default_rng(3)
    kinds = set()
    for number in range(8):
        scores = np.resize(noisy_curve(rng)[:: 1 if number % 2 else -1], 61).tolist()
        epochs, kind, knee, value = judge(scores)
        kinds.add(kind)
        assert 0 <= knee <= epochs <= RULE.max_epochs
        assert (kind == HOPELESS) == (knee == 0)
        assert kind != SETTLED or epochs >= knee + RULE.attempt_epochs
        assert kind != CAPPED or epochs == RULE.max_epochs
        assert math.isfinite(value)
    assert kinds == {SETTLED, CAPPED, HOPELESS}


def test_the_horizon_bounds_the_knee_of_a_capped_curve() -> None:
    rule = KneeRule(attempt_epochs=3, max_epochs=10, horizon=4)
    verdict = rule.judge([1.0 * n for n in range(8)])
    assert verdict is not None
    assert (verdict.kind, verdict.epoch) == (SETTLED, 4)


def test_a_curve_is_fitted_once_however_often_it_is_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    solve = Mock(wraps=knee._solve)
    monkeypatch.setattr(knee, "_solve", solve)
    scores = [1.0, 31.5, 42.25, 44.0625]
    for rule in (KneeRule(1, 3), KneeRule(1, 3), KneeRule(2, 9, horizon=2)):
        rule.judge(scores)
        fit_knee(np.asarray(scores))
    assert solve.call_count == 1 + knee._ZOOMS
