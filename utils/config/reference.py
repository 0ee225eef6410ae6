"""Write the reference of every key of a record: docs/config.md for people, docs/config.schema.json for editors.

python -m utils.config.reference            write both anew, after a change of utils/config/sections.py or default.yml
python -m utils.config.reference --check    only say which of them is not current; exit code 1 then
"""

import argparse
import inspect
import json
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, get_args, get_origin

from utils.cli import Parser, run_script
from utils.config.declaring import CONTENT, EVALUATION, LARGER, NEITHER, TRAINING
from utils.config.json_schema import build_schema
from utils.config.keys import Key, input_keys, section_keys
from utils.config.load import PROJECT_ROOT
from utils.config.schema import SECTIONS
from utils.config.sections import BudgetConfig, InputConfig
from utils.files import write_text_atomically
from utils.text import say

COMMAND = "python -m utils.config.reference"
PAGE, SCHEMA = "docs/config.md", "docs/config.schema.json"
HEADER = "| key | type | default | allowed | changes | from | meaning |\n|---|---|---|---|---|---|---|"

# A type in words: of one value, and of the values of a list.
TYPE_WORDS = {
    int: ("whole number", "whole numbers"),
    float: ("number", "numbers"),
    int | float: ("number", "numbers"),
    bool: ("true or false", "true or false"),
    str: ("text", "texts"),
    InputConfig: ("input", "inputs, see below"),
    BudgetConfig: ("{epochs, hours or frames: number}", "budgets"),
}

INTRODUCTION = f"""\
# Every key of a record

Written by `{COMMAND}` from `utils/config/sections.py` (meanings, limits) and
`base_config/default.yml` (defaults): change those, then run the command.

A record (`record/*.yml`) names its base config (`base: base_config/X_base.yml`) and has the sections below. The base
config overrides `base_config/default.yml`, the record its base, the command line all (`section.key=value`). A key
without a default has to be set in the record or its base config. An unknown key, a wrong type or a value outside its
limits is an error that names file and key.

Editors that know JSON Schema complete keys, show these meanings and mark mistakes while you type, with
`{SCHEMA}`. For the YAML language server (VS Code, Neovim, Emacs, ...) the first line of a file in
`record/` or `base_config/` is:

```yaml
# yaml-language-server: $schema=../{SCHEMA}
```

It knows single values; what values have to do with each other is checked when a record is loaded.

**changes** says what a change of the key changes:

- *{TRAINING}*: the trained weights. A record's run is not continued with another value.
- *{EVALUATION}*: only the scores.
- *{NEITHER}*: neither of them.
- *{CONTENT}*: what the files that it names hold, wherever they are. Lists and weights are compared by their content, so
  that files may move while a run is interrupted; videos under another root are taken to be the same.
- *{LARGER}*: the trained weights; a search goes on with a larger value, and refuses a smaller one.

**from** says where the key comes from:

- *paper*: the paper's released code has it, under this name.
- *here*: this project added it.
"""

STATES = """\
## Keys of states

Each of these keys may have a list. Each entry makes a state, and each state starts from the weights of the last, with a
fresh optimizer unless `optimizer.keep_momentum` says otherwise. All lists have the same length; a value without a list
holds for every state. The final evaluation uses the last state's entry.

{names}
"""

INPUTS = """\
## Inputs of a search

Every entry of `search.inputs` has these keys. A key that it leaves out has the value of the record's own section, which
must not be a list then. In a search record the lists of the sections make no states, and `optimizer.epochs` has no
meaning.
"""


def render_page() -> str:
    """Return the text of docs/config.md."""
    parts = [INTRODUCTION]
    names = []
    for section, owner in SECTIONS.items():
        keys = list(section_keys(section))
        names += [f"- `{section}.{key.name}`" for key in keys if key.is_per_state]
        parts.append(f"## {section}\n\n{_escape(inspect.getdoc(owner) or '')}\n\n{_table(keys)}")
    parts.append(STATES.format(names="\n".join(names)))
    parts.append(f"{INPUTS}\n{_table(input_keys())}")
    return "\n".join(parts)


def render_schema() -> str:
    """Return the text of docs/config.schema.json."""
    return json.dumps(build_schema(), indent=2) + "\n"


def _table(keys: Iterable[Key]) -> str:
    return "\n".join([HEADER, *map(_row, keys)]) + "\n"


def _row(key: Key) -> str:
    origin = "paper" if key.released else "here"
    default = "" if key.default is None else _code(key.default)
    cells = (f"`{key.name}`", _type_words(key), default, _allowed(key), key.scope, origin, _escape(key.meaning))
    return f"| {' | '.join(cells)} |"


def _type_words(key: Key) -> str:
    if get_origin(key.kind) is not tuple:
        one, _ = TYPE_WORDS[key.kind]
        return f"{one}, or a list with one a state" if key.is_per_state else one
    item = get_args(key.kind)[0]
    return f"text, or list of {TYPE_WORDS[str][1]}" if item is str else f"list of {TYPE_WORDS[item][1]}"


def _allowed(key: Key) -> str:
    if key.choices:
        return ", ".join(map(_code, key.choices))
    return ", ".join(f"{limit.replace('_', ' ')} {number}" for limit, number in key.limits.items())


def _code(value: Any) -> str:
    """Return a value as a record would say it."""
    return f"`{value if isinstance(value, str) and value else json.dumps(value)}`"


def _escape(text: str) -> str:
    """Return text that Markdown shows as it is."""
    return re.sub(r"([|<*])", r"\\\1", text)


def write_reference(root: Path) -> None:
    """Write both files below a folder."""
    for name, text in _texts().items():
        write_text_atomically(root / name, text)


def list_outdated(root: Path) -> list[str]:
    """Return the files below a folder, of the two, that are missing or not what the schema says today."""
    return [
        name
        for name, text in _texts().items()
        if not (root / name).is_file() or (root / name).read_text(encoding="utf-8") != text
    ]


def _texts() -> dict[str, str]:
    return {PAGE: render_page(), SCHEMA: render_schema()}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 where a file is not current")
    if not parser.parse_args(arguments).check:
        write_reference(PROJECT_ROOT)
        return
    outdated = list_outdated(PROJECT_ROOT)
    for name in outdated:
        say(f"{name} is not what utils/config/sections.py and base_config/default.yml say; write it: {COMMAND}")
    if outdated:
        sys.exit(1)


if __name__ == "__main__":
    run_script(main)
