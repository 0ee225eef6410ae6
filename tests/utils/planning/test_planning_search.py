"""The search against brute force over all paths of small graphs, with simulated and with recorded outcomes."""

import itertools
import math

import numpy as np
import pytest

from tests.utils.planning.test_graph import all_paths
from utils.planning.graph import INITIAL, Graph, State, Transition, build_graph
from utils.planning.search import Outcome, Path, ready, search

GRAPHS = {
    "basic 3x3": build_graph("basic", num_inputs=3, num_levels=3),
    "extended 3x3": build_graph("extended", num_inputs=3, num_levels=3),
    "extended 2x3": build_graph("extended", num_inputs=2, num_levels=3),
    "one state": build_graph("basic", num_inputs=1, num_levels=1),
    "long edges": build_graph(
        [
            "initial -> (2,0)",
            "initial -> (0,0)",
            "(0,0) -> (2,2)",
            "(2,0) -> (0,0)",
            "(2,0) -> (2,2)",
            "(0,0) -> (1,1)",
        ],
        num_inputs=3,
        num_levels=3,
    ),
}


class Simulated:
    """Outcomes that depend only on the start state's score, by a linear function of each transition's own."""

    def __init__(self, graph: Graph, seed: int, *, monotone: bool) -> None:
        rng = np.random.default_rng(seed)
        self.gains = {t: rng.uniform(0, 10) for t in graph.transitions}
        self.slopes = {t: rng.uniform(0.5, 1.0) * (1 if monotone else rng.choice([-1, 1])) for t in graph.transitions}
        self.calls: list[Transition] = []

    def score(self, transition: Transition, start: float) -> float:
        return self.gains[transition] + self.slopes[transition] * start

    def __call__(self, transition: Transition, path: Path) -> Outcome:
        self.calls.append(transition)
        start = path[-1].outcome.score if path else 0.0
        return Outcome(self.score(transition, start), epochs=1 + len(path), weights=(transition, len(path)))

    def brute_force(self, graph: Graph) -> dict[tuple[State, ...], float]:
        scores = {}
        for states in all_paths(graph):
            score = 0.0
            for start, end in itertools.pairwise(states):
                score = self.score(Transition(start, end), score)
            scores[tuple(states)] = score
        return scores


@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize("seed", range(20))
def test_the_plan_is_the_best_of_all_paths_when_better_starts_end_better(name: str, seed: int) -> None:
    graph, explore = GRAPHS[name], Simulated(GRAPHS[name], seed, monotone=True)
    plan = search(graph, explore)
    scores = explore.brute_force(graph)
    best = max(scores, key=scores.__getitem__)
    assert plan.score == pytest.approx(scores[best])
    assert (INITIAL, *(step.transition.end for step in plan.steps)) == best
    assert explore.calls == list(graph.exploration_order)


def test_it_is_greedy_where_a_worse_start_ends_better() -> None:
    """The limit that the module docstring states: for such outcomes the plan is not the best of all paths."""
    graph, missed = GRAPHS["extended 3x3"], 0
    for seed in range(30):
        explore = Simulated(graph, seed, monotone=False)
        plan, scores = search(graph, explore), explore.brute_force(graph)
        assert plan.score <= max(scores.values()) + 1e-9
        assert plan.score == pytest.approx(scores[(INITIAL, *(step.transition.end for step in plan.steps))])
        missed += plan.score < max(scores.values()) - 1e-9
    assert missed > 0


@pytest.mark.parametrize("name", GRAPHS)
def test_recorded_outcomes_are_planned_as_all_paths_say(name: str) -> None:
    """Scores from a table, independent of the start: the best path enters each state by its best transition."""
    graph = GRAPHS[name]
    rng = np.random.default_rng(8)
    table = {
        transition: float(score) for transition, score in zip(graph.transitions, rng.permutation(100), strict=False)
    }
    plan = search(graph, lambda transition, path: Outcome(table[transition], epochs=2))
    for state in graph.states:
        best = max(graph.incoming(state), key=table.__getitem__)
        assert plan.best[state][-1].transition == best
        assert plan.best[state][:-1] == plan.best[best.start]
    ends = [tuple(states) for states in all_paths(graph)]
    entering = {path: [table[Transition(a, b)] for a, b in itertools.pairwise(path)][::-1] for path in ends}
    assert (INITIAL, *(step.transition.end for step in plan.steps)) == max(ends, key=entering.__getitem__)


def test_states_arrive_in_topological_order_with_their_best_path() -> None:
    graph, explore = GRAPHS["extended 3x3"], Simulated(GRAPHS["extended 3x3"], 0, monotone=True)
    arrived: list[tuple[State, Path]] = []
    plan = search(graph, explore, arrive=lambda state, path: arrived.append((state, path)))
    assert [state for state, _ in arrived] == list(graph.states)
    assert {INITIAL: (), **dict(arrived)} == plan.best
    for state, path in arrived:
        assert path[-1].transition.end == state
        assert path[0].transition.start == INITIAL
        assert path[-1].outcome.weights == (path[-1].transition, len(path) - 1)


def test_equal_scores_keep_the_first_and_nan_loses() -> None:
    graph = build_graph("basic", num_inputs=2, num_levels=1)
    first = search(graph, lambda transition, path: Outcome(5.0, 1))
    assert first.steps[-1].transition == graph.incoming(graph.goal)[0]

    def diverged_first(transition: Transition, _path: Path) -> Outcome:
        return Outcome(math.nan if transition == graph.incoming(graph.goal)[0] else -math.inf, 1)

    assert search(graph, diverged_first).steps[-1].transition == graph.incoming(graph.goal)[0]
    values = {graph.incoming(graph.goal)[0]: math.nan}
    plan = search(graph, lambda transition, path: Outcome(values.get(transition, 0.0), 1))
    assert plan.steps[-1].transition == graph.incoming(graph.goal)[1]


def test_states_without_epochs_are_steps_but_not_trained() -> None:
    graph = build_graph("basic", num_inputs=1, num_levels=3)
    plan = search(graph, lambda transition, path: Outcome(50.0, epochs=0 if len(path) == 1 else 4))
    assert [step.outcome.epochs for step in plan.steps] == [4, 0, 4]
    assert [step.transition.end for step in plan.trained_steps] == [State(0, 0), State(0, 2)]


@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize("workers", [1, 2, 5])
def test_transitions_that_are_ready_lead_to_the_same_outcomes_in_any_order(name: str, workers: int) -> None:
    """Explored in random order as they become ready, each from the path that `search` gives it."""
    graph, rng = GRAPHS[name], np.random.default_rng(workers)
    explore = Simulated(graph, seed=3, monotone=False)
    plan = search(graph, explore)
    paths = {transition: plan.best[transition.start] for transition in graph.transitions}
    outcomes: dict[Transition, Outcome] = {}
    while waiting := ready(graph, lambda transition, _path: outcomes.get(transition)):
        order = [graph.exploration_order.index(transition) for transition, _ in waiting]
        assert order == sorted(order)
        for number in rng.permutation(min(workers, len(waiting)))[: rng.integers(1, workers + 1)]:
            transition, path = waiting[number]
            assert path == paths[transition]
            outcomes[transition] = explore(transition, path)
    assert outcomes == plan.outcomes
