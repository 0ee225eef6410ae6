"""Build the policy of a budgeted search, and the records that its actions train. No torch, no files."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

from utils.config import ConfigError, RunConfig, StateConfig
from utils.planning.budget import Budget, Split
from utils.planning.envelope import Envelope
from utils.planning.peaks import PeakRule, rate_at
from utils.planning.policy import (
    BRANCH_COST,
    COOL_DOWN,
    READ_AT,
    BudgetedPolicy,
    Observations,
    RunCheck,
    RunPilot,
    TryPeak,
)
from utils.planning.studied import CHECK_RUNS, StudiedPolicy

PEAK_FRACTION = 1 / 64  # compute of one peak run, as a fraction of the budget
MAX_FOR_PEAKS = 0.25  # compute of all peak runs, as a fraction of the budget
PILOT_FRACTION = 1 / 32  # compute of a pilot, as a fraction of the path's
# Least steps of a pilot, in units of search.least_steps (approximate). The first readout, at half the pilot plus its
# branch, then has more steps than a peak run, the fewest in which something is learned.
MIN_PILOT_RUNS = 3
STUDIED_PILOT = 1 / 8  # compute of a pilot of the studied policy, as a fraction of the budget
MAX_PILOT_FRACTION = 1 / 16  # a split's smallest fraction; there are no pilots if they would need more
STATISTICS_BATCHES = 8  # micro-batches at the goal on which batch norm statistics are computed before a readout
FORWARD_COST = 1 / 3  # compute of scoring a clip, as a fraction of training it
# Standard deviation of a run's loss on this number of videos, which all runs are scored on; proportional to 1 / sqrt.
REFERENCE_SD, REFERENCE_VIDEOS = 0.02, 500


@dataclass(frozen=True)
class InputSteps:
    """Steps and cost of an input.

    Attributes:
        per_epoch: Number of steps of an epoch.
        compute: Compute of a step: frames x pixels, or seconds if the budget is in hours.
    """

    per_epoch: int
    compute: float

    @property
    def epoch(self) -> float:
        """Compute of an epoch."""
        return self.per_epoch * self.compute


@dataclass(frozen=True)
class Branch:
    """A branch, which reads a pilot: a copy that is annealed to zero at the goal, measured and discarded.

    Attributes:
        name: Name of its folder.
        record: Record of its training, a single state at the goal.
        begin: Number of steps of the pilot before it.
        at: Fraction of the path's compute that these steps are.
        steps: Number of steps of the branch.
        weighted: Rate-weighted epochs on each input, those of the branch included.
    """

    name: str
    record: RunConfig
    begin: int
    at: float
    steps: int
    weighted: tuple[float, ...]


@dataclass(frozen=True)
class Pilot:
    """The beginning of the first state of a path.

    Attributes:
        name: Name of its folder.
        record: Record of the path; its first state is longer than the pilot.
        branches: The branches that read it; the pilot ends where the last one begins.
    """

    name: str
    record: RunConfig
    branches: tuple[Branch, ...]


def make_policy(
    config: RunConfig, inputs: Sequence[InputSteps], *, scoring_videos: int, first_budget: float = 0.0
) -> BudgetedPolicy:
    """Return the policy of a record whose search.policy is budgeted or studied.

    Args:
        config: The record.
        inputs: Steps and costs of each input.
        scoring_videos: Number of videos that score a run.
        first_budget: Compute of the search's first budget; 0: this one. Peak runs keep the length that they had then,
            since only losses of equally long runs are comparable.

    Raises:
        ConfigError: The budget, or the overhead, is too small to plan anything.
    """
    search, goal, compute = config.search, config.search.inputs[-1], budget_compute(config, inputs)
    least = search.least_steps * max(each.compute for each in inputs)
    clips, step = scoring_videos + count_batches(config) * goal.batch_size, goal.batch_size * goal.iter_size
    policy = BudgetedPolicy(
        Budget(compute, tuple(each.epoch for each in inputs), path_envelope(config)),
        PeakRule(
            search.peaks,
            tolerance=1.4 * REFERENCE_SD * (REFERENCE_VIDEOS / scoring_videos) ** 0.5,
            chance_loss=math.log(config.dataset.num_classes),
        ),
        peak_compute=max((first_budget or compute) * PEAK_FRACTION, least),
        max_for_peaks=compute * MAX_FOR_PEAKS if search.peaks else 0.0,
        readout=FORWARD_COST * clips / (step * config.optimizer.num_gpu) * inputs[-1].compute,
        scale=rate_at(compute, of=first_budget or compute),
    )
    if search.policy == "studied":
        policy = _study(config, policy, least=MIN_PILOT_RUNS * least, goal=inputs[-1])
    else:
        policy = _plan_inside(config, policy, least=least, goal=inputs[-1])
    _check_warmup(config, policy.pilot_fraction)
    return policy


def _check_warmup(config: RunConfig, fraction: float) -> None:
    """Raise ConfigError if the warm-up is not over at the end of a pilot, which is this fraction of the path."""
    warmup = config.optimizer.envelope_warmup
    if 0 < fraction <= warmup:
        raise ConfigError(
            f"{config.sources['optimizer.envelope_warmup']}: optimizer.envelope_warmup: found {warmup:g}, but pilots "
            f"are {fraction:.3g} of the path and would only see the warm-up; use at most {fraction / 4:.2g}"
        )


def _plan_inside(config: RunConfig, policy: BudgetedPolicy, *, least: float, goal: InputSteps) -> BudgetedPolicy:
    """Return the policy that plans inside its budget, without pilots if they would take too much of it."""
    left = policy.budget.compute - policy.max_for_peaks - policy.readout * 2 * len(READ_AT)
    fraction = max(PILOT_FRACTION, MIN_PILOT_RUNS * least / left) if left > 0 else math.inf
    policy = replace(policy, pilot_fraction=fraction if fraction <= MAX_PILOT_FRACTION else 0.0)
    if not policy.pilot_fraction and policy.spent_on_peaks(Observations(), more=2) > policy.max_for_peaks:
        enough = _as_budget(config, 2 * (least + policy.readout) / MAX_FOR_PEAKS, goal)
        raise ConfigError(
            f"{config.sources['search.budget']}: search.budget: too small to try two of search.peaks with "
            f"search.least_steps ({config.search.least_steps}) steps; planning needs at least {{{enough}}}; give that, "
            "or train a record written by hand"
        )
    return policy


def _study(config: RunConfig, policy: BudgetedPolicy, *, least: float, goal: InputSteps) -> StudiedPolicy:
    """Return the policy that plans on top of its budget; peaks and checks share the overhead that pilots leave."""
    overhead = config.search.overhead * policy.budget.compute
    studied = StudiedPolicy(**vars(policy) | {"pilot_fraction": STUDIED_PILOT}, overhead=overhead)
    if len(policy.budget.costs) > 1 and STUDIED_PILOT * policy.budget.compute < least:
        raise ConfigError(
            f"{config.sources['search.budget']}: search.budget: too small to study: a pilot, {STUDIED_PILOT:g} of it, "
            f"needs {MIN_PILOT_RUNS} times search.least_steps ({config.search.least_steps}) steps; give it at least "
            f"{{{_as_budget(config, least / STUDIED_PILOT, goal)}}}"
        )
    left = overhead - studied.spent_on_pilots()
    needed = studied.spent_on_peaks(Observations(), more=2) if config.search.peaks else 0.0
    if left < needed:
        enough = (overhead - left + needed) / policy.budget.compute
        raise ConfigError(
            f"{config.sources['search.overhead']}: search.overhead: found {config.search.overhead:g}, but pilots of "
            f"every input and two of search.peaks take {math.ceil(100 * enough) / 100:g} of the budget"
        )
    return replace(studied, max_for_peaks=min(policy.max_for_peaks, left))


def _as_budget(config: RunConfig, compute: float, goal: InputSteps) -> str:
    """Return compute in the notation of search.budget."""
    return f"hours: {compute / 3600:.3g}" if config.search.budget.hours else f"epochs: {compute / goal.epoch:.3g}"


def count_batches(config: RunConfig) -> int:
    """Return the number of micro-batches on which batch norm statistics are computed before a readout."""
    return max(config.optimizer.precise_bn, STATISTICS_BATCHES)


def path_envelope(config: RunConfig) -> Envelope:
    """Return the envelope of a record's path."""
    settings = config.optimizer
    return Envelope(settings.envelope, settings.envelope_warmup, 1 / settings.warmup_multiplier)


def peak_record(config: RunConfig, action: TryPeak, inputs: Sequence[InputSteps], *, first_budget: float) -> RunConfig:
    """Return the record of a peak run: one input, annealed over the run's compute.

    The action's factor is for the search's first budget; it is converted to the length of the run (`rate_at`).
    """
    steps = max(1, round(action.compute / inputs[action.input].compute))
    factor = action.factor * rate_at(action.compute, of=first_budget)
    return config.with_states([_state(config, action.input, factor=factor, steps=steps, inputs=inputs)])


def budget_compute(config: RunConfig, inputs: Sequence[InputSteps]) -> float:
    """Return the whole budget in the unit of the inputs' compute."""
    budget = config.search.budget
    frames = budget.frames * config.search.inputs[-1].crop_size ** 2
    return budget.epochs * inputs[-1].epoch or frames or 3600 * budget.hours


def path_record(
    config: RunConfig, split: Split, *, factors: Sequence[float], compute: float, inputs: Sequence[InputSteps]
) -> RunConfig:
    """Return the record of a split of a path's compute.

    Its envelope spans the exact compute, not that of the states rounded to whole steps, so that two splits that begin
    with the same input have identical first steps.
    """
    states = []
    for number, fraction in enumerate(split):
        if fraction > 0:
            steps = max(1, round(fraction * compute / inputs[number].compute))
            states.append(_state(config, number, factor=factors[number], steps=steps, inputs=inputs))
    settings = replace(config.optimizer, envelope_epochs=compute / inputs[-1].epoch)
    return replace(config, optimizer=settings).with_states(states)


def _state(config: RunConfig, number: int, *, factor: float, steps: int, inputs: Sequence[InputSteps]) -> StateConfig:
    chosen, epochs = config.search.inputs[number], steps / inputs[number].per_epoch
    rate = float(f"{chosen.base_learning_rate * factor:.12g}")
    return StateConfig(**asdict(chosen) | {"base_learning_rate": rate, "epochs": epochs, "shares": 1})


def pilot_name(number: int, *, attempt: int) -> str:
    """Return the name of a pilot after `attempt` restarts of all pilots."""
    return f"pilot-{number}-{attempt}"


def make_pilot(
    config: RunConfig, action: RunPilot, *, path: Budget, inputs: Sequence[InputSteps], attempt: int
) -> Pilot:
    """Return the training of a pilot; it is the beginning of any path that begins with its input."""
    # The record is longer than the pilot, and its last state is the goal, as in any path.
    split = tuple((one + goal) / 2 for one, goal in zip(path.only(action.input), path.goal_only, strict=True))
    record = path_record(config, split, factors=action.factors, compute=path.compute, inputs=inputs)
    name, per_step = pilot_name(action.number, attempt=attempt), inputs[action.input].compute
    branches = []
    for number, place in enumerate(READ_AT):
        begin = round(place * action.until * path.compute / per_step)
        at = begin * per_step / path.compute
        rate = action.factors[-1] * path.envelope.factor(at)
        steps = max(1, round(COOL_DOWN * begin * per_step / inputs[-1].compute))
        weighted = path.weighted_cool_down(action.input, at=at, epochs=steps / inputs[-1].per_epoch)
        branch = branch_record(config, rate, steps=steps, inputs=inputs)
        branches.append(Branch(f"{name}-branch{number}", branch, begin, at, steps, weighted))
    return Pilot(name, record, tuple(branches))


def branch_record(config: RunConfig, factor: float, *, steps: int, inputs: Sequence[InputSteps]) -> RunConfig:
    """Return the record of a cool-down: the goal's input, from a factor of its base rate linearly to zero.

    It uses another seed, because the pilot has already trained on the clips that its own seed draws first.
    """
    settings = replace(config.optimizer, envelope="linear", envelope_warmup=0.0, seed=config.optimizer.seed + 1)
    state = _state(config, len(inputs) - 1, factor=factor, steps=steps, inputs=inputs)
    return replace(config, optimizer=settings).with_states([state])


def check_record(config: RunConfig, action: RunCheck, inputs: Sequence[InputSteps]) -> RunConfig:
    """Return the record of a run of the check: a split on a fraction of the budget, annealed to zero."""
    compute = action.fraction * budget_compute(config, inputs)
    return path_record(config, action.split, factors=action.factors, compute=compute, inputs=inputs)


def describe_budget(config: RunConfig, policy: BudgetedPolicy, inputs: Sequence[InputSteps]) -> list[str]:
    """Return lines of text on the budget and the most that planning takes of it."""
    budget, goal = policy.budget, inputs[-1]
    peaks = int(policy.max_for_peaks / (policy.peak_compute + policy.readout))
    costs = " : ".join(f"{cost / budget.costs[-1]:.3g}" for cost in budget.costs)
    unit = "s of training steps, loading included" if config.search.budget.hours else "frames x pixels"
    lines = [
        f"budget: {budget.compute / goal.epoch:.4g} epochs of the goal's input ({budget.compute:.4g} {unit}); "
        f"an epoch of the inputs costs {costs}",
        f"peaks: at most {peaks} runs of {policy.peak_compute / budget.compute:.2%} of the budget each"
        if peaks
        else "peaks: none, the rates of the record are used",
        _describe_pilots(policy, goal),
        f"readouts: {policy.readout / budget.compute:.2%} of the budget each, one for each peak and "
        f"{len(READ_AT) * len(policy.pilots)} of the pilots",
    ]
    if not isinstance(policy, StudiedPolicy):
        return [*lines, "all of this is inside the budget"]
    rounds = " and ".join(f"{count} runs of {part:g} of it" for count, part in zip((3, 2), CHECK_RUNS, strict=True))
    cap = f"all of this is on top of the budget, at most {policy.overhead / budget.compute:.2f} of it"
    return [*lines, f"check: {rounds}, a readout each, as far as they fit", cap]


def _describe_pilots(policy: BudgetedPolicy, goal: InputSteps) -> str:
    """Return a line of text on the pilots and the compute that is lost with them."""
    part, why = policy.pilot_fraction, "they would take too much of this budget; the plan is all at the goal"
    if not policy.pilots:
        return f"pilots: none, {why if policy.budget.goal else 'there is one input'}"
    return (
        f"pilots: {len(policy.pilots)} of {part:.2%} of the path ({part * policy.budget.compute / goal.compute:.0f} "
        f"steps of the goal) each, read by branches of {part * BRANCH_COST:.2%}; branches, and pilots that the plan "
        f"does not continue, are lost, at most {policy.lost_fraction:.2%}"
    )
