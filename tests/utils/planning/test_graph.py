"""The candidate graph: the released graphs, validation, and the released records as paths."""

import itertools
import json
from pathlib import Path

import pytest

from tests.conftest import ROOT
from utils.config import load_config
from utils.planning.graph import INITIAL, Graph, GraphError, State, Transition, build_graph

RELEASED = json.loads((ROOT / "tests/data/released_records.json").read_text())
SEARCH_RECORDS = sorted(ROOT.glob("record/search-*.yml"))
# The search record with the search space of each released multi-state record.
SPACES = {
    "op-kinetics-dg-p3d-resnet50": "search-kinetics-dg-p3d-resnet50",
    "op-kinetics-p3d-resnet50": "search-kinetics-dg-p3d-resnet50",
    "op-kinetics-i3d-resnet50": "search-kinetics-dg-p3d-resnet50",
    "op-kinetics-r2p1d-resnet50": "search-kinetics-dg-p3d-resnet50",
    "op-kinetics-lgd-p3d-resnet50": "search-kinetics-dg-p3d-resnet50",
    "op-anet-dg-p3d-resnet50": "search-anet-dg-p3d-resnet50",
    "op-anet-dg-p3d-resnet50-kinetics": "search-anet-dg-p3d-resnet50-kinetics",
    "op-ssv1-dg-p3d-resnet50": "search-ssv1-dg-p3d-resnet50",
    "op-ssv2-dg-p3d-resnet50": "search-ssv2-dg-p3d-resnet50",
    "op-hmdb51-dg-p3d-resnet50": "search-hmdb51-dg-p3d-resnet50",
    "op-hmdb51-dg-p3d-resnet50-kinetics": "search-hmdb51-dg-p3d-resnet50-kinetics",
    "op-ucf101-dg-p3d-resnet50": "search-ucf101-dg-p3d-resnet50",
    "op-ucf101-dg-p3d-resnet50-kinetics": "search-ucf101-dg-p3d-resnet50-kinetics",
}


@pytest.fixture(autouse=True)
def _in_project_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


@pytest.mark.parametrize(("kind", "edges"), [("basic", 14), ("extended", 18)])
def test_released_graphs_have_their_size(kind: str, edges: int) -> None:
    graph = build_graph(kind, num_inputs=3, num_levels=3)
    assert len(graph.transitions) == edges
    assert len(graph.states) == 9
    assert graph.goal == State(2, 2)
    assert [t.end for t in graph.outgoing(INITIAL)] == [State(0, 0), State(1, 0)]
    assert graph.dead_ends == ()


def test_only_the_extended_graph_goes_back_to_shorter_inputs() -> None:
    basic, extended = (set(build_graph(k, num_inputs=3, num_levels=3).transitions) for k in ("basic", "extended"))
    assert basic < extended
    back = {(t.start.input - t.end.input, t.end.level - t.start.level) for t in extended - basic}
    assert back == {(1, 1)}


@pytest.mark.parametrize("kind", ["basic", "extended"])
@pytest.mark.parametrize("size", list(itertools.product(range(1, 5), range(1, 5))), ids=str)
def test_states_are_in_topological_order(kind: str, size: tuple[int, int]) -> None:
    graph = build_graph(kind, num_inputs=size[0], num_levels=size[1])
    place = {INITIAL: -1} | {state: number for number, state in enumerate(graph.states)}
    assert len(place) == size[0] * size[1] + 1
    assert all(place[t.start] < place[t.end] for t in graph.transitions)
    assert sorted(graph.exploration_order, key=str) == sorted(graph.transitions, key=str)


def test_explicit_transitions_are_read() -> None:
    graph = build_graph(["initial -> (0,0)", " (0, 0)->1,0", "initial -> (1,0)"], num_inputs=2, num_levels=1)
    assert [str(t) for t in graph.transitions] == ["initial -> (0,0)", "(0,0) -> (1,0)", "initial -> (1,0)"]
    assert graph.states == (State(0, 0), State(1, 0))


def test_a_configuration_builds_its_graph_once() -> None:
    config = load_config(SEARCH_RECORDS[0])
    assert config.graph is config.graph
    assert config.graph.exploration_order is config.graph.exploration_order


def test_dead_ends_are_named_but_allowed() -> None:
    graph = build_graph(["initial -> (0,0)", "initial -> (1,0)"], num_inputs=2, num_levels=1)
    assert graph.dead_ends == (State(0, 0),)


@pytest.mark.parametrize(
    ("edges", "message"),
    [
        (["initial -> (0,0)", "(0,0) -> (1,1)", "initial -> (0,0)"], r"initial -> \(0,0\) is given twice"),
        (["initial -> (0,0)", "(0,0) -> (0,1)"], r"no transition leads to the goal \(1,1\)"),
        (["initial -> (0,0)", "(0,1) -> (1,1)"], r"no path from initial reaches \(0,1\), \(1,1\)"),
        (["initial -> (1,1)", "(1,1) -> (0,0)", "(0,0) -> (1,1)"], r"form a cycle through \(0,0\), \(1,1\)"),
        (["initial -> (1,1)", "(1,1) -> (1,1)"], r"form a cycle through \(1,1\)"),
        (["initial -> (1,1)", "(1,1) -> initial"], "leads back to the initial state"),
        (["initial -> (1,2)"], r"there is no state \(1,2\); inputs are 0..1, learning rates 0..1"),
        (["initial -> 1.1"], r"found '1.1', expected initial or \(input,level\)"),
        (["begin -> (1,1)"], "found 'begin', expected initial"),
        (["extendet"], "found 'extendet', expected basic, extended or a list"),
        ([], r"no transition leads to the goal"),
    ],
)
def test_graphs_that_cannot_be_searched_are_refused(edges: list[str], message: str) -> None:
    with pytest.raises(GraphError, match=message):
        build_graph(edges, num_inputs=2, num_levels=2)


def test_every_data_set_of_the_released_records_has_a_search_record() -> None:
    assert set(SPACES) == {Path(name).stem for name in RELEASED if Path(name).stem.startswith("op-")}
    for released, space in SPACES.items():
        path, search = load_config(f"record/{released}.yml"), load_config(f"record/{space}.yml")
        assert len(search.graph.transitions) == {3: 18, 2: 11}[len(search.search.inputs)]
        # Something-Something's paths have 4 and 8 segments, and end in what they are evaluated with.
        seen = {(state.num_segments, state.clip_length, state.num_steps) for state in path.states}
        assert len(search.search.inputs) == 3 or len(seen) == 2
        assert search.sampler == path.sampler


@pytest.mark.parametrize(("released", "space"), SPACES.items(), ids=list(SPACES))
def test_released_records_are_paths_of_the_released_graph(released: str, space: str) -> None:
    """A record omits states of 0 epochs, so its states must be a subsequence of a path of the graph."""
    record, search = load_config(f"record/{released}.yml"), load_config(f"record/{space}.yml")
    states = []
    for setting in record.states:
        fitting = [s for s in search.graph.states if search.state_config(s, epochs=setting.epochs) == setting]
        assert len(fitting) == 1, f"no single state of {space} is {setting}"
        states += fitting
    paths = [path for path in all_paths(search.graph) if is_within(states, path)]
    assert paths
    assert search.base == record.base
    assert search.network.pretrained_model == record.network.pretrained_model


def all_paths(graph: Graph) -> list[list[State]]:
    def extend(path: list[State]) -> list[list[State]]:
        if path[-1] == graph.goal:
            return [path]
        return [longer for t in graph.outgoing(path[-1]) for longer in extend([*path, t.end])]

    return extend([INITIAL])


def is_within(states: list[State], path: list[State]) -> bool:
    rest = iter(path)
    return all(state in rest for state in states)


def test_the_path_check_can_fail() -> None:
    paths = all_paths(build_graph("basic", num_inputs=3, num_levels=3))
    assert any(is_within([State(0, 0), State(2, 1)], path) for path in paths)
    assert not any(is_within([State(1, 0), State(0, 1)], path) for path in paths)
    assert Transition(State(1, 0), State(0, 1)) not in build_graph("basic", num_inputs=3, num_levels=3).transitions
