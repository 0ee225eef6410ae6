"""Dynamic programming over the candidate graph (paper, section 3.3).

Every transition is explored once, states in topological order; a state keeps the best path to it; the plan is read
back from the goal. A transition is explored from the weights that its start state has kept.

What this is not: a search over all paths. The outcome of a transition depends on the weights it starts from, and a
state hands on only those of its best path. The plan is the best of all paths when a better start never makes a worse
end, that is when every transition's score is a non-decreasing function of its start state's score. Where a worse start
would lead to a better end the search does not see it: it is exact in the graph and greedy in the weights.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from utils.planning.graph import INITIAL, Graph, State, Transition


@dataclass(frozen=True)
class Outcome:
    """What exploring a transition gave.

    Attributes:
        score: The fitted score at the knee, higher is better; NaN counts as worse than any other.
        epochs: The knee; 0: the start weights stay.
        weights: Where the weights of the knee are; the search only hands it on.
    """

    score: float
    epochs: int
    weights: Any = None


@dataclass(frozen=True)
class Step:
    """A transition that has been taken, and its outcome."""

    transition: Transition
    outcome: Outcome


Path = tuple[Step, ...]
Explore = Callable[[Transition, Path], Outcome]


@dataclass(frozen=True)
class Plan:
    """The best path found.

    Attributes:
        steps: Every transition from the initial state to the goal, those of 0 epochs included.
        best: For each state the best path to it, from the initial state on.
        outcomes: Every transition's outcome.
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
        """The steps that a record of the path trains: those with epochs."""
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
        arrive: Called with each state and its best path as soon as all its incoming transitions are explored: the
            weights of the others are not needed any more.

    Returns:
        The plan. Of equal scores the transition that comes first in the graph wins.
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
    """Return the transitions that can be explored at the same time, each with the best path to its start state.

    Args:
        graph: The candidate graph.
        look_up: Returns the outcome of a transition from a path, None where it is not known yet.

    Returns:
        Those without an outcome whose start state has all its incoming transitions explored, in `exploration_order`.
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
