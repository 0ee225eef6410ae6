"""The knee of an accuracy-epoch curve: where further training at one setting stops helping (paper, section 3.2).

The scores s_0 .. s_n (s_0 before the first epoch) are fitted by

    f(x) = -a exp(-b x) - c x - d x^2 + e,    a, b, d, e >= 0,

a saturating rise plus a slow drift or overfitting. f is concave, so its maximum over the epochs is unique up to flat
stretches; the knee is the first epoch of that maximum.
"""

import functools
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

HORIZON = 999
VERDICTS = SETTLED, CAPPED, HOPELESS = "settled", "capped", "hopeless"

_Floats = NDArray[np.float64]
# Bounds of b x (number of epochs): below, the exponential is a parabola to 1e-9; above, it saturates within an epoch.
_FLATTEST, _STEEPEST = 1e-2, 50.0
# Number of values of b over that range; then, around each of the best _DIPS local minima, _ZOOMS refinements with _ZOOM
# values between the neighbors of the best, which determine b to a relative 1e-9.
_GRID, _DIPS, _ZOOM, _ZOOMS = 160, 3, 17, 10
# Columns of the linear problem in (a, c, d, e) whose coefficients must not be negative.
_BOUNDED = (0, 2, 3)
_ACTIVE_SETS = tuple(
    tuple(i for i in range(4) if i not in zeros)
    for count in (3, 2, 1, 0)
    for zeros in itertools.combinations(_BOUNDED, count)
)


class KneeFit(NamedTuple):
    """A fitted curve and its knee.

    Attributes:
        epoch: The knee: first epoch of 0..horizon at which the curve is highest.
        value: Value of the curve at the knee, in the unit of the scores.
        a, b, c, d, e: Coefficients of the curve.
        residual: Sum of squared differences between scores and curve.
    """

    epoch: int
    value: float
    a: float
    b: float
    c: float
    d: float
    e: float
    residual: float

    def curve(self, epochs: ArrayLike) -> _Floats:
        """Return the fitted scores at epochs of any shape."""
        x = np.asarray(epochs, dtype=np.float64)
        return -self.a * np.exp(-self.b * x) - self.c * x - self.d * x**2 + self.e

    def within(self, last: int) -> "KneeFit":
        """Return the same curve with its knee restricted to the epochs 0..last."""
        epoch = _first_maximum(self.curve(np.arange(last + 1)))
        return self._replace(epoch=epoch, value=float(self.curve(epoch)))


def fit_knee(scores: Sequence[float] | _Floats, *, horizon: int = HORIZON) -> KneeFit:
    """Fit the curve to scores after 0, 1, 2, ... epochs and find its knee.

    The fit is the least-squares optimum over all coefficients and needs no start values: for fixed b the curve is
    linear in a, c, d and e, so the bounded problem is solved exactly by enumerating the active bounds, and b is
    searched on a grid that is refined around its best points. A single score fits a constant; among curves that fit
    equally well (two points, three points) the one with fewer terms is chosen.

    Args:
        scores: At least one finite score.
        horizon: Last epoch that may be the knee.

    Raises:
        ValueError: There is no score, or one is not finite.
    """
    y = np.asarray(scores, dtype=np.float64)
    if y.ndim != 1 or len(y) == 0 or not np.isfinite(y).all():
        raise ValueError(f"expected a row of finite scores, found {scores!r}")
    return _fit(tuple(y.tolist())).within(horizon)


@functools.lru_cache(maxsize=512)  # a search and its page request all existing curves again at every epoch
def _fit(scores: tuple[float, ...]) -> KneeFit:
    """Return the fit of validated scores, without its knee."""
    y, x = np.asarray(scores), np.arange(len(scores), dtype=np.float64)
    last = max(1.0, x[-1])
    grid = np.geomspace(_FLATTEST / last, _STEEPEST, _GRID)
    residuals, coefficients = _solve(x, y, grid)
    dips = _best_dips(residuals)
    low, high = grid[np.maximum(dips - 1, 0)], grid[np.minimum(dips + 1, _GRID - 1)]
    of_dip = np.arange(len(dips))
    for _ in range(_ZOOMS):  # all minima at once
        finer = np.geomspace(low, high, _ZOOM, axis=1)
        found, solutions = _solve(x, y, finer.ravel())
        places = np.argmin(found.reshape(finer.shape), axis=1)
        low, high = finer[of_dip, np.maximum(places - 1, 0)], finer[of_dip, np.minimum(places + 1, _ZOOM - 1)]
    chosen = of_dip * _ZOOM + places
    grid, residuals = np.append(grid, finer.ravel()[chosen]), np.append(residuals, found[chosen])
    coefficients = np.vstack([coefficients, solutions[chosen]])
    best = int(np.argmax(residuals <= residuals.min() + 1e-18 * float(y @ y)))
    a, c, d, e = map(float, coefficients[best])
    b = float(grid[best]) if a > 0 else 0.0
    return KneeFit(0, 0.0, a, b, c, d, e, residual=float(residuals[best]))


def _first_maximum(values: _Floats) -> int:
    """Return the first index at which values are highest up to rounding, so that a flat curve has its knee at 0."""
    tolerance = 1e-9 * float(np.abs(values).max())
    return int(np.argmax(values >= values.max() - tolerance))


def _best_dips(residuals: _Floats) -> NDArray[np.int64]:
    """Return the indices of the `_DIPS` local minima with the lowest residuals."""
    padded = np.concatenate([[math.inf], residuals, [math.inf]])
    dips = np.flatnonzero((padded[1:-1] <= padded[:-2]) & (padded[1:-1] <= padded[2:]))
    return dips[np.argsort(residuals[dips], kind="stable")[:_DIPS]]


def _solve(x: _Floats, y: _Floats, grid: _Floats) -> tuple[_Floats, _Floats]:
    """Solve the bounded least-squares problem for each b of a grid.

    Args:
        x: Epochs, [N].
        y: Scores, [N].
        grid: Values of b, [B].

    Returns:
        Sums of squared residuals, [B], and coefficients (a, c, d, e), [B, 4].
    """
    last = max(1.0, float(x[-1]))
    scale = np.array([1.0, 1 / last, 1 / last**2, 1.0])
    columns = np.empty((len(grid), len(x), 4))
    columns[:, :, 0] = -np.exp(-grid[:, None] * x)
    columns[:, :, 1], columns[:, :, 2], columns[:, :, 3] = -x / last, -((x / last) ** 2), 1.0
    # columns = Q R reduces N equations to 4 (fewer for short curves); what lies outside the range of Q stays residual.
    q, r = np.linalg.qr(columns)
    explained = np.einsum("bnk,n->bk", q, y)
    outside = y - np.einsum("bnk,bk->bn", q, explained)
    unexplained = np.einsum("bn,bn->b", outside, outside)
    best = np.full(len(grid), math.inf)
    coefficients = np.zeros((len(grid), 4))
    # Fewer terms first: a larger set replaces a smaller one only if it fits better by more than rounding.
    margin = 1e-20 * float(y @ y)
    for active in _ACTIVE_SETS:
        part = r[:, :, active]
        found = np.einsum("bij,bj->bi", np.linalg.pinv(part, rcond=1e-13), explained)
        bounded = [place for place, column in enumerate(active) if column in _BOUNDED]
        difference = explained - np.einsum("bij,bj->bi", part, found)
        residuals = unexplained + np.einsum("bi,bi->b", difference, difference)
        better = (found[:, bounded] >= 0).all(axis=1) & (residuals < best - margin)
        best[better] = residuals[better]
        rows = np.zeros((len(grid), 4))
        rows[:, active] = found
        coefficients[better] = rows[better]
    return best, coefficients * scale


@dataclass(frozen=True)
class Verdict:
    """How a transition ended.

    Attributes:
        kind: "settled": `attempt_epochs` passed after the knee. "capped": the epochs ran out, or training diverged,
            before that. "hopeless": the knee is at 0, so the start weights are kept.
        epoch: The knee: number of epochs that a path through this transition trains.
        value: The fitted score at the knee.
        fit: The fitted curve.
    """

    kind: str
    epoch: int
    value: float
    fit: KneeFit


@dataclass(frozen=True)
class KneeRule:
    """Decide when to stop training at one setting, and which epoch to keep.

    Edge cases: With fewer than `attempt_epochs` epochs, training continues. A flat or falling curve has its knee at 0
    and is hopeless. A curve that rises to the end is capped at `max_epochs` (its knee is at any horizon, so only the
    cap ends it). A score that is not finite (training diverged) ends the transition at once with the knee of the scores
    before it; if the first score is not finite, the verdict is hopeless with a value of minus infinity.

    Attributes:
        attempt_epochs: T of the paper: number of epochs that must pass without a later knee.
        max_epochs: Largest number of epochs of a transition.
        horizon: Last epoch that may be the knee.
    """

    attempt_epochs: int
    max_epochs: int
    horizon: int = HORIZON

    def judge(self, scores: Sequence[float]) -> Verdict | None:
        """Return the verdict on the scores s_0 .. s_n so far, None to train another epoch."""
        finite = next((i for i, score in enumerate(scores) if not math.isfinite(score)), len(scores))
        if finite == 0:
            return Verdict(HOPELESS, 0, -math.inf, KneeFit(0, -math.inf, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0))
        epochs = finite - 1
        diverged = finite < len(scores)
        over = diverged or epochs >= self.max_epochs
        if not over and epochs < self.attempt_epochs:
            return None
        fit = fit_knee(scores[:finite], horizon=self.horizon)
        if epochs >= fit.epoch + self.attempt_epochs:
            return Verdict(SETTLED if fit.epoch else HOPELESS, fit.epoch, fit.value, fit)
        if not over:
            return None
        fit = fit.within(min(epochs, self.horizon))
        return Verdict(CAPPED if fit.epoch else HOPELESS, fit.epoch, fit.value, fit)

    def epochs_left(self, scores: Sequence[float]) -> tuple[int, int]:
        """Return the minimum and maximum number of further epochs of an undecided transition."""
        done = len(scores) - 1
        return max(self.attempt_epochs - done, 1), self.max_epochs - done
