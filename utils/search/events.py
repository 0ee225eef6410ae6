"""Events of a search as frozen values, and their encoding as lines of its journal. No torch."""

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
    """A line is not an event of the search; the message names file, line and field."""

    on_every_rank = False


@dataclass(frozen=True)
class EpochScore:
    """A point of a transition's curve.

    Attributes:
        transition: The transition.
        epoch: Number of its epochs trained so far; 0: the start weights.
        score: search.metric of the validation, percent; NaN: training diverged.
        clips: Number of clips trained in this epoch.
        seconds: Training time of this epoch.
        scored_clips: Number of clips of the validation.
        scoring_seconds: Time of the validation.
        validation: Scores of the validation; None if there was none: before any training, or after training diverged.
        training: Training statistics of the epoch; None at epoch 0 and if training diverged.
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
    """How a transition ended (`utils.planning.knee.Verdict`); the value is minus infinity if there was no score."""

    kind: ClassVar = "decision"
    transition: Transition
    verdict: str
    epoch: int
    value: float


@dataclass(frozen=True)
class FinalScore:
    """Accuracy of the plan's weights on the evaluation list, one clip per video, percent."""

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
    """The search has written all its results."""

    kind: ClassVar = "end"


Event = EpochScore | Decision | FinalScore | End


class History:
    """The events of a search so far: the curve and decision of each transition, the test, the end."""

    def __init__(self, events: Iterable[Event] = ()) -> None:
        """Initialize the history with events in chronological order."""
        self._curves: defaultdict[Transition, list[EpochScore]] = defaultdict(list)
        self.decisions: dict[Transition, Decision] = {}
        self.test: FinalScore | None = None
        self.has_ended = False
        for event in events:
            self.add(event)

    def add(self, event: Event) -> None:
        """Append an event."""
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
        """Whether there is any score or decision."""
        return bool(self._curves or self.decisions)

    def curve(self, transition: Transition) -> tuple[EpochScore, ...]:
        """Return the points of a transition's curve so far, one for each epoch from 0 on."""
        return tuple(self._curves.get(transition, ()))

    def scores(self, transition: Transition) -> list[float]:
        """Return the scores of a transition's curve so far, percent; NaN: training diverged."""
        return [point.score for point in self.curve(transition)]

    def epochs(self) -> list[EpochScore]:
        """Return the points of all curves that follow an epoch of training, so neither epoch 0 nor divergence."""
        return [point for curve in self._curves.values() for point in curve if point.training]


def make_rule(config: RunConfig) -> KneeRule:
    """Return the knee rule of a search record."""
    search = config.search
    return KneeRule(search.attempt_epochs, search.max_epochs, search.horizon)


def write_event(event: Any) -> dict[str, Any]:
    """Return an event as the fields of a journal line; numbers that are not finite become null in the file."""
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
    """Parse lines in the form of `write_event` into a history.

    Args:
        lines: All lines from the beginning of the search, or of a transition.
        graph: The graph of the search.
        source: Prefix of line numbers in errors, e.g. "journal.jsonl, line".
        first: Number of the first line.

    Raises:
        EventError: A line is not an event of a search of this graph, or an epoch is missing or repeated.
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
    """Parse a line of a journal into an event.

    Args:
        line: Fields in the form of `write_event`.
        kinds: The union of the possible events.
        where: File and line, for errors.
        transitions: The transitions that the line may name.

    Raises:
        EventError: A field is missing, unknown or invalid.
    """
    by_name = {kind.kind: kind for kind in get_args(kinds)}
    found = _Fields(line, where, {str(transition): transition for transition in transitions})
    event = found.take(by_name[found.take_choice("event", by_name)])
    known = write_event(event)
    if unknown := [name for name in line if name not in known]:
        raise EventError(f"{where}: unknown field '{unknown[0]}'{suggest(unknown[0], known)}")
    return event


# Meaning of null, since JSON has neither NaN nor infinity.
_NULLS = {"score": math.nan, "value": -math.inf, "loss": math.nan, "sd": math.nan}
_EXPECTED = {int: "a whole number", float: "a number", str: "text", list: "a list"}


@dataclass(frozen=True)
class _Fields:
    """Typed access to the fields of a line.

    Attributes:
        line: The fields by name.
        where: File and line, for errors.
        edges: The transitions that the line may name, by their text.
    """

    line: Mapping[str, Any]
    where: str
    edges: Mapping[str, Transition]

    def take(self, kind: type[Any], prefix: str = "") -> Any:
        """Return an instance of a dataclass, from the fields of the line named like its own with a prefix."""
        hints = get_type_hints(kind)
        return kind(**{field.name: self._take(field.name, hints[field.name], prefix=prefix) for field in fields(kind)})

    def take_choice(self, name: str, choices: Iterable[str]) -> str:
        """Return a text field whose value must be one of some choices."""
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
