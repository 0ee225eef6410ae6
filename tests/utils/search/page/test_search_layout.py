"""The layout of a search graph: no overlaps, no line through a state, labels on their lines, the path as planned."""

import contextlib
import functools
import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path as File
from typing import Any, NamedTuple

import numpy as np
import pytest

from tests.conftest import ROOT
from utils.config import RunConfig, load_config
from utils.planning.graph import INITIAL, GraphError, State, Transition
from utils.planning.search import Outcome, Path, Plan, search
from utils.search.events import Decision, EpochScore, FinalScore, History, make_rule
from utils.search.page.geometry import Box, Point, arrow_head, point_at, round_line
from utils.search.page.layout import COMPACT, WIDE, Drawing, Sizes, lay_out
from utils.search.result import SearchResult, Subject, build_result, describe_selection
from utils.training.epoch_lines import EpochTraining

SMALL = "record/search-synthetic-dg-p3d-resnet18.yml"
LARGE = "record/search-kinetics-dg-p3d-resnet50.yml"
# Fixed here, so that the expected values do not depend on the record.
RULES = ("search.attempt_epochs=3", "search.max_epochs=8", "search.heldout_fraction=0.2", "search.heldout_seed=0")
Curve = Callable[[Transition, float, int], float]
Case = dict[str, Any]


class Stopped(Exception):
    """Stands for the kill of a simulated search."""


class Journal(NamedTuple):
    """The output of a simulated search: its record, its events and, if finished, its plan."""

    config: RunConfig
    history: History
    plan: Plan | None

    def result(self) -> SearchResult:
        """Return the result of the search."""
        selection = describe_selection(self.config, training_videos=480, scoring_videos=120, groups=None)
        subject = Subject(
            "dg_p3d_resnet18, 2.1 M parameters, random weights", selection, (10**9, 2 * 10**9, 3 * 10**9, 4 * 10**9)
        )
        return build_result(self.config, self.history, plan=self.plan, subject=subject)


def rising(transition: Transition, start: float, epoch: int) -> float:
    """Return noisy scores that level off, then overfit; longer clips and lower rates lead higher."""
    state = transition.end
    top = 55 + 9 * state.input + 8 * min(state.level, 2)
    rng = np.random.default_rng([state.input, state.level, max(transition.start.input, 0), epoch])
    gain = max(top - start, 0.5) * (1 - math.exp(-0.55 * epoch))
    return start + gain - 0.004 * epoch**2 * (state.level + 1) + 0.5 * rng.standard_normal() * (epoch > 0)


def falling(_transition: Transition, start: float, epoch: int) -> float:
    """Return scores that only fall."""
    return start - 0.7 * epoch


def diverging(transition: Transition, start: float, epoch: int) -> float:
    """Return `rising` scores, but two transitions diverge, one of them on the path."""
    has_diverged = {State(1, 0): epoch >= 2 and transition.start != INITIAL, State(2, 0): epoch == 6}
    return math.nan if has_diverged.get(transition.end) else rising(transition, start, epoch)


def all_diverged(transition: Transition, start: float, epoch: int) -> float:
    """Return NaN after the first epoch, and for all transitions that do not start at the initial state."""
    return math.nan if epoch or transition.start != INITIAL else rising(transition, start, epoch)


def passing(transition: Transition, start: float, epoch: int) -> float:
    """Return `rising` scores, but some states, including the goal, are passed through without training."""
    idle = transition.end in (State(0, 0), State(1, 1), State(2, 2))
    return start - 0.5 * epoch if idle else rising(transition, start, epoch)


def simulate(
    record: str | File = SMALL, *overrides: str, curve: Curve = rising, stop_after: int | None = None
) -> Journal:
    """Run a search whose scores come from a function instead of training.

    Args:
        record: The search record.
        overrides: Changes of it.
        curve: Score of a transition from its start score and the number of epochs; NaN: training diverged.
        stop_after: Number of epochs after which the search is killed; None: it finishes.
    """
    config = load_config(ROOT / record, [*RULES, *overrides])
    history = History()
    plan: Plan | None = None
    with contextlib.suppress(Stopped):
        plan = search(config.graph, _Simulation(config, history, curve, stop_after))
    if plan and plan.trained_steps:
        history.add(FinalScore(config.dataset.eva_list_file, 81.25, 95.5, 98.75, 91.8333, videos=180, missing=1))
    return Journal(config, history, plan)


class _Simulation:
    """`explore` of a search, and the journal it writes."""

    def __init__(self, config: RunConfig, history: History, curve: Curve, stop_after: int | None) -> None:
        self.config, self.history, self.curve, self.stop_after = config, history, curve, stop_after
        self.epochs = 0

    def __call__(self, transition: Transition, path: Path) -> Outcome:
        start = path[-1].outcome.score if path else 0.0
        scores: list[float] = []
        while not scores or (verdict := make_rule(self.config).judge(scores)) is None:
            if scores and self.epochs == self.stop_after:
                raise Stopped
            epoch = len(scores)
            self.epochs += epoch > 0
            scores.append(0.0 if transition.start == INITIAL and not epoch else self.curve(transition, start, epoch))
            self._note(transition, epoch, scores[-1])
        self.history.add(Decision(transition, verdict.kind, verdict.epoch, verdict.value))
        return Outcome(verdict.value, verdict.epoch)

    def _note(self, transition: Transition, epoch: int, score: float) -> None:
        frames = self.config.search.inputs[transition.end.input].num_frames
        training = EpochTraining(1.0, 0.1, "float32", 9.0, 0.0, frames, 0)
        point = EpochScore(transition, epoch, score, scored_clips=120, scoring_seconds=1.5)
        trained = replace(point, clips=480, seconds=0.25 * frames, training=training)
        self.history.add(trained if epoch else point)


_LONG = [
    "initial -> (0,0)", "initial -> (2,0)", "initial -> (1,2)", "(0,0) -> (1,0)", "(0,0) -> (2,0)", "(0,0) -> (0,2)",
    "(0,0) -> (2,2)", "(1,0) -> (1,2)", "(2,0) -> (0,2)", "(0,2) -> (1,1)", "(1,1) -> (2,2)", "(1,2) -> (2,2)",
    "(0,2) -> (2,2)", "(1,0) -> (2,2)",
]  # fmt: skip
_FOUR_INPUTS = (
    "search.inputs=[{clip_length: 8, num_steps: 1}, {num_segments: 4, clip_length: 8, num_steps: 2}, "
    "{num_segments: 8, clip_length: 16, num_steps: 2}, {num_segments: 16, clip_length: 16, num_steps: 4}]"
)
# One fit per transition, for cases in which only the shape of the graph matters.
_SHORT = ("search.attempt_epochs=3", "search.max_epochs=3")
CASES: dict[str, Case] = {
    "finished": {},
    "basic": {"overrides": [*_SHORT, "search.graph=basic"]},
    "large": {"record": LARGE, "overrides": _SHORT},
    "running": {"stop_after": 43},
    "first": {"stop_after": 0},
    "diverging": {"curve": diverging},
    "diverging, running": {"curve": diverging, "stop_after": 60},
    "all diverged": {"curve": all_diverged},
    "passing": {"curve": passing},
    "falling": {"curve": falling},
    "eval_list": {"overrides": ["search.selection=eval_list", "search.metric=top1"]},
    "long edges": {"overrides": [*_SHORT, f"search.graph={_LONG}"]},
    "1 x 1": {"overrides": ["search.inputs=[{clip_length: 8}]", "search.lr_factors=[1.0]"]},
    "4 x 4": {"overrides": [*_SHORT, _FOUR_INPUTS, "search.lr_factors=[1.0, 0.1, 0.01, 0.00123]"]},
}
FINISHED = [name for name, case in CASES.items() if "stop_after" not in case]


@functools.cache
def journal_of(case: str) -> Journal:
    """Return the journal of a case."""
    settings = dict(CASES[case])
    with contextlib.chdir(ROOT):
        return simulate(settings.pop("record", SMALL), *settings.pop("overrides", []), **settings)


@functools.cache
def search_of(case: str) -> SearchResult:
    """Return the result of a case."""
    return journal_of(case).result()


@functools.cache
def result_of(case: str) -> dict[str, Any]:
    """Return the result of a case as in search.json."""
    return search_of(case).to_json()


def crosses(a: Point, b: Point, box: Box) -> bool:
    """Return whether the segment from a to b crosses the interior of a box; touching its border does not count."""
    low, high = 0.0, 1.0  # the part of the line that is inside, as fractions of its length
    for start, end, least, most in ((a[0], b[0], box.x, box.right), (a[1], b[1], box.y, box.bottom)):
        least, most = least + 0.01, most - 0.01
        if start == end:
            if not least < start < most:
                return False
            continue
        first, last = sorted(((least - start) / (end - start), (most - start) / (end - start)))
        low, high = max(low, first), min(high, last)
    return low < high


def is_on_border(point: Point, box: Box) -> bool:
    """Return whether a point is on a side of a box."""
    is_beside = any(math.isclose(point[0], x) for x in (box.x, box.right)) and box.y <= point[1] <= box.bottom
    is_over = any(math.isclose(point[1], y) for y in (box.y, box.bottom)) and box.x <= point[0] <= box.right
    return is_beside or is_over


def assert_drawable(drawing: Drawing) -> None:
    """Assert that nothing in a drawing is hidden or outside of it."""
    boxes = {node.name: node.box for node in drawing.nodes}
    for one, other in itertools.combinations(boxes.values(), 2):
        assert not one.overlaps(other)
    for box in [*boxes.values(), *(edge.label_box for edge in drawing.edges)]:
        assert box.x >= 0 and box.y >= 0 and box.right <= drawing.width and box.bottom <= drawing.height
    for edge in drawing.edges:
        start, end = edge.name.split(" -> ")
        assert is_on_border(edge.points[0], boxes[start]), edge.name
        assert is_on_border(edge.points[-1], boxes[end]), edge.name
        for a, b in itertools.pairwise(edge.points):
            hidden = [name for name, box in boxes.items() if crosses(a, b, box)]
            assert not hidden, f"{edge.name} runs through {hidden}"
            assert all(0 <= x <= drawing.width and 0 <= y <= drawing.height for x, y in (a, b))
        assert not any(edge.label_box.overlaps(box) for box in boxes.values()), f"label of {edge.name}"
        places = [point_at(edge.points, k / 500) for k in range(501)]
        assert any(edge.label_box.overlaps(Box(x, y, 1e-9, 1e-9)) for x, y in places), f"label of {edge.name}"


def shared_lines(drawing: Drawing) -> Iterator[tuple[str, str]]:
    """Yield pairs of edges whose lines coincide for more than a pixel."""
    pieces = [(edge.name, a, b) for edge in drawing.edges for a, b in itertools.pairwise(edge.points)]
    for (name, a, b), (other, c, d) in itertools.combinations(pieces, 2):
        for along, across in ((0, 1), (1, 0)):
            is_parallel = a[across] == b[across] and c[across] == d[across] and abs(a[across] - c[across]) < 1
            overlap = min(max(a[along], b[along]), max(c[along], d[along])) - max(
                min(a[along], b[along]), min(c[along], d[along])
            )
            if name != other and is_parallel and overlap > 1:
                yield name, other


@pytest.mark.parametrize("sizes", [WIDE, COMPACT], ids=["wide", "compact"])
@pytest.mark.parametrize("case", CASES)
def test_nothing_is_hidden(case: str, sizes: Sizes) -> None:
    drawing = lay_out(search_of(case), sizes)
    states = [state["state"] for state in result_of(case)["states"]]
    assert [node.name for node in drawing.nodes] == ["initial", *states]
    assert tuple(edge.entry for edge in drawing.edges) == search_of(case).edges
    assert_drawable(drawing)
    assert not list(shared_lines(drawing))
    labels = [edge.label_box for edge in drawing.edges]
    assert not any(one.overlaps(other) for one, other in itertools.combinations(labels, 2))


def covered_lines(drawing: Drawing) -> int:
    """Return how often a label covers the line of another edge."""
    return sum(
        any(crosses(a, b, edge.label_box) for a, b in itertools.pairwise(other.points))
        for edge, other in itertools.permutations(drawing.edges, 2)
    )


def test_labels_are_off_other_lines() -> None:
    """If there is room: always in the released graphs, and mostly where long edges cross."""
    assert [covered_lines(lay_out(search_of(case), WIDE)) for case in ("finished", "basic")] == [0, 0]
    assert covered_lines(lay_out(search_of("long edges"), WIDE)) <= 1


def random_result(seed: int) -> SearchResult:
    """Return the result of a search that has not started, over a random graph with edges of any length."""
    rng = np.random.default_rng(seed)
    columns, rows = (int(size) for size in rng.integers(1, 5, 2))
    states = [State(i, j) for i in range(columns) for j in range(rows)]
    order = [State(*map(int, pair)) for pair in rng.permutation([(s.input, s.level) for s in states])]
    pairs = [(INITIAL, state) for state in order] + list(itertools.combinations(order, 2))
    edges = tuple(f"{start} -> {end}" for start, end in pairs if rng.random() < 0.35)
    config = journal_of("first").config
    inputs, factors = config.search.inputs[:1] * columns, tuple(0.1**k for k in range(rows))
    config = replace(config, search=replace(config.search, inputs=inputs, lr_factors=factors, graph=edges))
    try:
        return Journal(config, History(), None).result()
    except GraphError:
        return random_result(seed + 1000)


@pytest.mark.parametrize("sizes", [WIDE, COMPACT], ids=["wide", "compact"])
@pytest.mark.parametrize("seed", range(60))
def test_nothing_is_hidden_in_any_graph(seed: int, sizes: Sizes) -> None:
    drawing = lay_out(random_result(seed), sizes)
    assert_drawable(drawing)
    assert not list(shared_lines(drawing))


@pytest.mark.parametrize("case", ["finished", "4 x 4", "long edges"])
def test_states_are_on_the_grid(case: str) -> None:
    """Longer inputs are further right, lower rates further down, the initial state above all."""
    boxes = {node.name: node.box for node in lay_out(search_of(case), WIDE).nodes}
    for one, other in itertools.permutations(result_of(case)["states"], 2):
        a, b = boxes[one["state"]], boxes[other["state"]]
        assert (a.x < b.x) == (one["input"] < other["input"])
        assert (a.y < b.y) == (one["level"] < other["level"])
    assert all(boxes["initial"].bottom < box.y for name, box in boxes.items() if name != "initial")


@pytest.mark.parametrize("case", ["finished", "4 x 4", "long edges"])
def test_lines_leave_and_enter_on_the_side_they_come_from(case: str) -> None:
    drawing = lay_out(search_of(case), WIDE)
    middles = {node.name: node.box.x + node.box.width / 2 for node in drawing.nodes}
    for edge in drawing.edges:
        start, end = (middles[name] for name in edge.name.split(" -> "))
        if start != end and len(edge.points) <= 4:
            is_right = end > start
            assert (edge.points[0][0] > start) == is_right and (edge.points[-1][0] < end) == is_right, edge.name


@pytest.mark.parametrize("case", FINISHED)
def test_the_path_is_the_plan(case: str) -> None:
    plan = journal_of(case).plan
    assert plan
    drawing = lay_out(search_of(case), WIDE)
    on_path = {str(step.transition) for step in plan.steps}
    best = {str(path[-1].transition) for state, path in plan.best.items() if state != INITIAL}
    roles = {edge.name: edge.role for edge in drawing.edges}
    for name, role in roles.items():
        assert role == ("path" if name in on_path else "best" if name in best else "lost")
    passed = {"initial", *(str(step.transition.end) for step in plan.steps)}
    assert {node.name for node in drawing.nodes if node.is_on_path} == passed


def test_a_running_search_shows_what_is_known() -> None:
    result = result_of("running")
    drawing = lay_out(search_of("running"), WIDE)
    assert Counter(edge.role for edge in drawing.edges) == {"best": 3, "lost": 2, "running": 1, "waiting": 12}
    assert not any(node.is_on_path for node in drawing.nodes)
    scores = {node.name: node.score for node in drawing.nodes}
    best = max(edge["knee"]["value"] for edge in result["edges"] if edge["end"] == "(1,0)")
    assert scores["(1,0)"] == f"{best:.1f}"
    assert scores["(2,2)"] == "–"
    decided = sum(edge["epochs_trained"] for edge in result["edges"][:2])  # one of two incoming transitions of (1,0)
    with contextlib.chdir(ROOT):
        partly = simulate(stop_after=decided).result()
    (score,) = (node.score for node in lay_out(partly, WIDE).nodes if node.name == "(1,0)")
    assert score == f"≥ {partly.to_json()['edges'][1]['knee']['value']:.1f}"


def test_labels_show_the_knee_and_divergence() -> None:
    edges = {edge.name: edge for edge in lay_out(search_of("diverging"), WIDE).edges}
    assert edges["(0,0) -> (1,0)"].label == "1 epoch ✕"
    assert edges["(1,0) -> (2,0)"].label == "4 epochs ✕"
    assert edges["initial -> (1,0)"].label == "8 epochs"
    assert {edge.label for edge in lay_out(search_of("falling"), COMPACT).edges} == {"0"}


def test_states_say_that_they_are_passed_through() -> None:
    tags = {node.name: node.tag for node in lay_out(search_of("passing"), WIDE).nodes}
    skipped = result_of("passing")["skipped_states"]
    assert "(2,2)" in skipped and len(skipped) > 1
    assert {name for name, tag in tags.items() if tag} == set(skipped)
    assert tags["(2,2)"] == "goal, 0 epochs"
    assert {tags[name] for name in skipped if name != "(2,2)"} == {"passed through"}


def test_states_are_as_wide_as_their_words() -> None:
    plain, wordy = (lay_out(search_of(case), COMPACT).nodes[0].box.width for case in ("finished", "4 x 4"))
    assert plain == COMPACT.node < wordy
    assert 3 * COMPACT.node + 2 * COMPACT.gap_x + 10 <= 390 - 32  # on a phone of 390 pixels, beside the page's margins


def test_a_point_of_a_line() -> None:
    line = ((0.0, 0.0), (30.0, 0.0), (30.0, 0.0), (30.0, 10.0))
    assert point_at(line, 0) == (0, 0)
    assert point_at(line, 0.5) == (20, 0)
    assert point_at(line, 0.875) == (30, 5)
    assert point_at(line, 1) == (30, 10)


def test_round_corners_leave_the_ends_and_never_overlap() -> None:
    line = ((0.0, 0.0), (30.0, 0.0), (30.0, 4.0), (60.0, 4.0))
    # Seven pixels before and after a corner; two corners share the short segment.
    turns = "L23.0 0.0Q30.0 0.0 30.0 2.0L30.0 2.0Q30.0 4.0 37.0 4.0"
    assert round_line(line) == f"M0.0 0.0{turns}L60.0 4.0"
    assert round_line(((1.0, 2.0), (3.0, 4.0))) == "M1.0 2.0L3.0 4.0"


def test_arrow_heads_point_along_the_line() -> None:
    (tip, left, right), stop = arrow_head(((0.0, 0.0), (0.0, 40.0)), width=5)
    assert tip == (0, 40)
    assert {left, right} == {(-5, 32), (5, 32)} and stop == (0, 32)
