"""Describe the progress of a search: the transition in training, and the remaining epochs and hours."""

import math
from collections import defaultdict
from dataclasses import dataclass

from utils.config import RunConfig
from utils.planning.graph import Transition
from utils.planning.knee import fit_knee
from utils.search.events import Decision, EpochScore, History, make_rule
from utils.text import describe_time


@dataclass(frozen=True)
class Remaining:
    """The remaining work of a search, each at least and at most.

    Attributes:
        epochs: Number of epochs of all undecided transitions.
        seconds: Time for those epochs at the speed measured so far; 0 if nothing has been measured.
    """

    epochs: tuple[int, int]
    seconds: tuple[float, float]


def title_of(config: RunConfig, transition: Transition) -> str:
    """Return the title of a transition, such as 'transition 2/7 (0,0) -> (1,0)'."""
    order = config.graph.exploration_order
    return f"transition {order.index(transition) + 1}/{len(order)} {transition}"


def describe_event(config: RunConfig, history: History, event: EpochScore | Decision) -> str:
    """Return a log line for an epoch of a transition, or for its decision; "" for the score of its start weights."""
    if isinstance(event, EpochScore):
        return describe_epoch(config, history, transition=event.transition) if event.epoch else ""
    score = f"{event.value:.2f}" if math.isfinite(event.value) else "none"
    return f"{title_of(config, event.transition)}: {event.verdict}, knee at epoch {event.epoch}, score {score}"


def describe_epoch(config: RunConfig, history: History, *, transition: Transition) -> str:
    """Return a log line for the last epoch of a transition: score, knee so far, remaining work."""
    last = history.curve(transition)[-1]
    text = f"  epoch {last.epoch}/{config.search.max_epochs}"
    if last.validation is None or last.training is None:
        return f"{text}: training diverged"
    text += f": loss {last.training.train_loss:.4f}, score {last.score:.2f} (top-1 {last.validation.top1:.2f}%)"
    fit = fit_knee(history.scores(transition), horizon=config.search.horizon)
    if fit.epoch > config.search.max_epochs:
        text += ", no knee yet"
    else:
        text += f", knee at epoch {fit.epoch} (f = {fit.value:.2f})"
    left = estimate_remaining(config, history)
    text += f"; {last.training.clips_per_second:.1f} clips/s, left {left.epochs[0]}-{left.epochs[1]} epochs"
    return f"{text}, {describe_time(left.seconds[0])} to {describe_time(left.seconds[1])}"


def estimate_remaining(config: RunConfig, history: History) -> Remaining:
    """Return the remaining work of a search.

    An input that has not been trained yet is assumed to cost as much per pixel as those that have.
    """
    by_input: defaultdict[int, list[float]] = defaultdict(list)
    for point in history.epochs():
        pixels = config.search.inputs[point.transition.end.input].pixels_per_clip
        by_input[pixels].append(point.seconds + point.scoring_seconds)
    means = {pixels: sum(values) / len(values) for pixels, values in by_input.items()}
    per_pixel = sum(means.values()) / sum(means) if means else 0.0
    fewest = most = 0
    shortest = longest = 0.0
    for transition, (low, high) in _remaining_epochs(config, history).items():
        pixels = config.search.inputs[transition.end.input].pixels_per_clip
        cost = means.get(pixels, per_pixel * pixels)
        fewest, most = fewest + low, most + high
        shortest, longest = shortest + low * cost, longest + high * cost
    return Remaining((fewest, most), (shortest, longest))


def _remaining_epochs(config: RunConfig, history: History) -> dict[Transition, tuple[int, int]]:
    """Return the minimum and maximum number of further epochs of each undecided transition."""
    rule, left = make_rule(config), {}
    for transition in config.graph.exploration_order:
        if transition not in history.decisions:
            scores = history.scores(transition) or [0.0]
            over = rule.judge(scores) is not None  # its decision is about to be written
            left[transition] = (0, 0) if over else rule.epochs_left(scores)
    return left
