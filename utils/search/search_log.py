"""What a search says while it runs: lines of its log, and search.json with its page."""

import logging
import math
from collections.abc import Callable

from utils import distributed
from utils.config import RunConfig
from utils.planning.graph import Transition
from utils.search.events import Decision, History
from utils.search.progress import describe_epoch


class SearchLog:
    """Says what happens; rank 0 does."""

    def __init__(self, config: RunConfig, history: History, *, log: logging.Logger, write: Callable[[], None]) -> None:
        """Take what has happened so far, the log of this process, and what writes search.json and its page."""
        self._config, self._history, self._log, self._write = config, history, log, write

    def title(self, transition: Transition) -> str:
        """Return 'transition 2/7 (0,0) -> (1,0)'."""
        order = self._config.graph.exploration_order
        return f"transition {order.index(transition) + 1}/{len(order)} {transition}"

    def say(self, text: str) -> None:
        """Write a line."""
        self._log.info(text)

    def note_epoch(self, transition: Transition) -> None:
        """Say the last epoch of a transition."""
        self.say(describe_epoch(self._config, self._history, transition=transition))
        self._update()

    def note_decision(self, decision: Decision) -> None:
        """Say how a transition ended."""
        title, value = self.title(decision.transition), decision.value
        score = f"{value:.2f}" if math.isfinite(value) else "none"
        self.say(f"{title}: {decision.verdict}, knee at epoch {decision.epoch}, score {score}")
        self._update()

    def _update(self) -> None:
        distributed.decide_on_main(self._write)
