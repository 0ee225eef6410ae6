"""Events of a budgeted search as frozen values, and their encoding as lines of its journal. No torch.

The next action is a pure function of these events (`utils.planning.policy`), so a search that is killed at any point
continues to the same plan.
"""

import bisect
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from utils.planning.law import Readout
from utils.planning.peaks import rate_at
from utils.planning.policy import Check, Observations
from utils.search.events import End, FinalScore, read_event


@dataclass(frozen=True)
class BudgetSet:
    """The budget from here on; the first event of a journal, and one for each increase of the budget.

    Attributes:
        compute: The whole budget, in `unit`.
        unit: Unit of compute: frames x pixels, or seconds.
        path: Compute that the path of the smaller budget had spent beyond its pilot when it was abandoned.
    """

    kind: ClassVar = "budget"
    compute: float
    unit: str
    path: float = 0.0


@dataclass(frozen=True)
class SetAside:
    """The files of the smaller budget's path have been moved away; no path or pilot starts before this.

    Attributes:
        folder: Where they are now; "": there were none.
    """

    kind: ClassVar = "aside"
    folder: str


@dataclass(frozen=True)
class InputCosts:
    """Measured cost of each input on this machine.

    Attributes:
        step_seconds: Seconds of a training step on each input, loading included.
    """

    kind: ClassVar = "costs"
    step_seconds: tuple[float, ...]


@dataclass(frozen=True)
class PeakScore:
    """The result of a peak run: a short annealed run at one rate.

    Attributes:
        input: Index of the input.
        factor: Peak rate as a factor of the input's base learning rate, for the search's first budget.
        loss: Mean held-out cross-entropy on clips of that input; NaN: training diverged.
        sd: Standard error of that mean.
        top1: Held-out accuracy, percent.
        steps: Number of steps of the run.
        compute: Compute of these steps, in the unit of the budget.
        seconds: Time of training and scoring.
    """

    kind: ClassVar = "peak"
    input: int
    factor: float
    loss: float
    sd: float
    top1: float
    steps: int
    compute: float
    seconds: float


@dataclass(frozen=True)
class PilotReadout:
    """A readout of a pilot: the values of `utils.planning.law.Readout`, and how they were measured.

    Attributes:
        pilot: Number of the pilot.
        step: Number of steps of the pilot so far.
        branch: Number of steps at the goal over which a copy of the pilot was annealed to zero.
        at: Fraction of the path's compute that the pilot has spent.
        weighted: Rate-weighted epochs so far on each input, short to long, those of the branch included.
        loss: Mean held-out cross-entropy on the goal's clip at the end of the branch.
        sd: Standard error of that mean.
        top1: Held-out accuracy, percent.
        compute: Compute of the pilot and its branches so far, without scoring, in the unit of the budget.
        seconds: Time of training since the last readout, and of this readout.
    """

    kind: ClassVar = "readout"
    pilot: int
    step: int
    branch: int
    at: float
    weighted: tuple[float, ...]
    loss: float
    sd: float
    top1: float
    compute: float
    seconds: float


@dataclass(frozen=True)
class PilotEnd:
    """The end of a pilot: all its readouts are taken, or it diverged, and all pilots restart at lower rates.

    Attributes:
        pilot: Number of the pilot.
        factors: Peak rate of each input, as a factor of its base learning rate.
        diverged: Index of the input at which it diverged, the goal's for a branch; -1: it did not.
        compute: Compute of a pilot that diverged and of its branches; the part that diverged counts in full.
    """

    kind: ClassVar = "pilot"
    pilot: int
    factors: tuple[float, ...]
    diverged: int = -1
    compute: float = 0.0


@dataclass(frozen=True)
class CheckScore:
    """The result of a run of the check: a split trained on a fraction of the budget.

    Attributes:
        split: Fractions of the run's compute for each input.
        share: Compute of the run as a fraction of the budget.
        loss: Mean held-out cross-entropy on the goal's clip; NaN: training diverged.
        sd: Standard error of that mean.
        top1: Held-out accuracy, percent.
        losses: Loss of each held-out video, in the order of the list; empty if training diverged.
        seconds: Time of training and scoring.
    """

    kind: ClassVar = "check"
    split: tuple[float, ...]
    share: float
    loss: float
    sd: float
    top1: float
    losses: tuple[float, ...]
    seconds: float


@dataclass(frozen=True)
class Planned:
    """The plan.

    Attributes:
        split: Fractions of the path's compute for each input, short to long.
        gain: Expected gain over "all at the goal", points.
        spread: Standard deviation of the gain, points.
        factors: Peak rate of each input, as a factor of its base learning rate.
        compute: Compute of the path, in the unit of the budget.
    """

    kind: ClassVar = "plan"
    split: tuple[float, ...]
    gain: float
    spread: float
    factors: tuple[float, ...]
    compute: float


BudgetedEvent = (
    BudgetSet | SetAside | InputCosts | PeakScore | PilotReadout | PilotEnd | CheckScore | Planned | FinalScore | End
)


class BudgetedHistory:
    """The events of a budgeted search so far.

    All pilots restart when one diverges or the budget grows.
    """

    def __init__(self, events: Iterable[BudgetedEvent] = ()) -> None:
        """Initialize the history with events in chronological order."""
        self.events: list[BudgetedEvent] = list(events)

    def add(self, event: BudgetedEvent) -> None:
        """Append an event."""
        self.events.append(event)

    @property
    def budgets(self) -> list[BudgetSet]:
        """All budgets of the search, each larger than the one before."""
        return [event for event in self.events if isinstance(event, BudgetSet)]

    @property
    def is_set_aside(self) -> bool:
        """Whether the files of a smaller budget's path, if any, have been moved away."""
        return not self._growths() or any(isinstance(event, SetAside) for event in self._now())

    @property
    def attempt(self) -> int:
        """Number of restarts of all pilots so far."""
        return len(self._restarts())

    @property
    def costs(self) -> InputCosts | None:
        """The measured cost of the inputs, None if it was not measured."""
        return next((event for event in self.events if isinstance(event, InputCosts)), None)

    def peaks(self) -> list[PeakScore]:
        """Return the results of all peak runs."""
        return [event for event in self.events if isinstance(event, PeakScore)]

    def checks(self) -> list[CheckScore]:
        """Return the results of the check under the current budget; earlier runs had other lengths."""
        return [event for event in self._now() if isinstance(event, CheckScore)]

    def diverged_pilots(self) -> list[PilotEnd]:
        """Return the pilots that diverged."""
        return [event for _, event in self._diverged()]

    def readouts(self) -> list[PilotReadout]:
        """Return the readouts since the last divergence of a pilot, including those under smaller budgets."""
        events = self._since(place for place, _ in self._diverged())
        return [event for event in events if isinstance(event, PilotReadout)]

    def own_readouts(self) -> list[PilotReadout]:
        """Return the readouts since the last restart of all pilots, so under the current budget."""
        return [event for event in self._since(self._restarts()) if isinstance(event, PilotReadout)]

    def of_pilot(self, number: int, *, attempt: int) -> list[BudgetedEvent]:
        """Return the events of a pilot between two restarts.

        Args:
            number: Number of the pilot.
            attempt: Number of restarts before it.
        """
        bounds = [-1, *self._restarts(), len(self.events)]
        if attempt + 1 >= len(bounds):
            return []
        events = self.events[bounds[attempt] + 1 : bounds[attempt + 1] + 1]
        return [event for event in events if isinstance(event, PilotReadout | PilotEnd) and event.pilot == number]

    @property
    def plan(self) -> Planned | None:
        """The plan for the current budget, None until it is made."""
        return next((event for event in self._now() if isinstance(event, Planned)), None)

    @property
    def test(self) -> FinalScore | None:
        """The score of that plan's weights on the evaluation list, None until measured."""
        return next((event for event in self._now() if isinstance(event, FinalScore)), None)

    @property
    def has_ended(self) -> bool:
        """Whether all results for the current budget are written."""
        return any(isinstance(event, End) for event in self._now())

    def observations(self) -> Observations:
        """Return the results that the policy decides by; rates from a diverged pilot's upwards count as diverged."""
        peaks: dict[int, dict[float, float]] = {}
        for peak in self.peaks():
            peaks.setdefault(peak.input, {})[peak.factor] = peak.loss
        for position, pilot in self._diverged():
            losses = peaks.setdefault(pilot.diverged, {})
            factor = pilot.factors[pilot.diverged] / self._scale(position)
            factor = next((each for each in losses if math.isclose(each, factor)), factor)
            losses |= {each: math.nan for each in (*losses, factor) if each >= factor}
        readouts = tuple(Readout(r.pilot, r.at, r.weighted, r.loss, r.sd) for r in self.readouts())
        carried_over, (lost, lost_readouts) = self._carried_over(), self._lost()
        ended = _ended(self._since(self._restarts()))
        checks = tuple(Check(each.split, each.share, each.losses) for each in self.checks())
        return Observations(peaks, readouts, ended | carried_over, carried_over, lost, lost_readouts, checks)

    def _diverged(self) -> list[tuple[int, PilotEnd]]:
        return [(n, one) for n, one in enumerate(self.events) if isinstance(one, PilotEnd) and one.diverged >= 0]

    def _growths(self) -> list[int]:
        """Return the positions of all budgets but the first."""
        return [number for number, event in enumerate(self.events) if isinstance(event, BudgetSet)][1:]

    def _restarts(self) -> list[int]:
        """Return the positions of all events that restart the pilots."""
        return sorted([*self._growths(), *(place for place, _ in self._diverged())])

    def _now(self) -> Sequence[BudgetedEvent]:
        """Return the events under the current budget."""
        return self._since(self._growths())

    def _since(self, places: Iterable[int]) -> Sequence[BudgetedEvent]:
        """Return the events after the last of some positions, all events if there are none."""
        return self.events[max(places, default=-1) + 1 :]

    def _scale(self, place: int) -> float:
        """Return the factor from rates for the first budget to rates for the budget at a position."""
        given = [event.compute for event in self.events[:place] if isinstance(event, BudgetSet)]
        return rate_at(given[-1], of=given[0]) if given else 1.0

    def _carried_over(self) -> frozenset[int]:
        """Return the pilots of smaller budgets that led to a plan."""
        begin, found = max((place for place, _ in self._diverged()), default=-1) + 1, frozenset[int]()
        for growth in self._growths():
            events = self.events[begin:growth]
            if any(isinstance(event, Planned) for event in events):
                found |= _ended(events)
            begin = max(begin, growth)
        return found

    def _lost(self) -> tuple[float, int]:
        """Return the compute of all pilots before the last restart, and the number of their readouts."""
        spent: dict[tuple[int, int], float] = {}
        restarts, readouts = self._restarts(), 0
        for place, event in enumerate(self.events[: max(restarts, default=-1) + 1]):
            if isinstance(event, PilotReadout | PilotEnd):
                pilot = bisect.bisect_left(restarts, place), event.pilot
                spent[pilot] = max(event.compute, spent.get(pilot, 0.0))
                readouts += isinstance(event, PilotReadout)
        return sum(spent.values()), readouts


def _ended(events: Iterable[BudgetedEvent]) -> frozenset[int]:
    return frozenset(event.pilot for event in events if isinstance(event, PilotEnd))


def read_history(lines: Iterable[Mapping[str, Any]], *, source: str, first: int) -> BudgetedHistory:
    """Parse lines in the form of `write_event` into a history.

    Args:
        lines: The lines.
        source: Prefix of line numbers in errors, e.g. "journal.jsonl, line".
        first: Number of the first line.

    Raises:
        EventError: A line is not an event of a budgeted search.
    """
    return BudgetedHistory(
        read_event(line, BudgetedEvent, where=f"{source} {n}") for n, line in enumerate(lines, first)
    )
