"""How far a search is: the transition in training and the range of epochs and hours that are left."""

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
    """What is left of a search, at least and at most.

    Attributes:
        epochs: Of all transitions that are not decided.
        seconds: Those epochs take, at the speed measured so far; 0 where nothing has been measured.
    """

    epochs: tuple[int, int]
    seconds: tuple[float, float]


def title_of(config: RunConfig, transition: Transition) -> str:
    """Return 'transition 2/7 (0,0) -> (1,0)'."""
    order = config.graph.exploration_order
    return f"transition {order.index(transition) + 1}/{len(order)} {transition}"


def describe_event(config: RunConfig, history: History, event: EpochScore | Decision) -> str:
    """Return a line on an epoch of a transition, or on how it ended; "" for the score of its start weights."""
    if isinstance(event, EpochScore):
        return describe_epoch(config, history, transition=event.transition) if event.epoch else ""
    score = f"{event.value:.2f}" if math.isfinite(event.value) else "none"
    return f"{title_of(config, event.transition)}: {event.verdict}, knee at epoch {event.epoch}, score {score}"


def describe_epoch(config: RunConfig, history: History, *, transition: Transition) -> str:
    """Return a line on the last epoch of the transition in training: score, knee so far, what is left."""
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
    """Return what is left of a search.

    An input that has not been trained yet is taken to cost as much for a pixel as those that have.
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
    """Return how many more epochs every undecided transition takes, at least and at most."""
    rule, left = make_rule(config), {}
    for transition in config.graph.exploration_order:
        if transition not in history.decisions:
            scores = history.scores(transition) or [0.0]
            over = rule.judge(scores) is not None  # its decision is just about to be written
            left[transition] = (0, 0) if over else rule.epochs_left(scores)
    return left
