"""The JSON Schema of records and base configs, for completion, descriptions and validation in editors.

It validates single values like `utils.config.values`; only `load_config` checks combinations of values.
"""

import dataclasses
from collections.abc import Iterable
from typing import Any, get_args, get_origin

from utils.config.keys import Key, input_keys, section_keys
from utils.config.schema import SECTIONS
from utils.config.sections import InputConfig

TYPE_NAMES = {int: "integer", float: "number", int | float: "number", bool: "boolean", str: "string"}
LIMIT_NAMES = {
    "at_least": "minimum",
    "above": "exclusiveMinimum",
    "below": "exclusiveMaximum",
    "at_most": "maximum",
}

Schema = dict[str, Any]


def build_schema() -> Schema:
    """Return the schema of a record; a base config is a record without `base`."""
    base = {"description": "The base config, e.g. base_config/kinetics_base.yml.", "type": ["string", "null"]}
    sections = {
        section: {
            "description": " ".join((owner.__doc__ or "").split()),
            **_mapping(section_keys(section)),
            "type": ["object", "null"],  # null: an empty section
        }
        for section, owner in SECTIONS.items()
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Record or base config of an experiment",
        "description": "Written by python -m utils.config.reference; docs/config.md says the same in words.",
        "type": "object",
        "additionalProperties": False,
        "properties": {"base": base, **sections},
    }


def _mapping(keys: Iterable[Key]) -> Schema:
    """Return the schema of a mapping with these keys and no others; none is required, because files are merged."""
    return {"type": "object", "additionalProperties": False, "properties": {key.name: _value(key) for key in keys}}


def _value(key: Key) -> Schema:
    owner = "" if key.released else " Not in the paper's released code."
    schema: Schema = {"description": f"{key.meaning[0].upper()}{key.meaning[1:]}. Changes: {key.scope}.{owner}"}
    if key.default is not None:
        schema["default"] = key.default
    single = _typed(key.kind) | _limits(key)
    if key.is_per_state:
        return schema | _either(single, {"type": "array", "minItems": 1, "items": single})
    return schema | single


def _typed(kind: Any) -> Schema:
    """Return the JSON Schema of a type of the configuration."""
    if dataclasses.is_dataclass(kind):
        return _mapping(input_keys(kind))  # type: ignore[arg-type]
    if get_origin(kind) is not tuple:
        return {"type": TYPE_NAMES[kind]}
    item = get_args(kind)[0]
    entries = {"type": "array", "items": _typed(item)}
    # A single word or input may be written without a list.
    return _either(_typed(item), entries) if item in (str, InputConfig) else entries


def _either(*schemas: Schema) -> Schema:
    return {"anyOf": list(schemas)}


def _limits(key: Key) -> Schema:
    choices = {"enum": list(key.choices)} if key.choices else {}
    return choices | {LIMIT_NAMES[limit]: number for limit, number in key.limits.items()}
