"""The reference of the configuration: current, complete, and consistent with `load_config`."""

import dataclasses
import json
import re
import shutil
import subprocess
import sys
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from tests.conftest import ROOT
from utils.config import ConfigError, load_config
from utils.config.declaring import LIMITS, declaration
from utils.config.keys import Key, input_keys, section_keys
from utils.config.reference import PAGE, SCHEMA, list_outdated, write_reference
from utils.config.schema import SECTIONS, STATE_KEYS, owner_of
from utils.config.sections import InputConfig
from utils.config.values import Setting, parse_value
from utils.config.yaml_file import parse_yaml, read_yaml
from utils.errors import UserError

CONTENT = json.loads((ROOT / SCHEMA).read_text())
VALIDATOR = Draft202012Validator(CONTENT)
FILES = sorted(path.relative_to(ROOT) for path in (*ROOT.glob("base_config/*.yml"), *ROOT.glob("record/*.yml")))
KEYS = [(section, key) for section in SECTIONS for key in section_keys(section) if key.name != "inputs"]
INPUT_KEYS = list(input_keys())
RECORD = "record/synthetic-dg-p3d-resnet18.yml"


def errors_of(content: Any) -> list[str]:
    """Return the errors of the schema in the content of a file."""
    return [error.message for error in VALIDATOR.iter_errors(content)]


def rows_of(title: str) -> list[list[str]]:
    """Return the cells of every row of a section's table on the page."""
    section = (ROOT / PAGE).read_text().split(f"\n## {title}\n")[1].split("\n## ")[0]
    return [
        [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        for line in section.splitlines()
        if line.startswith("| `")
    ]


def test_both_files_are_current() -> None:
    assert list_outdated(ROOT) == [], "run python -m utils.config.reference"


def test_an_outdated_file_is_detected(tmp_path: Path) -> None:
    assert list_outdated(tmp_path) == [PAGE, SCHEMA]
    write_reference(tmp_path)
    assert list_outdated(tmp_path) == []
    page = tmp_path / PAGE
    page.write_text(page.read_text().replace("at least 2", "at least 3"))
    assert list_outdated(tmp_path) == [PAGE]


def test_the_command_checks_and_writes_without_torch(tmp_path: Path) -> None:
    def run(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "utils.config.reference", *words]
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)

    # A copy of the code, as the command writes beside the code; a torch that cannot be imported stands before the real.
    for folder in ("utils", "base_config"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "torch.py").write_text("raise AssertionError('torch was imported')\n")
    assert (run().returncode, run("--check").returncode) == (0, 0)
    assert (tmp_path / PAGE).read_text() == (ROOT / PAGE).read_text()
    (tmp_path / SCHEMA).unlink()
    missing = run("--check")
    assert (missing.returncode, missing.stderr) == (1, "")
    assert missing.stdout == (
        f"{SCHEMA} does not match utils/config/sections.py and base_config/default.yml; "
        "run: python -m utils.config.reference\n"
    )
    assert not (tmp_path / SCHEMA).exists()


@pytest.mark.parametrize("section", SECTIONS)
def test_every_key_has_a_row(section: str) -> None:
    rows = {cells[0].strip("`"): cells for cells in rows_of(section)}
    names = [*(field.name for field in dataclasses.fields(SECTIONS[section])), *STATE_KEYS.get(section, ())]
    declared = {name: declaration(owner_of(section, name), name) for name in names}
    assert rows.keys() == declared.keys()
    defaults = read_yaml(ROOT / "base_config/default.yml")[section] or {}
    for name, (_, kind, default, allowed, changes, _, meaning) in rows.items():
        rules = declared[name]
        assert (changes, re.sub(r"\\(.)", r"\1", meaning)) == (rules["scope"], rules["meaning"])
        assert parse_yaml(default.strip("`"), source=name) == defaults.get(name)
        assert ("a list with one per state" in kind) == (name in STATE_KEYS.get(section, ()))
        assert all(f"`{choice}`" in allowed for choice in rules["choices"])
        assert all(f"{limit.replace('_', ' ')} {number}" in allowed for limit, number in rules["limits"].items())
        assert sum(f"{limit.replace('_', ' ')} " in allowed for limit in LIMITS) == len(rules["limits"])


def test_every_key_of_an_input_has_a_row() -> None:
    names = [cells[0].strip("`") for cells in rows_of("Inputs of a search")]
    assert names == [field.name for field in dataclasses.fields(InputConfig)]


def test_the_page_marks_the_keys_of_the_released_code() -> None:
    """The released files are the reference."""
    files = json.loads((ROOT / "tests/data/released_records.json").read_text()).values()
    sections = chain.from_iterable(content.items() for content in files)
    released = {f"{section}.{key}" for section, values in sections if isinstance(values, dict) for key in values}
    rows = {f"{section}.{cells[0].strip('`')}": cells for section in SECTIONS for cells in rows_of(section)}
    assert {name for name, cells in rows.items() if cells[5] == "paper"} == released


def test_the_schema_is_valid() -> None:
    Draft202012Validator.check_schema(CONTENT)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_record_and_base_config_is_valid(path: Path) -> None:
    assert errors_of(read_yaml(ROOT / path)) == []


@pytest.mark.parametrize("path", [path for path in FILES if path.parts[0] == "record"], ids=lambda path: path.stem)
def test_the_configuration_saved_by_a_run_is_valid(path: Path) -> None:
    assert errors_of(load_config(ROOT / path).to_dict()) == []


VALUES = [
    None, "", "x", "RAW", "default", "auto", "basic", "top1", True, False, -1, 0, 1, 2, 3, 4, 8, 0.0, 0.5, 1.5, -0.5,
    [], [1], [0.5], ["x"], [True], [[1]], {}, {"x": 1},
]  # fmt: skip


def is_loaded(owner: type, key: Key, value: Any) -> bool:
    """Return whether a value of a key loads; for keys of states, also as a list."""
    values = value if key.is_per_state and isinstance(value, list) else [value]
    try:
        for single in values:
            parse_value(owner, key.name, Setting(single, "x"), name=key.name)
    except ConfigError:
        return False
    return values != []


def is_whole_float(value: Any, key: Key) -> bool:
    """JSON Schema accepts 0.0 as an integer; `load_config` refuses it."""
    return key.kind is int and isinstance(value, float) and value.is_integer()


@pytest.mark.parametrize(("section", "key"), KEYS, ids=[f"{section}.{key.name}" for section, key in KEYS])
def test_the_schema_accepts_exactly_the_values_that_load(section: str, key: Key) -> None:
    values = [value for value in (*VALUES, *key.choices) if not is_whole_float(value, key)]
    expected = [value for value in values if is_loaded(owner_of(section, key.name), key, value)]
    found = [value for value in values if not errors_of({section: {key.name: value}})]
    assert repr(found) == repr(expected)  # repr: True is not 1
    assert 0 < len(expected) < len(values)


@pytest.mark.parametrize("key", INPUT_KEYS, ids=lambda key: key.name)
def test_the_schema_accepts_exactly_the_inputs_that_load(key: Key) -> None:
    values = [value for value in VALUES if not is_whole_float(value, key)]
    expected = [value for value in values if is_loaded(InputConfig, key, value)]
    found = [value for value in values if not errors_of({"search": {"inputs": [{key.name: value}]}})]
    assert repr(found) == repr(expected)
    assert 0 < len(expected) < len(values)


REFUSED = [
    "datset: {format: RAW}",
    "dataset: {clip_length: 8}",
    "dataset: {format: LMBD}",
    "dataset: 5",
    "dataset: {num_classes: 1}",
    "network: {net_nam: p3d_resnet18}",
    "network: {dropout_ratio: 1.0}",
    "optimizer: {epochs: ten}",
    "optimizer: {epochs: [8, 0]}",
    "optimizer: {epochs: []}",
    "optimizer: {nesterov: no}",
    "optimizer: {lr_decay_epochs: 30}",
    "search: {inputs: [{clip_len: 8}]}",
    "search: {inputs: [{epochs: 8}]}",
    "search: {inputs: 8}",
    "search: {metric: top2}",
]


@pytest.mark.parametrize("text", REFUSED)
def test_the_schema_refuses_what_does_not_load(text: str, tmp_path: Path) -> None:
    assert errors_of(parse_yaml(text, source="x"))
    record = (ROOT / RECORD).read_text()
    (tmp_path / "x.yml").write_text(record)
    load_config(tmp_path / "x.yml")
    merged = parse_yaml(record, source="x")
    for section, values in parse_yaml(text, source="x").items():
        merged[section] = merged.get(section, {}) | values if isinstance(values, dict) else values
    (tmp_path / "x.yml").write_text(json.dumps(merged))
    with pytest.raises(UserError):
        load_config(tmp_path / "x.yml")


@pytest.mark.parametrize("text", ["base: 3", "base: base_config/kinetics_base.yml\nname: x", "- a"])
def test_the_top_level_is_checked(text: str) -> None:
    assert errors_of(parse_yaml(text, source="x"))


def test_the_comment_for_editors_points_to_the_schema() -> None:
    line = re.search(r"^# yaml-language-server: \$schema=(\S+)$", (ROOT / PAGE).read_text(), re.MULTILINE)
    assert line
    assert {(ROOT / path.parent / line[1]).resolve() for path in FILES} == {ROOT / SCHEMA}
