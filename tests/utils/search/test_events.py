"""Events of a search: lines read back as the events that were written; errors name invalid lines."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from utils.jsonl import LineFile, as_json
from utils.metrics import ValidationScore
from utils.planning.graph import build_graph
from utils.search.events import (
    Decision,
    End,
    EpochScore,
    Event,
    EventError,
    FinalScore,
    History,
    read_event,
    read_history,
    write_event,
)
from utils.search.run import open_journal
from utils.training.epoch_lines import EpochTraining

GRAPH = build_graph("basic", num_inputs=2, num_levels=1)
FIRST, SECOND, THIRD = GRAPH.exploration_order
VALIDATION = ValidationScore(top1=25.0, top3=50.0, top5=75.0, mean=50.0, videos=12, missing=1)
TRAINING = EpochTraining(
    train_loss=2.5,
    learning_rate=0.02,
    precision="float32",
    clips_per_second=21.5,
    data_wait_share=0.25,
    num_frames=8,
    skipped=0,
)
START = EpochScore(FIRST, 0, 0.0)
EPOCH = EpochScore(FIRST, 1, 50.0, 24, 1.5, 12, 0.5, VALIDATION, TRAINING)
EVENTS: list[Event] = [
    START,
    EPOCH,
    EpochScore(FIRST, 2, math.nan),
    Decision(FIRST, "capped", 1, 50.0),
    Decision(SECOND, "hopeless", 0, -math.inf),
    FinalScore("list.txt", 25.0, 50.0, 75.0, 50.0, videos=25, missing=0),
    End(),
]
# The format of existing journals.
LINES: list[dict[str, Any]] = [
    {"event": "score", "edge": "initial -> (0,0)", "epoch": 0, "score": 0.0}
    | {"clips": 0, "seconds": 0.0, "scored_clips": 0, "scoring_seconds": 0.0},
    {"event": "score", "edge": "initial -> (0,0)", "epoch": 1, "score": 50.0}
    | {"clips": 24, "seconds": 1.5, "scored_clips": 12, "scoring_seconds": 0.5}
    | {"eval_top1": 25.0, "eval_top3": 50.0, "eval_top5": 75.0, "eval_mean": 50.0, "eval_videos": 12, "eval_missing": 1}
    | {"train_loss": 2.5, "learning_rate": 0.02, "precision": "float32", "clips_per_second": 21.5}
    | {"data_wait_share": 0.25, "num_frames": 8, "skipped": 0},
    {"event": "score", "edge": "initial -> (0,0)", "epoch": 2, "score": None}
    | {"clips": 0, "seconds": 0.0, "scored_clips": 0, "scoring_seconds": 0.0},
    {"event": "decision", "edge": "initial -> (0,0)", "verdict": "capped", "epoch": 1, "value": 50.0},
    {"event": "decision", "edge": str(SECOND), "verdict": "hopeless", "epoch": 0, "value": None},
    {"event": "test", "list": "list.txt", "top1": 25.0, "top3": 50.0, "top5": 75.0, "mean": 50.0}
    | {"videos": 25, "missing": 0},
    {"event": "end"},
]


@pytest.mark.parametrize(("event", "line"), list(zip(EVENTS, LINES, strict=True)))
def test_an_event_is_written_as_its_line_and_read_back(event: Any, line: dict[str, Any]) -> None:
    assert json.dumps(as_json(write_event(event))) == json.dumps(line)
    found = read_event(line, Event, where="here", transitions=GRAPH.transitions)
    assert repr(found) == repr(event)  # NaN differs from itself


def test_a_history_separates_transitions() -> None:
    history = read_history(LINES, GRAPH, source="here")
    assert history.curve(FIRST)[:2] == (START, EPOCH)
    assert history.scores(FIRST)[:2] == [0.0, 50.0] and math.isnan(history.scores(FIRST)[2])
    assert history.epochs() == [EPOCH]
    assert history.decisions == {FIRST: EVENTS[3], SECOND: EVENTS[4]}
    assert (history.curve(THIRD), history.decisions.get(THIRD)) == ((), None)
    assert (history.test, history.has_ended) == (EVENTS[5], True)
    assert (History().test, History().has_ended) == (None, False)


@pytest.mark.parametrize(
    ("line", "change", "message"),
    [
        (1, {"train_los": 1.0}, r"unknown field 'train_los'; did you mean 'train_loss'\?"),
        (1, {"train_loss": "2"}, "train_loss: found '2', expected a number"),
        (1, {"train_loss": None}, "train_loss: found None, expected a number"),
        (1, {"epoch": 1.5}, "epoch: found 1.5, expected a whole number"),
        (1, {"clips": True}, "clips: found True, expected a whole number"),
        (1, {"edge": "initial -> (0,1)"}, r"edge: found 'initial -> \(0,1\)'; did you mean 'initial -> \(0,0\)'\?"),
        (1, {"edge": ["initial"]}, r"edge: found \['initial'\], expected text"),
        (1, {"epoch": 2}, r"found epoch 2 of initial -> \(0,0\), expected 1"),
        (3, {"verdict": "setled"}, r"verdict: found 'setled'; did you mean 'settled'\?"),
        (3, {"event": "decisoin"}, r"event: found 'decisoin'; did you mean 'decision'\?"),
        (3, {"event": 5}, "event: found 5, expected text"),
        (6, {"epoch": 3}, "unknown field 'epoch'"),
    ],
)
def test_errors_name_the_line_and_the_field(line: int, change: dict[str, Any], message: str) -> None:
    lines = [*LINES[:line], LINES[line] | change, *LINES[line + 1 :]]
    with pytest.raises(EventError, match=rf"^journal\.jsonl, line {line + 2}: {message}"):
        read_history(lines, GRAPH, source="journal.jsonl, line", first=2)


@pytest.mark.parametrize("name", [name for name in LINES[1] if name not in ("event",)])
def test_a_missing_field_is_named(name: str) -> None:
    line = {key: value for key, value in LINES[1].items() if key != name}
    with pytest.raises(EventError, match=f"^here: '{name}' is missing; found event, "):
        read_event(line, Event, where="here", transitions=GRAPH.transitions)


def test_a_journal_continues_and_names_its_own_lines(tmp_path: Path) -> None:
    path = tmp_path / "search" / "journal.jsonl"
    journal = open_journal(path, {"graph": "basic"}, graph=GRAPH)
    for event in EVENTS[:2]:
        journal.append(event)
    again = open_journal(path, {"graph": "basic"}, graph=GRAPH)
    assert again.history.curve(FIRST) == journal.history.curve(FIRST) == (START, EPOCH)
    LineFile(path, remedy="").append(LINES[1])
    with pytest.raises(EventError, match=r"journal\.jsonl, line 4: found epoch 1 of initial -> .*, expected 2"):
        open_journal(path, {"graph": "basic"}, graph=GRAPH)
