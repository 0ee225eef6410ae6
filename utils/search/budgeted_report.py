"""What a budgeted search reports: search.json, from which its page is drawn. No torch."""

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
BEST_SPLITS = 10  # of the table that are kept
OTHER_BUDGETS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)  # the Pareto set, fractions of the path's budget


@dataclass(frozen=True)
class Spent:
    """Compute, in the budget's unit: peaks' runs, scoring, pilots that are lost, branches, the check, and the path.

    What the paths of smaller budgets had trained, `earlier`, comes on top of the budget.
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
    """A run of the check, as `CheckScore` has it, beside that of all at the goal.

    Attributes:
        split, share, loss, sd, top1: Of the run.
        less: Mean of its loss less that of all at the goal, video by video; NaN where there is none.
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
    """Everything that a budgeted search says, field by field as search.json has it.

    Attributes:
        format: Of the file.
        record: The search.
        complete: Whether the plan is trained.
        budget: Compute: frames x pixels, or seconds.
        costs: Cost of an epoch of every input, as a fraction of the goal's.
        peaks: How every rate that was tried ended; its factor is for this budget.
        readouts: What the pilots have shown.
        checks: What the runs of the check have shown.
        plan: The best path that is known.
        is_planned: Whether that is the plan; until then it is all at the goal.
        splits: The best splits with their expected gains.
        pareto: The best split of other budgets: fraction of this one, the split, expected held-out loss.
        marginal: Points per budget that more of every input would gain, along the path.
        spent: What of the budget went where.
        path_record: The file of the path's record.
        test: The weights of the plan on the evaluation list.
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
    """Collect everything a budgeted search says; `planned` is the best path that is known."""
    path = replace(policy.budget, compute=planned.compute)
    posterior = policy.posterior(history.seen()) if history.plan else None
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
    """Return what was spent; pilots before all began anew are lost as a whole, branches and all."""
    seen, own, path = history.seen(), history.own_readouts(), planned.compute
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
    """Return the runs of the check, each beside that of all at the goal."""
    checks, found = history.seen().checks, []
    at_goal = {check.fraction: check for check in checks if check.split == goal_only}
    for check, event in zip(checks, history.checks(), strict=True):
        other = at_goal.get(check.fraction, check)
        less = paired_difference(check, other) if other is not check else (math.nan, math.nan)
        found.append(CheckComparison(check.split, check.fraction, event.loss, event.sd, event.top1, *less))
    return tuple(found)


def _pareto(posterior: Posterior, path: Budget, *, policy: BudgetedPolicy) -> tuple[tuple[float, Split, float], ...]:
    """Return the best split of other budgets, with the loss that is expected of it."""
    found = []
    for factor in OTHER_BUDGETS:
        budget = replace(path, compute=path.compute * factor)
        split = policy.choose(posterior, budget).chosen.split
        (loss,), _ = posterior.moments(posterior.losses(np.array([budget.weighted_epochs(split)])))
        found.append((factor, split, float(loss)))
    return tuple(found)
