"""Explore the transitions of a search by training: the `explore` function of `utils.planning.search`."""

from collections.abc import Callable, Mapping

from utils.config import RunConfig
from utils.jsonl import as_json
from utils.planning.graph import State, Transition
from utils.planning.search import Outcome, ready
from utils.planning.search import Path as Steps
from utils.search.events import Decision, EpochScore, History, make_rule, read_history, write_event
from utils.search.jobs import Dispatcher, Job
from utils.search.weights import WeightFolder, name_of


class Explorer:
    """The `explore` and `arrive` of `utils.planning.search.search`: look up a transition in the journal, or train it.

    With several workers, other transitions that are ready are trained at the same time, ahead of their turn.
    """

    def __init__(
        self,
        config: RunConfig,
        history: History,
        weights: WeightFolder,
        *,
        dispatcher: Dispatcher,
        note: Callable[[EpochScore | Decision], None],
    ) -> None:
        """Initialize the explorer.

        Args:
            config: The search record.
            history: What the journal holds; `note` adds to it.
            weights: The search's files with weights.
            dispatcher: Runs the training of transitions.
            note: Adds an event to the journal and so to the history.
        """
        self._graph, self._rule, self._history, self._weights = config.graph, make_rule(config), history, weights
        self._dispatcher, self._note = dispatcher, note
        self._outcomes: dict[Transition, Outcome] = {}
        self._best: dict[State, Steps] = {}
        self._ahead: dict[Transition, Decision] = {}

    def __call__(self, transition: Transition, path: Steps) -> Outcome:
        """Return the outcome of a transition that starts from the end of a path."""
        decision = self._history.decisions.get(transition)
        if decision is None:
            decision = self._train(transition)
            self._ahead.pop(transition, None)
            self._note(decision)
            self._dispatcher.forget(name_of(transition))
        self._outcomes[transition] = self._outcome(decision, path)
        self._release({})
        return self._outcomes[transition]

    def arrive(self, state: State, path: Steps) -> None:
        """Record the best path to a state and remove weights that are no longer needed."""
        self._best[state] = path
        self._release({})

    def _train(self, transition: Transition) -> Decision:
        """Train a transition until its knee is decided, and other ready transitions in parallel."""
        name = name_of(transition)
        while True:
            self._update_journal(transition)
            decision = self._decide(transition, self._history)
            if decision is not None and not self._dispatcher.is_running(name):
                return decision
            self._dispatcher.start([self._job(*each) for each in ready(self._graph, self._look_up)])
            self._dispatcher.wait()

    def _update_journal(self, transition: Transition) -> None:
        """Add the events in a transition's file that are not in the journal yet."""
        for point in self._read_events(transition).curve(transition)[len(self._history.curve(transition)) :]:
            self._note(point)

    def _read_events(self, transition: Transition) -> History:
        name = name_of(transition)
        return read_history(self._dispatcher.read_events(name), self._graph, source=f"{name}.jsonl, line", first=2)

    def _decide(self, transition: Transition, history: History) -> Decision | None:
        scores = history.scores(transition)
        verdict = self._rule.judge(scores) if scores else None
        return Decision(transition, verdict.kind, verdict.epoch, verdict.value) if verdict else None

    def _look_up(self, transition: Transition, path: Steps) -> Outcome | None:
        """Return the outcome of a transition that is in the journal or was trained ahead of its turn, else None."""
        decision = self._history.decisions.get(transition) or self._ahead.get(transition)
        if decision is None and not self._dispatcher.is_running(name_of(transition)):
            decision = self._decide(transition, self._read_events(transition))
            if decision is not None:
                self._ahead[transition] = decision
                self._release({transition: self._outcome(decision, path)})
        return self._outcome(decision, path) if decision else None

    def _job(self, transition: Transition, path: Steps) -> Job:
        known = [as_json(write_event(point)) for point in self._history.curve(transition)]
        return Job(name_of(transition), (transition, path), known)

    def _outcome(self, decision: Decision, path: Steps) -> Outcome:
        return self._weights.outcome(decision.transition, path, score=decision.value, epochs=decision.epoch)

    def _release(self, ahead: Mapping[Transition, Outcome]) -> None:
        """Remove unneeded weights, except while the journal is replayed: its later decisions may still need them."""
        if len(self._outcomes) == len(self._history.decisions):
            self._weights.release({**self._outcomes, **ahead}, self._best)
