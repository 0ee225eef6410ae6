"""What happens in a budgeted search as values, and the lines of its journal that they are written as. No torch.

What to do next is a pure function of these events (`utils.planning.policy`): a search that is killed anywhere goes on
to the same plan.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, get_args, get_origin, get_type_hints

from utils.config.values import suggest
from utils.planning.law import Readout
from utils.planning.policy import Seen
from utils.search.events import End, EventError, FinalScore


@dataclass(frozen=True)
class InputCosts:
    """What the inputs cost on this machine, measured once: the seconds of a training step, loading included."""

    step_seconds: tuple[float, ...]


@dataclass(frozen=True)
class PeakScore:
    """How a short annealed run at a rate ended.

    Attributes:
        input: Number of the input.
        factor: Of its base learning rate.
        loss: Mean held-out cross-entropy of clips of that input; NaN: training diverged.
        sd: Standard deviation of that mean.
        top1: Held-out accuracy, percent.
        steps: Steps of the run.
        compute: What they cost, in the unit of the budget: frames x pixels, or seconds.
        seconds: How long training and scoring took.
    """

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
        seconds: How long training since the last readout, and this one, took.
    """

    pilot: int
    step: int
    branch: int
    at: float
    weighted: tuple[float, ...]
    loss: float
    sd: float
    top1: float
    seconds: float


@dataclass(frozen=True)
class PilotEnd:
    """A pilot has shown all its readouts, or has diverged: then its rates are too high, and all pilots begin anew.

    Attributes:
        pilot: Number of the pilot.
        factors: Peak of every input, as factors.
        diverged: Number of the input in which it diverged, the goal's where a branch did; -1: it did not.
    """

    pilot: int
    factors: tuple[float, ...]
    diverged: int = -1


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

    split: tuple[float, ...]
    gain: float
    spread: float
    factors: tuple[float, ...]
    compute: float


BudgetedEvent = InputCosts | PeakScore | PilotReadout | PilotEnd | Planned | FinalScore | End

_KINDS: dict[str, type[BudgetedEvent]] = {
    "costs": InputCosts,
    "peak": PeakScore,
    "readout": PilotReadout,
    "pilot": PilotEnd,
    "plan": Planned,
    "test": FinalScore,
    "end": End,
}
_EXPECTED = {int: "a whole number", float: "a number", str: "text"}


class BudgetedHistory:
    """What has happened in a budgeted search so far."""

    def __init__(self, events: Iterable[BudgetedEvent] = ()) -> None:
        """Take events in the order in which they happened."""
        self.events: list[BudgetedEvent] = list(events)

    def add(self, event: BudgetedEvent) -> None:
        """Take one more event."""
        self.events.append(event)

    @property
    def costs(self) -> InputCosts | None:
        """What the inputs cost, None where that was not measured."""
        return next((event for event in self.events if isinstance(event, InputCosts)), None)

    def peaks(self) -> list[PeakScore]:
        """Return how every run of a peak ended."""
        return [event for event in self.events if isinstance(event, PeakScore)]

    def retreats(self) -> list[PilotEnd]:
        """Return the pilots that diverged."""
        return [event for event in self.events if isinstance(event, PilotEnd) and event.diverged >= 0]

    def readouts(self) -> list[PilotReadout]:
        """Return what the pilots at the rates of now have shown; those before one that diverged do not count."""
        return [event for event in self._since_retreat() if isinstance(event, PilotReadout)]

    def of_pilot(self, number: int, *, attempt: int) -> list[BudgetedEvent]:
        """Return what a pilot has shown after pilots had begun anew so many times."""
        found: list[BudgetedEvent] = []
        for event in self.events:
            if isinstance(event, PilotReadout | PilotEnd) and event.pilot == number and attempt == 0:
                found.append(event)
            attempt -= isinstance(event, PilotEnd) and event.diverged >= 0
        return found

    @property
    def plan(self) -> Planned | None:
        """The plan, None until it is known."""
        return next((event for event in self.events if isinstance(event, Planned)), None)

    @property
    def test(self) -> FinalScore | None:
        """The weights of the plan on the evaluation list."""
        return next((event for event in self.events if isinstance(event, FinalScore)), None)

    @property
    def has_ended(self) -> bool:
        """Whether everything is written."""
        return any(isinstance(event, End) for event in self.events)

    def seen(self) -> Seen:
        """Return what the policy decides by; rates from that of a pilot that diverged on have diverged."""
        peaks: dict[int, dict[float, float]] = {}
        for peak in self.peaks():
            peaks.setdefault(peak.input, {})[peak.factor] = peak.loss
        for retreat in self.retreats():
            losses, factor = peaks.setdefault(retreat.diverged, {}), retreat.factors[retreat.diverged]
            losses |= {each: math.nan for each in (*losses, factor) if each >= factor}
        readouts = tuple(Readout(r.pilot, r.at, r.weighted, r.loss, r.sd) for r in self.readouts())
        ended = frozenset(event.pilot for event in self._since_retreat() if isinstance(event, PilotEnd))
        return Seen(peaks, readouts, ended)

    def _since_retreat(self) -> Sequence[BudgetedEvent]:
        retreats = [number for number, event in enumerate(self.events) if event in self.retreats()]
        return self.events[retreats[-1] + 1 :] if retreats else self.events


def write_event(event: BudgetedEvent) -> dict[str, Any]:
    """Return an event as a line of the journal has it; numbers that are not finite become null in the file."""
    return {"event": next(name for name, kind in _KINDS.items() if isinstance(event, kind)), **vars(event)}


def read_history(lines: Iterable[Mapping[str, Any]], *, source: str, first: int) -> BudgetedHistory:
    """Return what lines as `write_event` returns them say.

    Args:
        lines: All from the beginning of the search.
        source: Where they stand, for errors, e.g. "journal.jsonl, line".
        first: Number of the first line there.

    Raises:
        EventError: A line is no event of a budgeted search.
    """
    return BudgetedHistory(_read_event(line, where=f"{source} {n}") for n, line in enumerate(lines, start=first))


def _read_event(line: Mapping[str, Any], *, where: str) -> BudgetedEvent:
    kind = _KINDS.get(str(line.get("event")))
    if kind is None:
        raise EventError(f"{where}: event: found {line.get('event')!r}{suggest(str(line.get('event')), _KINDS)}")
    names = [field.name for field in fields(kind)]
    for name in line:
        if name not in (*names, "event"):
            raise EventError(f"{where}: a field '{name}' is not known{suggest(name, names)}")
    hints = get_type_hints(kind)
    return kind(**{name: _read_field(line, name, hints[name], where=where) for name in names})


def _read_field(line: Mapping[str, Any], name: str, expected: Any, *, where: str) -> Any:
    if name not in line:
        raise EventError(f"{where}: '{name}' is missing; found {', '.join(line)}")
    found = line[name]
    if get_origin(expected) is tuple:
        if not isinstance(found, list):
            raise EventError(f"{where}: {name}: found {found!r}, expected a list")
        item = get_args(expected)[0]
        return tuple(_read_field({name: one}, name, item, where=where) for one in found)
    if expected is float and found is None:
        return math.nan
    if expected is float and type(found) is int:
        return float(found)
    if type(found) is not expected:
        raise EventError(f"{where}: {name}: found {found!r}, expected {_EXPECTED[expected]}")
    return found
