"""How a key of a record is declared: its meaning, its limits and what it changes."""

import functools
from dataclasses import field
from typing import Any

# What changes when a key changes: the trained weights, only the scores, neither, what the files that it names hold, or
# the trained weights while a larger value continues.
# This decides what a run, a search and scores are continued with: nothing else says which keys count.
TRAINING, EVALUATION, NEITHER, CONTENT, LARGER = "training", "evaluation", "neither", "content", "larger"


def key(
    meaning: str,
    *,
    scope: str = TRAINING,
    choices: tuple[Any, ...] = (),
    at_least: float | None = None,
    above: float | None = None,
    below: float | None = None,
    released: bool = True,
) -> Any:
    """Declare a configuration key.

    Args:
        meaning: What the key says, with its units and examples: docs/config.md and editors show it.
        scope: TRAINING, EVALUATION, NEITHER, CONTENT or LARGER: what a change of this key changes.
        choices: The values allowed; empty for any.
        at_least: Smallest number allowed.
        above: Numbers must be larger than this.
        below: Numbers must be smaller than this.
        released: Whether the paper's released code has the key.
    """
    limits = {"choices": choices, "at_least": at_least, "above": above, "below": below}
    return field(metadata={"meaning": meaning, "scope": scope, "released": released, **limits})


own_key = functools.partial(key, released=False)  # a key that this project added
