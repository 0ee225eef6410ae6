"""How far a search is: the transition in training and the range of epochs and hours that are left."""

from collections.abc import Mapping, Sequence
from typing import Any

from utils.config import RunConfig
from utils.planning.graph import Transition
from utils.planning.knee import fit_knee
from utils.search.events import SCORE, edge_events, edge_scores, find_decision, make_rule
from utils.text import describe_time

Event = Mapping[str, Any]


def describe_epoch(config: RunConfig, events: Sequence[Event], transition: Transition) -> str:
    """Return a line on the last epoch of the transition in training: score, knee so far, what is left."""
    last, scores = edge_events(events, transition)[-1], edge_scores(events, transition)
    text = f"  epoch {last['epoch']}/{config.search.max_epochs}"
    if last["score"] is None:
        return f"{text}: training broke down"
    text += f": loss {last['train_loss']:.4f}, score {last['score']:.2f} (top-1 {last['eval_top1']:.2f}%)"
    fit = fit_knee(scores, horizon=config.search.horizon)
    if fit.epoch > config.search.max_epochs:
        text += ", no knee yet"
    else:
        text += f", knee at epoch {fit.epoch} (f = {fit.value:.2f})"
    (fewest, most), (shortest, longest) = remaining_epochs(config, events), remaining_seconds(config, events)
    text += f"; {last['clips_per_second']:.1f} clips/s, left {fewest}-{most} epochs"
    return f"{text}, {describe_time(shortest)} to {describe_time(longest)}"


def _remaining_by_edge(config: RunConfig, events: Sequence[Event]) -> list[tuple[Transition, int, int]]:
    """For every undecided transition how many more epochs it takes, at least and at most."""
    rule = make_rule(config)
    left = []
    for transition in config.graph.exploration_order:
        if find_decision(events, transition) is None:
            scores = edge_scores(events, transition) or [0.0]
            over = rule.judge(scores) is not None  # its decision is just about to be written
            left.append((transition, *((0, 0) if over else rule.epochs_left(scores))))
    return left


def remaining_epochs(config: RunConfig, events: Sequence[Event]) -> tuple[int, int]:
    """Return how many epochs are left in all, at least and at most."""
    left = _remaining_by_edge(config, events)
    return sum(fewest for _, fewest, _ in left), sum(most for _, _, most in left)


def remaining_seconds(config: RunConfig, events: Sequence[Event]) -> tuple[float, float]:
    """Return how long the epochs that are left take, at the speed measured so far.

    An input that has not been trained yet is taken to cost as much for a frame as those that have.
    """
    epochs = [event for event in events if event["event"] == SCORE and event["seconds"] > 0]
    if not epochs:
        return 0.0, 0.0
    by_input: dict[int, list[float]] = {}
    for event in epochs:
        by_input.setdefault(event["num_frames"], []).append(event["seconds"] + event["scoring_seconds"])
    means = {frames: sum(values) / len(values) for frames, values in by_input.items()}
    per_frame = sum(means.values()) / sum(means)
    shortest = longest = 0.0
    for transition, fewest, most in _remaining_by_edge(config, events):
        frames = config.search.inputs[transition.end.input].num_frames
        cost = means.get(frames, per_frame * frames)
        shortest, longest = shortest + fewest * cost, longest + most * cost
    return shortest, longest
