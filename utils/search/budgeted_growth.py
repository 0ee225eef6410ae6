"""A budget that has grown since its search began: what was seen stays and counts, the path begins anew.

It cannot go on, as an envelope falls over the whole budget: under the larger one every step has another rate, and the
weights would be those of no record. What comes first is the line in the journal, then the earlier path's files go, then
a line says that they have: a search that is killed in between does the rest.
"""

import logging
from collections.abc import Sequence

from utils import distributed
from utils.config import ConfigError, RunConfig
from utils.files import move_to_earlier
from utils.lock import LOCK_FILE
from utils.planning.policy import GOAL_PILOT, SHORT_PILOT
from utils.search.budgeted_events import BudgetedHistory, BudgetSet, SetAside
from utils.search.budgeted_plan import InputSteps, budget_compute
from utils.search.budgeted_trials import RUN
from utils.search.jobs import AHEAD_FOLDER
from utils.search.journal import SearchJournal
from utils.search.output import record_path
from utils.search.result import JOURNAL_FILE, SEARCH_FOLDER, SEARCH_JSON, SEARCH_PAGE
from utils.training.checkpoint import load_checkpoint
from utils.training.run_folder import EARLIER_PATTERN

SECONDS, FRAMES = "seconds", "frames x pixels"


def given_budget(config: RunConfig, inputs: Sequence[InputSteps]) -> BudgetSet:
    """Return the budget of a record as its journal keeps it."""
    return BudgetSet(budget_compute(config, inputs), SECONDS if config.search.budget.hours else FRAMES)


def take_budget(
    config: RunConfig, journal: SearchJournal[BudgetedHistory], inputs: Sequence[InputSteps], *, log: logging.Logger
) -> None:
    """Go on with a record's budget where it is larger than the journal's last, and set the earlier path aside.

    Raises:
        ConfigError: It is smaller, or in a unit that cannot be compared.
    """
    history = journal.history
    if not history.budgets:
        return
    given, last, goal = given_budget(config, inputs), history.budgets[-1], inputs[-1].epoch
    _refuse(config, given, last, goal=goal)
    if given.compute > last.compute:
        path = distributed.decide_on_main(lambda: _trained_alone(config, history, inputs))
        journal.append(BudgetSet(given.compute, given.unit, path))
        log.info(
            f"the budget has grown to {given.compute / last.compute:.4g} times what it was: what was seen stays, and "
            "what it has cost counts in the larger one; the path begins anew, as its rate falls over the whole budget"
        )
        if path:
            log.info(f"the earlier path's {path / given.compute:.1%} of the larger budget are not counted in it")
    if not history.is_set_aside:
        folder = distributed.decide_on_main(lambda: _set_aside(config))
        journal.append(SetAside(folder))
        if folder:
            log.info(f"moved the earlier path to {folder}")
    if (seen := history.seen()).lost:
        what = "are not run again" if seen.carried_over else "had led to no plan and begin anew"
        log.info(f"pilots under smaller budgets have cost {seen.lost / given.compute:.1%} of this one; they {what}")


def _refuse(config: RunConfig, given: BudgetSet, last: BudgetSet, *, goal: float) -> None:
    """Refuse a budget that is smaller than one before, or in another unit."""
    where, pixels = f"{config.sources['search.budget']}: search.budget", config.search.inputs[-1].crop_size ** 2
    if given.unit == SECONDS or last.unit == SECONDS:
        had = f"{{hours: {last.compute / 3600:.6g}}}"
    elif config.search.budget.epochs:
        had = f"{{epochs: {last.compute / goal:.6g}}}"
    else:
        had = f"{{frames: {last.compute / pixels:.6g}}}"
    anew = "give this record a name of its own, or use --force to move the earlier search aside and start anew"
    if given.unit != last.unit:
        raise ConfigError(
            f"{where}: this search has counted what it spent in {last.unit}, and would in {given.unit} with this "
            f"budget; name it in the unit that it has, or {anew}"
        )
    if given.compute > last.compute and config.search.policy == "studied":
        raise ConfigError(
            f"{where}: larger than what this search has studied, {had}, of which the runs of its check are parts; "
            f"{anew}; search.reuse takes over what it has seen"
        )
    if given.compute < last.compute:
        raise ConfigError(
            f"{where}: smaller than what this search has had, {had}, which is spent or planned for already; a budget "
            f"may only grow: name that or more, or {anew}"
        )


def _trained_alone(config: RunConfig, history: BudgetedHistory, inputs: Sequence[InputSteps]) -> float:
    """Return what the path has trained beyond the pilot that it began with, as its last checkpoint says."""
    planned, file = history.plan, config.run_dir / SEARCH_FOLDER / RUN / "current.pth"
    if planned is None or not file.exists():
        return 0.0
    position, used = load_checkpoint(file)[1], [n for n, fraction in enumerate(planned.split) if fraction > 0]
    spent = sum(planned.split[number] for number in used[: position.state]) * planned.compute
    if position.state < len(used):
        steps = inputs[used[position.state]]
        spent += (position.epoch * steps.per_epoch + position.step) * steps.compute
    number = {0: SHORT_PILOT, len(inputs) - 1: GOAL_PILOT}.get(used[0], -1)
    pilot = [event.at for event in history.own_readouts() if event.pilot == number]
    return max(0.0, spent - max(pilot, default=0.0) * planned.compute)


def _set_aside(config: RunConfig) -> str:
    """Move what a path has left to earlier-NNN; runs of peaks that have not ended stay, they go on as they are.

    Records, page and log are copied, so that there always are some.
    """
    folder = config.run_dir / SEARCH_FOLDER
    copied = {config.saved_path.name, record_path(config).name, SEARCH_JSON, SEARCH_PAGE, "log.txt"}
    names = {path.name for path in config.run_dir.iterdir() if not path.match(EARLIER_PATTERN)}
    names -= copied | {SEARCH_FOLDER, LOCK_FILE}
    inner = {path.name for path in folder.iterdir() if not path.match("peak-*")} - {JOURNAL_FILE, AHEAD_FOLDER}
    moved = sorted([*names, *(f"{SEARCH_FOLDER}/{name}" for name in inner)])
    earlier = move_to_earlier(config.run_dir, moved, copied=sorted(copied))
    return str(earlier) if earlier is not None else ""
