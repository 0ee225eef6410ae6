"""Declare the keys of a record: meaning, limits and scope."""

import dataclasses
import functools
import operator
from collections.abc import Mapping
from typing import Any

# The scope of a key: what a change of its value changes. The trained weights; only the scores; neither; the content of
# the files that it names; or the trained weights, except that a search may continue with a larger value.
# The scopes alone decide with which changes a run, a search and scores may be resumed.
TRAINING, EVALUATION, NEITHER, CONTENT, LARGER = "training", "evaluation", "neither", "content", "larger"

# The relation of a number to each kind of limit. at_most is far above any value ever trained: it guards against typing
# errors that would exhaust the machine.
LIMITS = {"at_least": operator.ge, "above": operator.gt, "below": operator.lt, "at_most": operator.le}


def key(
    meaning: str, *, scope: str = TRAINING, choices: tuple[Any, ...] = (), released: bool = True, **limits: float
) -> Any:
    """Declare a configuration key.

    Args:
        meaning: Description with units and examples, shown in docs/config.md and by editors.
        scope: What a change of the key changes: TRAINING, EVALUATION, NEITHER, CONTENT or LARGER.
        choices: The allowed values; empty: any.
        released: Whether the paper's released code has the key.
        limits: Limits of the number, by the names of LIMITS.
    """
    assert limits.keys() <= LIMITS.keys(), limits
    declared = {"meaning": meaning, "scope": scope, "choices": choices, "released": released, "limits": limits}
    return dataclasses.field(metadata=declared)


own_key = functools.partial(key, released=False)  # a key added by this project


def declaration(owner: type, name: str) -> Mapping[str, Any]:
    """Return the metadata that `key` declared for a field of a section's class."""
    return next(field.metadata for field in dataclasses.fields(owner) if field.name == name)
