"""Check single values of a configuration against their declarations."""

import dataclasses
import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, get_args, get_origin, get_type_hints

from utils.config.declaring import LIMITS, declaration
from utils.errors import UserError


class ConfigError(UserError):
    """The configuration is invalid; the message has file, section, key, the value found and the values allowed."""


@dataclass(frozen=True)
class Setting:
    """An unchecked value and its source, a file or a command-line word."""

    value: Any
    source: str


def suggest(word: Any, known: Iterable[str], *, otherwise: str = "; known: {}") -> str:
    """Return '; did you mean X?' for a near match, else `otherwise` with all known names."""
    names = list(known)
    close = difflib.get_close_matches(str(word), names, n=1)
    return f"; did you mean '{close[0]}'?" if close else otherwise.format(", ".join(names))


def parse_value(owner: type, key: str, setting: Setting, *, name: str) -> Any:
    """Check one value against its declaration.

    Args:
        owner: The section's class.
        key: The key in it.
        setting: The value and its source.
        name: Name of the key in errors, e.g. "sampler.batch_size".

    Raises:
        ConfigError: The value has the wrong type, is not among the choices or is outside the limits.
    """
    where, kind = f"{setting.source}: {name}", get_type_hints(owner)[key]
    if dataclasses.is_dataclass(kind):
        return _parse_keys(kind, setting, name=name)
    value = _coerce(setting.value, kind, where)
    declared = declaration(owner, key)
    choices = [*map(str, declared["choices"])]
    if choices and value not in declared["choices"]:
        hint = suggest(value, choices, otherwise="")
        raise ConfigError(f"{where}: found '{value}', allowed: {', '.join(choices)}{hint}")
    for limit, number in declared["limits"].items():
        if not LIMITS[limit](value, number):
            raise ConfigError(f"{where}: found {value}, must be {limit.replace('_', ' ')} {number}")
    return value


def _parse_keys(owner: Any, setting: Setting, *, name: str) -> Any:
    """Check a nested value of optional numbers, whose default is 0."""
    known = [f.name for f in dataclasses.fields(owner)]
    if not isinstance(setting.value, dict):
        raise ConfigError(f"{setting.source}: {name}: found {shown(setting.value)}, expected one of {known}: a number")
    for key in setting.value:
        if key not in known:
            raise ConfigError(f"{setting.source}: {name}.{key}: unknown key{suggest(key, known)}")
    entries = {key: Setting(setting.value.get(key, 0), setting.source) for key in known}
    return owner(**{key: parse_value(owner, key, entry, name=f"{name}.{key}") for key, entry in entries.items()})


def shown(value: Any) -> str:
    """Return the representation of a value for an error message, truncated to 100 characters."""
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:100]}..."


def _coerce(value: Any, expected: type, where: str) -> Any:
    if get_origin(expected) is tuple:
        if get_args(expected)[0] is str and isinstance(value, str):
            return (value,)
        if not isinstance(value, list):
            raise ConfigError(f"{where}: found {shown(value)}, expected a list such as [30, 60]")
        return tuple(_coerce(item, get_args(expected)[0], where) for item in value)
    if expected == int | float:  # keep the type that was written
        expected = int if type(value) is int else float
    if expected is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not expected:
        names = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
        raise ConfigError(f"{where}: found {shown(value)} ({type(value).__name__}), expected {names[expected]}")
    if isinstance(value, float) and not abs(value) < float("inf"):
        raise ConfigError(f"{where}: found {value}, expected a finite number")
    return value
