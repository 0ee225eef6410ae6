"""Records that would exhaust a machine's memory or time are refused at once, in a line of moderate length."""

import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import Any, get_type_hints

import pytest

from tests.conftest import ROOT, MakeRecord
from utils.config import ConfigError, load_config
from utils.config.declaring import declaration
from utils.config.schema import SECTIONS, STATE_KEYS, owner_of
from utils.config.yaml_file import YamlError, parse_yaml
from utils.errors import UserError

BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 10)
)
KEYS = [
    *((section, field.name) for section, owner in SECTIONS.items() for field in dataclasses.fields(owner)),
    *((section, name) for section, names in STATE_KEYS.items() for name in names),
]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BOMB, "record.yml: has more than 10000 values with its aliases"),
        (f"{BOMB}search: {{inputs: *a9}}", "has more than 10000 values"),
        ("a: &a [*a]", "has more than 10000 values"),
        ("a: &a {b: *a}", "has more than 10000 values"),
        (f"a: {'[' * 1500}{']' * 1500}", "record.yml: not valid YAML: brackets or lists are nested too deep"),
        ("- " * 5000 + "x", "nested too deep"),
        ("a: " * 100_000, "a record has at most 200000"),
        (f"a: {'9' * 5000}", "record.yml, line 1: not valid YAML: found a number of 5000 digits"),
        (f"a: -{'9' * 30}", "found a number of 31 digits"),
    ],
    ids=[
        "bomb",
        "bomb under a key",
        "list in itself",
        "mapping in itself",
        "brackets",
        "lists",
        "long",
        "digits",
        "sign",
    ],
)
def test_hostile_yaml_is_refused(text: str, message: str) -> None:
    with pytest.raises(YamlError, match=message) as caught:
        parse_yaml(text, source="record.yml")
    assert len(str(caught.value)) < 200


def test_ordinary_aliases_are_parsed() -> None:
    assert parse_yaml("a: &short [8, 16]\nb: *short\nc: [*short, *short]", source="x") == {
        "a": [8, 16],
        "b": [8, 16],
        "c": [[8, 16], [8, 16]],
    }


def test_parsing_a_text_twice_gives_independent_values() -> None:
    text = "a: &short [8, 16]\nb: {c: *short}"
    parse_yaml(text, source="x")["b"]["c"].append(32)
    assert parse_yaml(text, source="y") == {"a": [8, 16], "b": {"c": [8, 16]}}


def test_a_bomb_ends_a_script_in_one_line(tmp_path: Path) -> None:
    record = tmp_path / "bomb.yml"
    record.write_text(BOMB)
    words = [sys.executable, "train_3d.py", "--config_file", str(record)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stderr.count("\n"), len(done.stderr) < 300) == (2, 1, True)


def most(section: str, name: str) -> Any:
    return declaration(owner_of(section, name), name)["limits"].get("at_most")


@pytest.mark.parametrize(("section", "name"), [key for key in KEYS if most(*key)])
def test_a_number_that_would_exhaust_the_machine_is_refused(make_record: MakeRecord, section: str, name: str) -> None:
    limit = most(section, name)
    over = limit + 1
    with pytest.raises(ConfigError, match=rf"{section}\.{name}: found {over}(\.0)?, must be at most {limit}"):
        load_config(make_record(), [f"{section}.{name}={over}"])


def test_keys_of_states_and_of_sections_have_limits() -> None:
    assert sum(most(*key) is not None for key in KEYS) == 29


@pytest.mark.parametrize("word", [".inf", "-.inf", ".nan", "1e999"])
def test_infinite_numbers_are_refused(make_record: MakeRecord, word: str) -> None:
    record = make_record()
    kinds = {key: get_type_hints(owner_of(*key))[key[1]] for key in KEYS}
    last = {kind: key for key, kind in kinds.items()}  # one key of each kind
    for section, name in KEYS if word == ".inf" else last.values():
        kind = kinds[section, name]
        value = {float: word, int: word, tuple[float, ...]: f"[{word}]", tuple[int, ...]: f"[{word}]"}.get(kind)
        if value is not None:
            with pytest.raises(UserError, match=rf"{section}\.{name}: found .*(finite|whole number)"):
                load_config(record, [f"{section}.{name}={value}"])


def test_quoted_values_are_truncated(make_record: MakeRecord) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(make_record(), [f"optimizer.epochs=[{'[1],' * 2000}]"])
    assert len(str(caught.value)) < 400
