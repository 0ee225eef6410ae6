"""How a key of a record is declared: its meaning, its limits and what it changes."""

import dataclasses
import functools
import operator
from collections.abc import Mapping
from typing import Any

# What changes when a key changes: the trained weights, only the scores, neither, what the files that it names hold, or
# the trained weights while a larger value continues.
# This decides what a run, a search and scores are continued with: nothing else says which keys count.
TRAINING, EVALUATION, NEITHER, CONTENT, LARGER = "training", "evaluation", "neither", "content", "larger"

# What has to hold between a number and each kind of limit. at_most is far above anything that was ever trained: it is
# there where a slip of the keyboard would cost the machine.
LIMITS = {"at_least": operator.ge, "above": operator.gt, "below": operator.lt, "at_most": operator.le}


def key(
    meaning: str, *, scope: str = TRAINING, choices: tuple[Any, ...] = (), released: bool = True, **limits: float
) -> Any:
    """Declare a configuration key.

    Args:
        meaning: What the key says, with its units and examples: docs/config.md and editors show it.
        scope: TRAINING, EVALUATION, NEITHER, CONTENT or LARGER: what a change of this key changes.
        choices: The values allowed; empty for any.
        released: Whether the paper's released code has the key.
        limits: Of the number, by the names of LIMITS.
    """
    assert limits.keys() <= LIMITS.keys(), limits
    said = {"meaning": meaning, "scope": scope, "choices": choices, "released": released, "limits": limits}
    return dataclasses.field(metadata=said)


own_key = functools.partial(key, released=False)  # a key that this project added


def declaration(owner: type, name: str) -> Mapping[str, Any]:
    """Return what `key` said of a key of a section's class."""
    return next(field.metadata for field in dataclasses.fields(owner) if field.name == name)
