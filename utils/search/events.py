"""What happens in a search as values, and the lines of its journal that they are written as. No torch."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, get_args, get_origin, get_type_hints

from utils.config import RunConfig
from utils.config.values import suggest
from utils.errors import UserError
from utils.metrics import ValidationScore
from utils.planning.graph import Graph, Transition
from utils.planning.knee import VERDICTS, KneeRule
from utils.training.epoch_lines import EpochTraining


class EventError(UserError):
    """A line that is no event of the search: names file, line and field."""

    on_every_rank = False


@dataclass(frozen=True)
class EpochScore:
    """A point of a transition's curve.

    Attributes:
        transition: Which.
        epoch: How many of its epochs are trained; 0: the weights it starts from.
        score: search.metric of validation, percent; NaN: training diverged.
        clips: Clips trained in this epoch.
        seconds: How long that took.
        scored_clips: Clips of validation.
        scoring_seconds: How long that took.
        validation: Its accuracies; None where there was none: before any training, or after it diverged.
        training: How the epoch was trained; None at epoch 0, and where it diverged.
    """

    kind: ClassVar = "score"
    transition: Transition
    epoch: int
    score: float
    clips: int = 0
    seconds: float = 0.0
    scored_clips: int = 0
    scoring_seconds: float = 0.0
    validation: ValidationScore | None = None
    training: EpochTraining | None = None


@dataclass(frozen=True)
class Decision:
    """How a transition ended, as `utils.planning.knee.Verdict` says; where nothing had a score, at minus infinity."""

    kind: ClassVar = "decision"
    transition: Transition
    verdict: str
    epoch: int
    value: float


@dataclass(frozen=True)
class FinalScore:
    """The weights of the plan on the evaluation list, one clip a video, percent."""

    kind: ClassVar = "test"
    list: str
    top1: float
    top3: float
    top5: float
    mean: float
    videos: int
    missing: int


@dataclass(frozen=True)
class End:
    """All that a search leaves has been written."""

    kind: ClassVar = "end"


Event = EpochScore | Decision | FinalScore | End


class History:
    """What has happened in a search so far: the curve and decision of every transition, the test, the end."""

    def __init__(self, events: Iterable[Event] = ()) -> None:
        """Take events in the order in which they happened."""
        self._curves: defaultdict[Transition, list[EpochScore]] = defaultdict(list)
        self.decisions: dict[Transition, Decision] = {}
        self.test: FinalScore | None = None
        self.has_ended = False
        for event in events:
            self.add(event)

    def add(self, event: Event) -> None:
        """Take one more event."""
        if isinstance(event, EpochScore):
            self._curves[event.transition].append(event)
        elif isinstance(event, Decision):
            self.decisions[event.transition] = event
        elif isinstance(event, FinalScore):
            self.test = event
        else:
            self.has_ended = True

    @property
    def has_begun(self) -> bool:
        """Whether anything has happened."""
        return bool(self._curves or self.decisions)

    def curve(self, transition: Transition) -> tuple[EpochScore, ...]:
        """Return the points of a transition so far, one for each epoch from 0 on."""
        return tuple(self._curves.get(transition, ()))

    def scores(self, transition: Transition) -> list[float]:
        """Return the scores of a transition so far, percent; NaN: training diverged."""
        return [point.score for point in self.curve(transition)]

    def epochs(self) -> list[EpochScore]:
        """Return the points of all transitions that an epoch of training led to."""
        return [point for curve in self._curves.values() for point in curve if point.training]


def make_rule(config: RunConfig) -> KneeRule:
    """Return the knee rule of a search record."""
    search = config.search
    return KneeRule(search.attempt_epochs, search.max_epochs, search.horizon)


def write_event(event: Any) -> dict[str, Any]:
    """Return an event as a line of the journal has it; numbers that are not finite become null in the file."""
    line: dict[str, Any] = {"event": event.kind}
    for name, value in vars(event).items():
        if isinstance(value, Transition):
            line["edge"] = str(value)
        elif isinstance(value, ValidationScore):
            line |= {f"eval_{key}": number for key, number in vars(value).items()}
        elif isinstance(value, EpochTraining):
            line |= vars(value)
        elif value is not None:
            line[name] = value
    return line


def read_history(lines: Iterable[Mapping[str, Any]], graph: Graph, *, source: str, first: int = 1) -> History:
    """Return what lines as `write_event` returns them say.

    Args:
        lines: All from the beginning of the search, or of a transition.
        graph: The graph that is searched.
        source: Where they stand, for errors, e.g. "journal.jsonl, line".
        first: Number of the first line there.

    Raises:
        EventError: A line is no event of a search of this graph, or an epoch is missing or there twice.
    """
    history = History()
    for number, line in enumerate(lines, start=first):
        where = f"{source} {number}"
        event = read_event(line, Event, where=where, transitions=graph.transitions)
        if isinstance(event, EpochScore) and event.epoch != (expected := len(history.curve(event.transition))):
            raise EventError(f"{where}: found epoch {event.epoch} of {event.transition}, expected {expected}")
        history.add(event)
    return history


def read_event(line: Mapping[str, Any], kinds: Any, *, where: str, transitions: Iterable[Transition] = ()) -> Any:
    """Return the event that a line of a journal says.

    Args:
        line: As `write_event` returns it.
        kinds: The union of all events that it may be.
        where: File and line, for errors.
        transitions: Those that it may name.

    Raises:
        EventError: A field is missing, unknown, or not what is expected there.
    """
    by_name = {kind.kind: kind for kind in get_args(kinds)}
    found = _Fields(line, where, {str(transition): transition for transition in transitions})
    event = found.take(by_name[found.take_choice("event", by_name)])
    known = write_event(event)
    if unknown := [name for name in line if name not in known]:
        raise EventError(f"{where}: a field '{unknown[0]}' is not known{suggest(unknown[0], known)}")
    return event


# What null, as JSON has no such numbers, stands for.
_NULLS = {"score": math.nan, "value": -math.inf, "loss": math.nan, "sd": math.nan}
_EXPECTED = {int: "a whole number", float: "a number", str: "text", list: "a list"}


@dataclass(frozen=True)
class _Fields:
    """The fields of a line, which stands there and may name these transitions."""

    line: Mapping[str, Any]
    where: str
    edges: Mapping[str, Transition]

    def take(self, kind: type[Any], prefix: str = "") -> Any:
        """Return a value of a kind, from the fields that are called as its own behind a prefix."""
        hints = get_type_hints(kind)
        return kind(**{field.name: self._take(field.name, hints[field.name], prefix=prefix) for field in fields(kind)})

    def take_choice(self, name: str, choices: Iterable[str]) -> str:
        """Return a field that is one of a few words."""
        word: str = self._take_plain(name, str)
        if word not in choices:
            raise EventError(f"{self.where}: {name}: found '{word}'{suggest(word, choices)}")
        return word

    def _take(self, name: str, hint: Any, *, prefix: str) -> Any:
        if hint is Transition:
            return self.edges[self.take_choice("edge", self.edges)]
        if hint == ValidationScore | None:
            return self.take(ValidationScore, "eval_") if any(key.startswith("eval_") for key in self.line) else None
        if hint == EpochTraining | None:
            return self.take(EpochTraining) if get_type_hints(EpochTraining).keys() & self.line.keys() else None
        if get_origin(hint) is tuple:
            return tuple(self._check(name, item, get_args(hint)[0]) for item in self._take_plain(name, list))
        return self.take_choice(name, VERDICTS) if name == "verdict" else self._take_plain(prefix + name, hint)

    def _take_plain(self, name: str, expected: type) -> Any:
        if name not in self.line:
            raise EventError(f"{self.where}: '{name}' is missing; found {', '.join(self.line)}")
        return self._check(name, self.line[name], expected)

    def _check(self, name: str, found: Any, expected: type) -> Any:
        if found is None and name in _NULLS:
            return _NULLS[name]
        if type(found) is int and expected is float:
            return float(found)
        if type(found) is not expected:
            raise EventError(f"{self.where}: {name}: found {found!r}, expected {_EXPECTED[expected]}")
        return found
