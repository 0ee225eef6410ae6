"""The files and names in CONTRIBUTING.md exist."""

import ast
import re

import pytest

from tests.conftest import ROOT

TEXT = (ROOT / "CONTRIBUTING.md").read_text()
ANSWERS = re.findall(r"^\| .*\? \| `([\w/.]+)` \| `(\w+)` \|$", TEXT, re.MULTILINE)


def test_there_are_ten_questions() -> None:
    assert len(ANSWERS) == TEXT.count("? |") == 10


@pytest.mark.parametrize("file, name", ANSWERS)
def test_the_answers_exist(file: str, name: str) -> None:
    body = ast.parse((ROOT / file).read_text()).body
    assert name in [node.name for node in body if isinstance(node, ast.ClassDef | ast.FunctionDef)]


def test_the_files_and_folders_of_the_map_exist() -> None:
    table = TEXT.split("| where | what |")[1].split("\n\n")[0]
    places = [place for row in table.splitlines()[2:] for place in re.findall(r"`([\w/.]+)`", row.split("|")[1])]
    assert len(places) >= 20
    assert [place for place in places if not (ROOT / place).exists()] == []
