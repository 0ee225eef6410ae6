"""Convert the budget of a path to epochs of its states."""

from collections.abc import Sequence
from dataclasses import replace

from utils.config.checks import check_warmup
from utils.config.schema import RunConfig
from utils.config.values import ConfigError


def budget_to_epochs(
    config: RunConfig, *, clips_per_epoch: Sequence[int], seconds_per_clip: Sequence[float] = ()
) -> RunConfig:
    """Return the record with the epochs that its budget amounts to in every state.

    A budget of epochs or frames of the goal's input is counted in frames x pixels, one of hours in seconds of training
    steps, loading included.

    Args:
        config: A record with a budget.
        clips_per_epoch: Clips per epoch of every state.
        seconds_per_clip: Measured seconds per clip of every state, for a budget of hours.

    Raises:
        ConfigError: The warm-up is longer than a state, or the budget is too small.
    """
    budget, goal = config.optimizer.budget, config.states[-1]
    costs: Sequence[float] = [state.pixels_per_clip for state in config.states]
    compute = budget.epochs * clips_per_epoch[-1] * costs[-1] + budget.frames * goal.crop_size**2
    if budget.hours:
        costs, compute = seconds_per_clip, 3600 * budget.hours
    states = []
    for state, clips, cost in zip(config.states, clips_per_epoch, costs, strict=True):
        epochs = round(state.shares * compute / (clips * cost), 9)
        if epochs <= 0:
            raise ConfigError(f"{config.sources['optimizer.budget']}: optimizer.budget: too small to train with")
        states.append(replace(state, epochs=int(epochs) if epochs == int(epochs) else epochs))
    converted = replace(config, states=tuple(states))
    check_warmup(converted)
    return converted
