"""Explore the transitions of a search: the doing of `utils.planning.search`."""

from collections.abc import Callable

from utils.planning.graph import State, Transition
from utils.planning.knee import Verdict
from utils.planning.search import Outcome
from utils.planning.search import Path as Steps
from utils.search.events import Decision, History
from utils.search.journal import SearchJournal
from utils.search.search_log import SearchLog
from utils.search.weights import WeightFolder


class Explorer:
    """`explore` and `arrive` of `utils.planning.search.search`: looks a transition up in the journal, or trains it."""

    def __init__(
        self,
        journal: SearchJournal[History],
        weights: WeightFolder,
        *,
        train: Callable[[Transition, Steps], Verdict],
        log: SearchLog,
    ) -> None:
        """Join the parts of a search; `train` trains a transition from the end of a path until it is decided."""
        self._journal, self._weights, self._train, self._log = journal, weights, train, log
        self._outcomes: dict[Transition, Outcome] = {}
        self._best: dict[State, Steps] = {}

    def __call__(self, transition: Transition, path: Steps) -> Outcome:
        """Return the outcome of a transition from the weights its start state has kept."""
        decision = self._journal.history.decisions.get(transition)
        if decision is None:
            verdict = self._train(transition, path)
            decision = Decision(transition, verdict.kind, verdict.epoch, verdict.value)
            self._journal.append(decision)
            self._log.note_decision(decision)
        weights = self._weights.epoch(transition, decision.epoch) if decision.epoch else self._weights.end(path)
        self._outcomes[transition] = Outcome(decision.value, decision.epoch, weights)
        self._release()
        return self._outcomes[transition]

    def arrive(self, state: State, path: Steps) -> None:
        """Note the best path to a state and remove the weights of the others."""
        self._best[state] = path
        self._release()

    def _release(self) -> None:
        """Remove weights, but not while the journal is read back: what it says later is not known yet."""
        if len(self._outcomes) == len(self._journal.history.decisions):
            self._weights.release(self._outcomes, self._best)
