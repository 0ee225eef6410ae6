"""List the keys of a record with their declarations and defaults, for documentation and editors."""

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, get_type_hints

from utils.config.declaring import declaration
from utils.config.load import DEFAULT_CONFIG
from utils.config.schema import SECTIONS, STATE_KEYS, owner_of
from utils.config.sections import InputConfig
from utils.config.yaml_file import read_yaml


@dataclass(frozen=True)
class Key:
    """One key of a section, or of an entry of search.inputs.

    Attributes:
        name: Name without the section.
        kind: Type of the value: int, float, bool, str or a tuple of one of these or of InputConfig.
        meaning: Description.
        scope: What a change of the key changes: TRAINING, EVALUATION, NEITHER, CONTENT or LARGER.
        choices: The allowed values; empty: any.
        limits: Limits of the number, by the names of `utils.config.declaring.LIMITS`.
        released: Whether the paper's released code has the key.
        default: Value in base_config/default.yml; None if it has none.
        is_per_state: Whether a list has one value per state.
    """

    name: str
    kind: Any
    meaning: str
    scope: str
    choices: tuple[Any, ...]
    limits: Mapping[str, float]
    released: bool
    default: Any = None
    is_per_state: bool = False


def section_keys(section: str) -> Iterator[Key]:
    """Yield the keys of a section: its own, then those of states."""
    defaults = read_yaml(DEFAULT_CONFIG)[section] or {}
    per_state = STATE_KEYS.get(section, ())
    for name in [*(f.name for f in dataclasses.fields(SECTIONS[section])), *per_state]:
        yield _make(owner_of(section, name), name, default=defaults.get(name), is_per_state=name in per_state)


def input_keys(owner: type = InputConfig) -> Iterator[Key]:
    """Yield the keys of an entry of search.inputs, or of another nested value."""
    for f in dataclasses.fields(owner):
        yield _make(owner, f.name)


def _make(owner: type, name: str, **of_section: Any) -> Key:
    return Key(name, get_type_hints(owner)[name], **declaration(owner, name), **of_section)
