"""The report of a budgeted search: search.json, from which its page is drawn. No torch."""

import math
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from utils.config import RunConfig
from utils.planning.budget import Budget, Split, SplitWorth, marginal_worth
from utils.planning.law import Posterior
from utils.planning.policy import COOL_DOWN, BudgetedPolicy
from utils.planning.studied import paired_difference
from utils.search.budgeted_events import BudgetedHistory, PeakScore, PilotReadout, Planned
from utils.search.events import FinalScore
from utils.search.result import path_record_name

FORMAT = 1
BEST_SPLITS = 10  # number of splits of the table that are reported
OTHER_BUDGETS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)  # the Pareto set, fractions of the path's budget


@dataclass(frozen=True)
class Spent:
    """Compute spent, in the unit of the budget.

    Attributes:
        peaks: Peak runs.
        readouts: Scoring of all runs.
        lost: Pilots that the path does not continue; branches included for pilots before the last restart.
        branches: Branches since the last restart.
        checks: Runs of the check.
        path: The path of the plan.
        earlier: Paths of smaller budgets, which come on top of the budget.
    """

    peaks: float
    readouts: float
    lost: float
    branches: float
    checks: float
    path: float
    earlier: float


@dataclass(frozen=True)
class CheckComparison:
    """A run of the check compared with the run of "all at the goal" on the same compute.

    Attributes:
        split, share, loss, sd, top1: As in `CheckScore`.
        less: Mean difference of its losses to those of all at the goal, paired by video; NaN if there is none.
        less_sd: Standard deviation of that mean.
    """

    split: tuple[float, ...]
    share: float
    loss: float
    sd: float
    top1: float
    less: float
    less_sd: float


@dataclass(frozen=True)
class BudgetedReport:
    """The content of a budgeted search's search.json, field by field.

    Attributes:
        format: Version of the file format.
        record: Name of the search record.
        complete: Whether the plan is trained.
        budget: Compute of the whole budget: frames x pixels, or seconds.
        costs: Cost of an epoch on each input, as a fraction of the goal's.
        peaks: Results of the peak runs; their factors are converted to this budget.
        readouts: Readouts of the pilots.
        checks: Results of the check.
        plan: The best path so far.
        is_planned: Whether `plan` is the plan; until then it is all at the goal.
        splits: The best splits with their expected gains.
        pareto: The best split of other budgets: fraction of this one, the split, expected held-out loss.
        marginal: Marginal worth of each input along the path, points per budget.
        spent: Compute spent, by purpose.
        path_record: File name of the path's record.
        test: Score of the plan's weights on the evaluation list.
        config: The search record.
    """

    format: int
    record: str
    complete: bool
    budget: float
    costs: tuple[float, ...]
    peaks: tuple[PeakScore, ...]
    readouts: tuple[PilotReadout, ...]
    checks: tuple[CheckComparison, ...]
    plan: Planned
    is_planned: bool
    splits: tuple[SplitWorth, ...]
    pareto: tuple[tuple[float, Split, float], ...]
    marginal: tuple[tuple[float, ...], ...]
    spent: Spent
    path_record: str
    test: FinalScore | None
    config: RunConfig

    def to_json(self) -> dict[str, Any]:
        """Return the content of search.json."""
        return asdict(replace(self, config=None)) | {"config": self.config.to_dict()}  # type: ignore[arg-type]


def build_report(
    config: RunConfig, history: BudgetedHistory, *, policy: BudgetedPolicy, planned: Planned
) -> BudgetedReport:
    """Return the report of a budgeted search; `planned` is the best path so far."""
    path = replace(policy.budget, compute=planned.compute)
    posterior = policy.posterior(history.observations()) if history.plan else None
    splits = policy.choose(posterior, path).table
    return BudgetedReport(
        format=FORMAT,
        record=config.name,
        complete=history.has_ended,
        budget=policy.budget.compute,
        costs=tuple(cost / path.costs[-1] for cost in path.costs),
        peaks=tuple(replace(peak, factor=peak.factor * policy.scale) for peak in history.peaks()),
        readouts=tuple(history.readouts()),
        checks=_compare(history, path.goal_only),
        plan=planned,
        is_planned=history.plan is not None,
        splits=splits[:BEST_SPLITS],
        pareto=_pareto(posterior, path, policy=policy) if posterior else (),
        marginal=tuple(map(tuple, marginal_worth(posterior, path, planned.split).tolist())) if posterior else (),
        spent=_add_up(history, policy=policy, planned=planned),
        path_record=f"{path_record_name(config)}.yml",
        test=history.test,
        config=config,
    )


def _add_up(history: BudgetedHistory, *, policy: BudgetedPolicy, planned: Planned) -> Spent:
    """Return the compute spent; pilots before the last restart count as lost together with their branches."""
    seen, own, path = history.observations(), history.own_readouts(), planned.compute
    lost = seen.ended - seen.carried_over - {policy.pilot_of(planned.split)} if history.plan else ()
    return Spent(
        peaks=sum(peak.compute for peak in history.peaks()),
        readouts=policy.readout * (len([*history.peaks(), *own, *history.checks()]) + seen.lost_readouts),
        lost=seen.lost + len(lost) * policy.pilot_fraction * path,
        branches=sum(COOL_DOWN * readout.at for readout in own) * path,
        checks=sum(check.share for check in history.checks()) * path,
        path=path,
        earlier=sum(given.path for given in history.budgets),
    )


def _compare(history: BudgetedHistory, goal_only: Split) -> tuple[CheckComparison, ...]:
    """Return the runs of the check, each compared with that of all at the goal."""
    checks, found = history.observations().checks, []
    at_goal = {check.fraction: check for check in checks if check.split == goal_only}
    for check, event in zip(checks, history.checks(), strict=True):
        other = at_goal.get(check.fraction, check)
        less = paired_difference(check, other) if other is not check else (math.nan, math.nan)
        found.append(CheckComparison(check.split, check.fraction, event.loss, event.sd, event.top1, *less))
    return tuple(found)


def _pareto(posterior: Posterior, path: Budget, *, policy: BudgetedPolicy) -> tuple[tuple[float, Split, float], ...]:
    """Return the best split of other budgets, with its expected loss."""
    found = []
    for factor in OTHER_BUDGETS:
        budget = replace(path, compute=path.compute * factor)
        split = policy.choose(posterior, budget).chosen.split
        (loss,), _ = posterior.moments(posterior.losses(np.array([budget.weighted_epochs(split)])))
        found.append((factor, split, float(loss)))
    return tuple(found)
