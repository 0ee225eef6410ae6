"""Continue a budgeted search with a larger budget: results are kept and counted, the path is trained again.

The path cannot be continued, because the envelope falls over the whole budget: under the larger one each step has
another rate, so the weights would match no record. The larger budget is written to the journal first, then the files of
the earlier path are moved away, then the journal says so; a search that is killed in between does the rest.
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
    """Return the budget of a record as an event."""
    return BudgetSet(budget_compute(config, inputs), SECONDS if config.search.budget.hours else FRAMES)


def adopt_budget(
    config: RunConfig, journal: SearchJournal[BudgetedHistory], inputs: Sequence[InputSteps], *, log: logging.Logger
) -> None:
    """Adopt a record's budget if it is larger than the last one in the journal, and move the earlier path away.

    Args:
        config: The search record.
        journal: The journal.
        inputs: Steps and costs of each input.
        log: The log.

    Raises:
        ConfigError: The budget is smaller, or in another unit.
    """
    history = journal.history
    if not history.budgets:
        return
    given, last, goal = given_budget(config, inputs), history.budgets[-1], inputs[-1].epoch
    _check_budget(config, given, last, goal=goal)
    if given.compute > last.compute:
        path = distributed.decide_on_main(lambda: _abandoned_compute(config, history, inputs))
        journal.append(BudgetSet(given.compute, given.unit, path))
        log.info(
            f"the budget has grown to {given.compute / last.compute:.4g} times the last one: earlier results are kept, "
            "and their cost counts; the path is trained again, as its rate falls over the whole budget"
        )
        if path:
            log.info(f"the earlier path took {path / given.compute:.1%} of the larger budget, which is not counted")
    if not history.is_set_aside:
        folder = distributed.decide_on_main(lambda: _move_path(config))
        journal.append(SetAside(folder))
        if folder:
            log.info(f"moved the earlier path to {folder}")
    if (seen := history.observations()).lost:
        what = "are not run again" if seen.carried_over else "led to no plan and are run again"
        log.info(f"pilots under smaller budgets have cost {seen.lost / given.compute:.1%} of this one; they {what}")


def _check_budget(config: RunConfig, given: BudgetSet, last: BudgetSet, *, goal: float) -> None:
    """Raise ConfigError for a budget that is smaller than the last one, or in another unit.

    Args:
        config: The search record.
        given: The record's budget.
        last: The last budget in the journal.
        goal: Compute of an epoch at the goal.
    """
    where, pixels = f"{config.sources['search.budget']}: search.budget", config.search.inputs[-1].crop_size ** 2
    if given.unit == SECONDS or last.unit == SECONDS:
        had = f"{{hours: {last.compute / 3600:.6g}}}"
    elif config.search.budget.epochs:
        had = f"{{epochs: {last.compute / goal:.6g}}}"
    else:
        had = f"{{frames: {last.compute / pixels:.6g}}}"
    start_over = "give this record a name of its own, or use --force to move the earlier search aside and start anew"
    if given.unit != last.unit:
        raise ConfigError(
            f"{where}: found a budget in {given.unit}, but this search counts {last.unit}; give it in that unit, or "
            f"{start_over}"
        )
    if given.compute > last.compute and config.search.policy == "studied":
        raise ConfigError(
            f"{where}: larger than the {had} that this search has studied, of which the runs of its check are "
            f"fractions; {start_over}; search.reuse takes over its results"
        )
    if given.compute < last.compute:
        raise ConfigError(
            f"{where}: smaller than the {had} that this search has already spent or planned for; a budget can only "
            f"grow: set that or more, or {start_over}"
        )


def _abandoned_compute(config: RunConfig, history: BudgetedHistory, inputs: Sequence[InputSteps]) -> float:
    """Return the compute of the path beyond the pilot that it continued, by its last checkpoint."""
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


def _move_path(config: RunConfig) -> str:
    """Move the files of a path to earlier-NNN and return that folder, "" if there are none.

    Unfinished peak runs stay, since they continue unchanged. Records, page and log are copied, so that they exist at
    any time.
    """
    folder = config.run_dir / SEARCH_FOLDER
    copied = {config.saved_path.name, record_path(config).name, SEARCH_JSON, SEARCH_PAGE, "log.txt"}
    names = {path.name for path in config.run_dir.iterdir() if not path.match(EARLIER_PATTERN)}
    names -= copied | {SEARCH_FOLDER, LOCK_FILE}
    inner = {path.name for path in folder.iterdir() if not path.match("peak-*")} - {JOURNAL_FILE, AHEAD_FOLDER}
    moved = sorted([*names, *(f"{SEARCH_FOLDER}/{name}" for name in inner)])
    earlier = move_to_earlier(config.run_dir, moved, copied=sorted(copied))
    return str(earlier) if earlier is not None else ""
