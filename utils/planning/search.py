"""Dynamic programming over the candidate graph (paper, section 3.3).

Each transition is explored once, from the weights that its start state has kept, with states in topological order. A
state keeps the best path to it, and the plan is the best path to the goal.

This is not a search over all paths: the outcome of a transition depends on the weights it starts from, and a state
passes on only those of its best path. The plan is optimal over all paths if a better start never leads to a worse end,
that is, if each transition's score is a non-decreasing function of its start state's score. A worse start that would
lead to a better end is missed: the search is exact in the graph and greedy in the weights.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from utils.planning.graph import INITIAL, Graph, State, Transition


@dataclass(frozen=True)
class Outcome:
    """The result of exploring a transition.

    Attributes:
        score: The fitted score at the knee, higher is better; NaN counts as worse than any other.
        epochs: The knee; 0: the start weights are kept.
        weights: Where the weights of the knee are; opaque to the search.
    """

    score: float
    epochs: int
    weights: Any = None


@dataclass(frozen=True)
class Step:
    """A transition on a path, and its outcome."""

    transition: Transition
    outcome: Outcome


Path = tuple[Step, ...]
Explore = Callable[[Transition, Path], Outcome]


@dataclass(frozen=True)
class Plan:
    """The result of a search.

    Attributes:
        steps: The best path from the initial state to the goal, transitions of 0 epochs included.
        best: The best path from the initial state to each state.
        outcomes: The outcome of each transition.
    """

    steps: Path
    best: dict[State, Path]
    outcomes: dict[Transition, Outcome]

    @property
    def score(self) -> float:
        """The score of the goal."""
        return self.steps[-1].outcome.score

    @property
    def trained_steps(self) -> Path:
        """The steps that train at least one epoch, which a record of the path lists."""
        return trained(self.steps)


def trained(path: Path) -> Path:
    """Return the steps of a path that train at least one epoch."""
    return tuple(step for step in path if step.outcome.epochs > 0)


def search(graph: Graph, explore: Explore, *, arrive: Callable[[State, Path], None] | None = None) -> Plan:
    """Find the best path of a graph.

    Args:
        graph: The candidate graph.
        explore: Called once for each transition, in `graph.exploration_order`, with the transition and the best path
            to its start state (empty for the initial state). It trains, or looks up, and returns the outcome.
        arrive: Called with each state and its best path as soon as all its incoming transitions are explored; the
            weights of its other incoming transitions are no longer needed then.

    Returns:
        The plan. Among equal scores the transition that comes first in the graph wins.
    """
    best: dict[State, Path] = {INITIAL: ()}
    outcomes: dict[Transition, Outcome] = {}
    for state in graph.states:
        for transition in graph.incoming(state):
            outcomes[transition] = explore(transition, best[transition.start])
        best[state] = _best_path(graph, state, best, outcomes)
        if arrive is not None:
            arrive(state, best[state])
    return Plan(best[graph.goal], best, outcomes)


def ready(graph: Graph, look_up: Callable[[Transition, Path], Outcome | None]) -> list[tuple[Transition, Path]]:
    """Return the transitions that can be explored in parallel, each with the best path to its start state.

    Args:
        graph: The candidate graph.
        look_up: Returns the outcome of a transition from a path, None if it is not known yet.

    Returns:
        The transitions without an outcome whose start state has all its incoming transitions explored, in
        `exploration_order`.
    """
    best: dict[State, Path] = {INITIAL: ()}
    outcomes: dict[Transition, Outcome] = {}
    waiting = []
    for state in graph.states:
        incoming = graph.incoming(state)
        for transition in incoming:
            if transition.start in best:
                outcome = look_up(transition, best[transition.start])
                if outcome is None:
                    waiting.append((transition, best[transition.start]))
                else:
                    outcomes[transition] = outcome
        if all(transition in outcomes for transition in incoming):
            best[state] = _best_path(graph, state, best, outcomes)
    return waiting


def _best_path(graph: Graph, state: State, best: Mapping[State, Path], outcomes: Mapping[Transition, Outcome]) -> Path:
    paths = [(*best[each.start], Step(each, outcomes[each])) for each in graph.incoming(state)]
    return max(paths, key=_final_score)


def _final_score(path: Path) -> float:
    score = path[-1].outcome.score
    return -math.inf if math.isnan(score) else score
