"""The progress messages of a search, from journals with a known outcome, and the record that it writes."""

import functools
import math
from dataclasses import replace
from typing import Any

import pytest
import yaml

from tests.conftest import ROOT
from utils.config import RunConfig, load_config
from utils.config.record import render_record
from utils.metrics import ValidationScore
from utils.planning.graph import INITIAL, Transition
from utils.planning.search import Outcome, Path, search
from utils.search.cost import describe_cost
from utils.search.events import Decision, EpochScore, Event, History, make_rule
from utils.search.progress import describe_epoch, estimate_remaining
from utils.training.epoch_lines import EpochTraining

SECONDS_A_FRAME = 0.25


@pytest.fixture
def config(monkeypatch: pytest.MonkeyPatch) -> RunConfig:
    monkeypatch.chdir(ROOT)
    rule = ["search.attempt_epochs=3", "search.max_epochs=6"]
    return load_config("record/search-synthetic-dg-p3d-resnet18.yml", rule)


@functools.cache
def simulate(config: RunConfig, curve: Any) -> list[Event]:
    """Return the events of a whole search in which transition number n has the scores curve(n, epoch)."""
    events: list[Event] = []
    order, rule = config.graph.exploration_order, make_rule(config)

    def explore(transition: Transition, _: Path) -> Outcome:
        number, scores = order.index(transition), list[float]()
        while True:
            epoch = len(scores)
            scores.append(0.0 if transition.start == INITIAL and epoch == 0 else curve(number, epoch))
            events.append(point(config, transition, epoch, scores[-1]))
            if verdict := rule.judge(scores):
                events.append(Decision(transition, verdict.kind, verdict.epoch, verdict.value))
                return Outcome(verdict.value, verdict.epoch)

    search(config.graph, explore)
    return events


def point(config: RunConfig, transition: Transition, epoch: int, score: float) -> EpochScore:
    """Return a point of a curve as training writes it."""
    frames = config.search.inputs[transition.end.input].num_frames
    validation = ValidationScore(50.0, 60.0, 70.0, 60.0, videos=120, missing=0)
    training = EpochTraining(1.0, 0.1, "float32", 9.0, 0.0, frames, 0)
    made = EpochScore(transition, epoch, score, clips=480, validation=validation)
    return replace(made, seconds=SECONDS_A_FRAME * frames, training=training) if epoch else made


def noisy(number: int, epoch: int) -> float:
    rate = (0.4, 3.0, 0.0)[number % 3]
    return 60 - 40 * math.exp(-rate * epoch) - 0.5 * epoch + math.sin(7 * number + 3 * epoch)


def test_the_remaining_work_is_always_in_the_estimated_range(config: RunConfig) -> None:
    events = simulate(config, noisy)
    epochs = History(events).epochs()
    assert {decision.verdict for decision in History(events).decisions.values()} == {"settled", "capped", "hopeless"}
    for count in range(0, len(events) + 1, 5):
        history = History(events[:count])
        done, left = len(history.epochs()), estimate_remaining(config, history)
        assert left.epochs[0] <= len(epochs) - done <= left.epochs[1], f"after {count} events"
        if done > 12:  # two inputs have been trained: the third is assumed to cost as much per frame, and here it does
            seconds = sum(point.seconds for point in epochs[done:])
            assert left.seconds[0] - 1e-6 <= seconds <= left.seconds[1] + 1e-6
    assert estimate_remaining(config, History(events)).epochs == (0, 0)
    assert estimate_remaining(config, History()).seconds == (0.0, 0.0)


def test_the_cost_of_an_input_is_proportional_to_its_pixels(config: RunConfig) -> None:
    inputs = (replace(config.search.inputs[0], crop_size=28), replace(config.search.inputs[0], crop_size=56))
    edges = ("initial -> (0,0)", "(0,0) -> (1,0)")
    config = replace(config, search=replace(config.search, inputs=inputs, lr_factors=(1.0,), graph=edges))
    small = config.graph.transitions[0]
    trained = replace(point(config, small, 1, 50.0), seconds=2.0)
    left = estimate_remaining(config, History([EpochScore(small, 0, 0.0), trained, Decision(small, "capped", 1, 50.0)]))
    assert left.epochs == (3, 6)
    assert left.seconds == pytest.approx((3 * 8.0, 6 * 8.0)), "four times the pixels"


def test_an_epoch_is_logged_with_its_knee_and_the_remaining_work(config: RunConfig) -> None:
    first = config.graph.exploration_order[0]
    rising = History(simulate(config, noisy)).curve(first)
    text = describe_epoch(config, History(rising[:3]), transition=first)
    assert text.startswith("  epoch 2/6: loss 1.0000, score")
    assert "left 52-106 epochs" in text  # 1 or 4 more here, 17 transitions of 3 to 6
    assert "min" in text
    text = describe_epoch(config, History([*rising[:2], EpochScore(first, 2, math.nan)]), transition=first)
    assert text == "  epoch 2/6: training diverged"


def test_the_previewed_cost_bounds_that_of_a_search(config: RunConfig) -> None:
    lines = describe_cost(config, clips_per_epoch=[480, 480, 480], scoring_videos=120, weight_bytes=10**8)
    assert lines[0] == "at least 54 epochs (3 a transition), at most 108 (6 a transition)"
    # 18 transitions; point 0 of the two from the initial state is not scored.
    clips = "at least 25,920 training clips and 8,400 scoring clips, at most 51,840 and 14,880"
    assert lines[1] == clips
    assert (54 * 480, (54 + 16) * 120, 108 * 480, (108 + 16) * 120) == (25920, 8400, 51840, 14880)
    for curve in (noisy, lambda number, epoch: 50.0, lambda number, epoch: 5.0 * epoch):
        trained = len(History(simulate(config, curve)).epochs())
        assert 54 <= trained <= 108


@pytest.mark.parametrize(
    "value",
    [1e-05, 4e-05, 0.1, 1e20, 1.0, -0.5, 3, 0, True, "plain", 'qu"oted', "no", "1e-4", "010", "a: b # c", "größer", ""],
)
def test_a_record_reads_back_as_it_was(value: Any) -> None:
    sections = {"optimizer": {"x": value, "y": [value, value], "z": []}, "empty": {}}
    text = render_record(sections, base="base_config/x y.yml", comments=["one", "two: 2"])
    assert text.startswith("# one\n# two: 2\nbase: ")
    found = yaml.safe_load(text)
    assert found == {"base": "base_config/x y.yml", "optimizer": sections["optimizer"]}
    assert type(found["optimizer"]["x"]) is type(value)
    assert "base" not in yaml.safe_load(render_record(sections, base="", comments=[]))
