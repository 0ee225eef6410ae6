"""Write a configuration as a record, and compare two configurations."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from utils.config.declaring import TRAINING, declaration
from utils.config.schema import RunConfig, owner_of
from utils.config.sections import OptimizerConfig


def render_record(sections: Mapping[str, Mapping[str, Any]], *, base: str, comments: Sequence[str]) -> str:
    """Return the text of a record.

    Args:
        sections: Sections and keys, plain values; empty sections are omitted.
        base: The base config; "": none.
        comments: Comment lines at the top.

    Returns:
        YAML; every value is written as JSON, which YAML parses to the same value.
    """
    lines = [f"# {comment}" for comment in comments]
    if base:
        lines.append(f"base: {json.dumps(base)}")
    for section, values in sections.items():
        if values:
            lines.append(f"{section}:")
            lines += [f"  {key}: {_render(value)}" for key, value in values.items()]
    return "\n".join(lines) + "\n"


def _render(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_render, value))}]"
    text = json.dumps(value, ensure_ascii=False)
    if isinstance(value, float) and "e" in text and "." not in text:
        return text.replace("e", ".0e")  # YAML 1.1 parses 1e-05 as a string
    return text


def training_values(config: RunConfig) -> dict[str, Any]:
    """Return the values of the keys that affect the trained weights, by 'section.key'."""
    sections = replace(config, optimizer=_acting_schedule(config)).to_dict()
    without_meaning = "epochs" if config.optimizer.budget.is_given else "shares"
    return {
        f"{section}.{key}": value
        for section, values in sections.items()
        for key, value in values.items()
        if declaration(owner_of(section, key), key)["scope"] == TRAINING
        and (section != "search" or config.is_search)
        and key != without_meaning
    }


def _acting_schedule(config: RunConfig) -> OptimizerConfig:
    """Return the optimizer section in a canonical form: settings without effect get fixed values.

    The released records express a constant rate as a step at epoch 1,000,000; it is the same training as `constant`.
    """
    settings = config.optimizer
    if settings.select == "last":  # nothing is held out
        settings = replace(settings, heldout_fraction=0.0, heldout_seed=0)
    if settings.envelope != "none":
        return replace(settings, lr_scheduler="", lr_decay_epochs=(), lr_decay_rate=1.0, warmup_epoch=-1.0)
    settings = replace(settings, envelope_warmup=0.0, envelope_epochs=0.0)
    last = float("inf") if settings.budget.is_given else max(state.epochs for state in config.states)
    decays = tuple(epoch for epoch in settings.lr_decay_epochs if epoch < last) if settings.lr_decay_rate != 1 else ()
    if settings.lr_scheduler == "step" and decays:
        return settings
    scheduler = "constant" if settings.lr_scheduler == "step" else settings.lr_scheduler
    return replace(settings, lr_scheduler=scheduler, lr_decay_epochs=(), lr_decay_rate=1.0)


def with_longer_states(old: RunConfig, new: RunConfig, *, first_state: int) -> RunConfig:
    """Return `old` with the longer epochs of `new` in the states that can be extended.

    States from `first_state` on can, if both configurations have a constant rate: their first epochs are then equal.
    """
    constant = all(_acting_schedule(config).lr_scheduler == "constant" for config in (old, new))
    is_whole = old.states[-1].epochs == int(old.states[-1].epochs)  # a partial last epoch cannot be completed
    if not constant or not is_whole or len(old.states) != len(new.states):
        return old
    longer = [
        replace(was, epochs=max(was.epochs, now.epochs)) if index >= first_state else was
        for index, (was, now) in enumerate(zip(old.states, new.states, strict=True))
    ]
    return replace(old, states=tuple(longer))


def list_differences(new: RunConfig, old: RunConfig) -> list[str]:
    """Return 'section.key: was OLD, is NEW' for every changed key that affects the trained weights."""
    before, after = training_values(old), training_values(new)
    names = [*after, *(name for name in before if name not in after)]
    return [
        f"{name}: was {before.get(name)}, is {after.get(name)}" for name in names if after.get(name) != before.get(name)
    ]
