"""The candidate graph: states of training and the transitions a path may take (paper, section 3.1 and figure 3).

A state is a pair (input, level): the indices of one of the record's inputs, short to long, and of one of its learning
rates, high to low. Training starts in the initial state and ends in the goal, the longest input at the lowest rate.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from utils.errors import UserError

BASIC, EXTENDED = "basic", "extended"


class GraphError(UserError):
    """A graph that cannot be searched; the message names the transition or state."""


@dataclass(frozen=True, order=True)
class State:
    """A training setting: index of the input (0 is the shortest) and of the learning rate (0 is the highest)."""

    input: int
    level: int

    def __str__(self) -> str:
        """Return '(input,level)' or 'initial'."""
        return "initial" if self == INITIAL else f"({self.input},{self.level})"


INITIAL = State(-1, -1)  # before any training: random or pretrained weights


@dataclass(frozen=True)
class Transition:
    """An edge of the graph: training at the setting of `end`, from the weights of `start`."""

    start: State
    end: State

    def __str__(self) -> str:
        """Return 'start -> end'."""
        return f"{self.start} -> {self.end}"


@dataclass(frozen=True)
class Graph:
    """A validated candidate graph.

    Attributes:
        transitions: All edges; those into one state are explored in this order.
        goal: The state in which every path ends.

    Raises:
        GraphError: A transition is given twice, there is a cycle, or a state or the goal cannot be reached.
    """

    transitions: tuple[Transition, ...]
    goal: State

    def __post_init__(self) -> None:
        """Validate the graph."""
        seen: set[Transition] = set()
        for transition in self.transitions:
            if transition in seen:
                raise GraphError(f"transition {transition} is given twice")
            if transition.end == INITIAL:
                raise GraphError(f"transition {transition} leads back to the initial state")
            seen.add(transition)
        if self.goal not in self._mentioned:
            raise GraphError(f"no transition leads to the goal {self.goal}, the longest input at the lowest rate")
        if unreachable := self._mentioned - self._reachable:
            raise GraphError(f"no path from initial reaches {', '.join(map(str, sorted(unreachable)))}")
        if len(self.states) < len(self._mentioned):
            cyclic = sorted(self._mentioned - set(self.states))
            raise GraphError(f"the transitions form a cycle through {', '.join(map(str, cyclic))}")

    @property
    def _mentioned(self) -> set[State]:
        """All states but the initial one that are an end of some transition."""
        return {state for transition in self.transitions for state in (transition.start, transition.end)} - {INITIAL}

    @property
    def _reachable(self) -> set[State]:
        found, frontier = {INITIAL}, [INITIAL]
        while frontier:
            start = frontier.pop()
            ends = {transition.end for transition in self.transitions if transition.start == start} - found
            found |= ends
            frontier += ends
        return found

    @cached_property
    def states(self) -> tuple[State, ...]:
        """All states but the initial one in topological order; ties go to the shortest input, then the highest rate."""
        order: list[State] = []
        waiting = self._mentioned
        while waiting:
            ready = [s for s in waiting if all(t.start not in waiting for t in self.incoming(s))]
            if not ready:
                break  # the remaining states are in or behind a cycle
            order.append(min(ready))
            waiting.discard(order[-1])
        return tuple(order)

    def incoming(self, state: State) -> tuple[Transition, ...]:
        """Return the transitions into a state, in the graph's order."""
        return tuple(transition for transition in self.transitions if transition.end == state)

    def outgoing(self, state: State) -> tuple[Transition, ...]:
        """Return the transitions out of a state, in the graph's order."""
        return tuple(transition for transition in self.transitions if transition.start == state)

    @cached_property
    def exploration_order(self) -> tuple[Transition, ...]:
        """All transitions in the order of exploration."""
        return tuple(transition for state in self.states for transition in self.incoming(state))

    @cached_property
    def dead_ends(self) -> tuple[State, ...]:
        """States from which the goal cannot be reached; exploring them is wasted."""
        leading = {self.goal}
        for state in reversed(self.states):
            if any(transition.end in leading for transition in self.outgoing(state)):
                leading.add(state)
        return tuple(state for state in self.states if state not in leading)


def basic_transitions(num_inputs: int, num_levels: int) -> list[Transition]:
    """Return the edges of the basic graph: start on one of the two shortest inputs, then lengthen it or lower the rate.

    initial -> (0,0) and (1,0); (i,j) -> (i+1,j) and (i,j+1). With 3 inputs x 3 levels: 14 edges over 9 states.
    """
    transitions = [Transition(INITIAL, State(i, 0)) for i in range(min(2, num_inputs))]
    for i in range(num_inputs):
        for j in range(num_levels):
            ends = [State(i + 1, j)] if i + 1 < num_inputs else []
            ends += [State(i, j + 1)] if j + 1 < num_levels else []
            transitions += [Transition(State(i, j), end) for end in ends]
    return transitions


def extended_transitions(num_inputs: int, num_levels: int) -> list[Transition]:
    """Return the basic edges plus those that shorten the input while lowering the rate: (i,j) -> (i-1,j+1).

    With 3 inputs x 3 levels: 18 edges over 9 states.
    """
    back = [Transition(State(i, j), State(i - 1, j + 1)) for i in range(1, num_inputs) for j in range(num_levels - 1)]
    return basic_transitions(num_inputs, num_levels) + back


def build_graph(kind: str | Sequence[str], *, num_inputs: int, num_levels: int) -> Graph:
    """Return the graph of a record.

    Args:
        kind: "basic", "extended" or explicit edges such as "initial -> (0,0)" and "(0,0) -> (1,0)".
        num_inputs: Number of inputs of the record.
        num_levels: Number of learning rates.

    Raises:
        GraphError: There is no such graph, an edge cannot be parsed, or the graph cannot be searched.
    """
    words = [kind] if isinstance(kind, str) else list(kind)
    if words == [BASIC]:
        transitions = basic_transitions(num_inputs, num_levels)
    elif words == [EXTENDED]:
        transitions = extended_transitions(num_inputs, num_levels)
    else:
        transitions = [_parse_transition(word, num_inputs=num_inputs, num_levels=num_levels) for word in words]
    return Graph(tuple(transitions), goal=State(num_inputs - 1, num_levels - 1))


def _parse_transition(word: str, *, num_inputs: int, num_levels: int) -> Transition:
    ends = word.split("->")
    if len(ends) != 2:
        raise GraphError(
            f"found '{word}', expected basic, extended or a list of transitions such as 'initial -> (0,0)'"
        )
    start, end = (_parse_state(text, word) for text in ends)
    for state in (start, end):
        if state != INITIAL and not (state.input < num_inputs and state.level < num_levels):
            raise GraphError(
                f"transition '{word}': there is no state {state}; inputs are 0..{num_inputs - 1}, "
                f"learning rates 0..{num_levels - 1}"
            )
    return Transition(start, end)


def _parse_state(text: str, word: str) -> State:
    if text.strip() == "initial":
        return INITIAL
    found = re.fullmatch(r"\(?\s*(\d+)\s*,\s*(\d+)\s*\)?", text.strip())
    if found is None:
        raise GraphError(f"transition '{word}': found '{text.strip()}', expected initial or (input,level) as in (0,2)")
    return State(int(found[1]), int(found[2]))
