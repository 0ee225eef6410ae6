"""A path as a record: the YAML file that train_3d.py trains, in the form of record/op-*.yml."""

import json
from collections.abc import Mapping, Sequence
from typing import Any


def render_record(sections: Mapping[str, Mapping[str, Any]], *, base: str, comments: Sequence[str]) -> str:
    """Return the text of a record.

    Args:
        sections: Its sections and keys, plain values; empty sections are left out.
        base: The base config, "" for none.
        comments: Lines in front.

    Returns:
        YAML; every value is written as JSON, which YAML reads as the same value.
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
        return text.replace("e", ".0e")  # YAML 1.1 takes 1e-05 for a word
    return text
