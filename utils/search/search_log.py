"""What a search says while it runs: lines of its log, and search.json with its page."""

import logging
import math
from collections.abc import Callable

from utils import distributed
from utils.config import RunConfig
from utils.planning.graph import Transition
from utils.search.events import Decision, EpochScore, History
from utils.search.progress import describe_epoch


def title_of(config: RunConfig, transition: Transition) -> str:
    """Return 'transition 2/7 (0,0) -> (1,0)'."""
    order = config.graph.exploration_order
    return f"transition {order.index(transition) + 1}/{len(order)} {transition}"


class SearchLog:
    """Says what happens; rank 0 does."""

    def __init__(self, config: RunConfig, history: History, *, log: logging.Logger, write: Callable[[], None]) -> None:
        """Take what has happened so far, the log of this process, and what writes search.json and its page."""
        self._config, self._history, self._log, self._write = config, history, log, write

    def note(self, event: EpochScore | Decision) -> None:
        """Say an epoch of a transition, or how it ended."""
        if isinstance(event, Decision):
            title, value = title_of(self._config, event.transition), event.value
            score = f"{value:.2f}" if math.isfinite(value) else "none"
            self._log.info(f"{title}: {event.verdict}, knee at epoch {event.epoch}, score {score}")
        elif event.epoch:
            self._log.info(describe_epoch(self._config, self._history, transition=event.transition))
        self._update()

    def _update(self) -> None:
        distributed.decide_on_main(self._write)
