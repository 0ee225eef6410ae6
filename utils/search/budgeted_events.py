"""What happens in a budgeted search as values, and the lines of its journal that they are written as. No torch.

What to do next is a pure function of these events (`utils.planning.policy`): a search that is killed anywhere goes on
to the same plan.
"""

import bisect
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from utils.planning.law import Readout
from utils.planning.peaks import rate_at
from utils.planning.policy import Check, Seen
from utils.search.events import End, FinalScore, read_event


@dataclass(frozen=True)
class BudgetSet:
    """What may be spent from here on; the first line of a journal, and one more for every larger budget.

    Attributes:
        compute: In the unit.
        unit: Of compute: frames x pixels, or seconds.
        path: What the path of the smaller budget had trained on its own when it was given up for this one.
    """

    kind: ClassVar = "budget"
    compute: float
    unit: str
    path: float = 0.0


@dataclass(frozen=True)
class SetAside:
    """The files of the smaller budget's path lie elsewhere: nothing of a path begins before this.

    Attributes:
        folder: Where; "": there were none.
    """

    kind: ClassVar = "aside"
    folder: str


@dataclass(frozen=True)
class InputCosts:
    """What the inputs cost on this machine, measured once: the seconds of a training step, loading included."""

    kind: ClassVar = "costs"
    step_seconds: tuple[float, ...]


@dataclass(frozen=True)
class PeakScore:
    """How a short annealed run at a rate ended.

    Attributes:
        input: Number of the input.
        factor: Of its base learning rate, for the budget that the search began with.
        loss: Mean held-out cross-entropy of clips of that input; NaN: training diverged.
        sd: Standard deviation of that mean.
        top1: Held-out accuracy, percent.
        steps: Steps of the run.
        compute: What they cost, in the unit of the budget: frames x pixels, or seconds.
        seconds: How long training and scoring took.
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
    """What a pilot shows at one point: `utils.planning.law.Readout`, and how it came about.

    Attributes:
        pilot: Number of the pilot.
        step: Steps of the pilot so far.
        branch: Steps of the goal's input over which a copy of it was annealed to zero.
        at: Fraction of the path's compute that the pilot has spent.
        weighted: Rate-weighted epochs so far on every input, short to long, those of the branch included.
        loss: Mean held-out cross-entropy at the goal's clip at the end of the branch.
        sd: Standard deviation of that mean.
        top1: Held-out accuracy, percent.
        compute: What the pilot and its branches have spent so far, in the unit of the budget; scoring comes on top.
        seconds: How long training since the last readout, and this one, took.
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
    """A pilot has shown all its readouts, or has diverged: then its rates are too high, and all pilots begin anew.

    Attributes:
        pilot: Number of the pilot.
        factors: Peak of every input, as factors.
        diverged: Number of the input in which it diverged, the goal's where a branch did; -1: it did not.
        compute: What a pilot that diverged and its branches have spent, the part in which it did taken as whole.
    """

    kind: ClassVar = "pilot"
    pilot: int
    factors: tuple[float, ...]
    diverged: int = -1
    compute: float = 0.0


@dataclass(frozen=True)
class CheckScore:
    """How the training of a split of a part of the budget ended.

    Attributes:
        split: Shares of its compute.
        share: Its part of the budget.
        loss: Mean held-out cross-entropy at the goal's clip; NaN: training diverged.
        sd: Standard deviation of that mean.
        top1: Held-out accuracy, percent.
        losses: Of every held-out video, in the order of the list; none where training diverged.
        seconds: How long training and scoring took.
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
    """The plan, once it is known.

    Attributes:
        split: Shares of the path's compute, inputs from short to long.
        gain: Expected worth over "all at the goal", points.
        spread: Its standard deviation, points.
        factors: Peak of every input, as factors.
        compute: Of the path, in the unit of the budget.
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
    """What has happened in a budgeted search so far."""

    def __init__(self, events: Iterable[BudgetedEvent] = ()) -> None:
        """Take events in the order in which they happened."""
        self.events: list[BudgetedEvent] = list(events)

    def add(self, event: BudgetedEvent) -> None:
        """Take one more event."""
        self.events.append(event)

    @property
    def budgets(self) -> list[BudgetSet]:
        """Every budget of the search; each is larger than the one before."""
        return [event for event in self.events if isinstance(event, BudgetSet)]

    @property
    def is_set_aside(self) -> bool:
        """Whether nothing is left of a smaller budget's path where this one's belongs."""
        return not self._growths() or any(isinstance(event, SetAside) for event in self._now())

    @property
    def attempt(self) -> int:
        """How many times pilots have begun anew: one has diverged, or the budget has grown."""
        return len(self._restarts())

    @property
    def costs(self) -> InputCosts | None:
        """What the inputs cost, None where that was not measured."""
        return next((event for event in self.events if isinstance(event, InputCosts)), None)

    def peaks(self) -> list[PeakScore]:
        """Return how every run of a peak ended."""
        return [event for event in self.events if isinstance(event, PeakScore)]

    def checks(self) -> list[CheckScore]:
        """Return how every run of the check ended; those under a smaller budget were of other lengths."""
        return [event for event in self._now() if isinstance(event, CheckScore)]

    def diverged_pilots(self) -> list[PilotEnd]:
        """Return the pilots that diverged."""
        return [event for _, event in self._diverged()]

    def readouts(self) -> list[PilotReadout]:
        """Return what pilots have shown, under smaller budgets too; what is before one that diverged does not count."""
        events = self._since(place for place, _ in self._diverged())
        return [event for event in events if isinstance(event, PilotReadout)]

    def own_readouts(self) -> list[PilotReadout]:
        """Return those of `readouts` that pilots of the budget of now have shown."""
        return [event for event in self._since(self._restarts()) if isinstance(event, PilotReadout)]

    def of_pilot(self, number: int, *, attempt: int) -> list[BudgetedEvent]:
        """Return what a pilot has shown after pilots had begun anew so many times."""
        bounds = [-1, *self._restarts(), len(self.events)]
        if attempt + 1 >= len(bounds):
            return []
        events = self.events[bounds[attempt] + 1 : bounds[attempt + 1] + 1]
        return [event for event in events if isinstance(event, PilotReadout | PilotEnd) and event.pilot == number]

    @property
    def plan(self) -> Planned | None:
        """The plan for the budget of now, None until it is known."""
        return next((event for event in self._now() if isinstance(event, Planned)), None)

    @property
    def test(self) -> FinalScore | None:
        """The weights of that plan on the evaluation list."""
        return next((event for event in self._now() if isinstance(event, FinalScore)), None)

    @property
    def has_ended(self) -> bool:
        """Whether everything is written."""
        return any(isinstance(event, End) for event in self._now())

    def seen(self) -> Seen:
        """Return what the policy decides by; rates from that of a pilot that diverged on have diverged."""
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
        return Seen(peaks, readouts, ended | carried_over, carried_over, lost, lost_readouts, checks)

    def _diverged(self) -> list[tuple[int, PilotEnd]]:
        return [(n, one) for n, one in enumerate(self.events) if isinstance(one, PilotEnd) and one.diverged >= 0]

    def _growths(self) -> list[int]:
        """Return the places of all budgets but the first."""
        return [number for number, event in enumerate(self.events) if isinstance(event, BudgetSet)][1:]

    def _restarts(self) -> list[int]:
        """Return the places of all that has pilots begin anew."""
        return sorted([*self._growths(), *(place for place, _ in self._diverged())])

    def _now(self) -> Sequence[BudgetedEvent]:
        """Return what has happened under the budget of now."""
        return self._since(self._growths())

    def _since(self, places: Iterable[int]) -> Sequence[BudgetedEvent]:
        """Return what has happened since the last of some places, all where there are none."""
        return self.events[max(places, default=-1) + 1 :]

    def _scale(self, place: int) -> float:
        """Return what a rate that was found for the first budget is for the budget at a place."""
        given = [event.compute for event in self.events[:place] if isinstance(event, BudgetSet)]
        return rate_at(given[-1], of=given[0]) if given else 1.0

    def _carried_over(self) -> frozenset[int]:
        """Return the pilots of smaller budgets that had led to a plan."""
        begin, found = max((place for place, _ in self._diverged()), default=-1) + 1, frozenset[int]()
        for growth in self._growths():
            events = self.events[begin:growth]
            if any(isinstance(event, Planned) for event in events):
                found |= _ended(events)
            begin = max(begin, growth)
        return found

    def _lost(self) -> tuple[float, int]:
        """Return what pilots have spent before all began anew for the last time, and how many readouts they had."""
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
    """Return what lines as `write_event` returns them say; `source` and the number of the `first` are for errors.

    Raises:
        EventError: A line is no event of a budgeted search.
    """
    return BudgetedHistory(
        read_event(line, BudgetedEvent, where=f"{source} {n}") for n, line in enumerate(lines, first)
    )
