"""The events of a search's journal, and what they say of a transition. No torch."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from utils.config import RunConfig
from utils.planning.graph import Transition
from utils.planning.knee import KneeRule

SCORE, DECISION, TEST, END = "score", "decision", "test", "end"

Event = Mapping[str, Any]


def make_rule(config: RunConfig) -> KneeRule:
    """Return the knee rule of a search record."""
    search = config.search
    return KneeRule(search.attempt_epochs, search.max_epochs, search.horizon)


def edge_events(events: Sequence[Event], transition: Transition) -> list[Event]:
    """Return the score events of a transition, one for each epoch from 0 on."""
    return [event for event in events if event["event"] == SCORE and event["edge"] == str(transition)]


def edge_scores(events: Sequence[Event], transition: Transition) -> list[float]:
    """Return the scores of a transition; training that broke down is NaN."""
    return [math.nan if event["score"] is None else event["score"] for event in edge_events(events, transition)]


def find_decision(events: Sequence[Event], transition: Transition) -> Event | None:
    """Return the event that decided a transition, None while it is undecided."""
    name = str(transition)
    return next((event for event in events if event["event"] == DECISION and event["edge"] == name), None)
