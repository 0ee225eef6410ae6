"""Every page of the documentation: its commands parse, its links, keys, files and quoted messages exist."""

import argparse
import importlib.util
import json
import re
import runpy
import signal
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from docs import make_costs
from tests.conftest import ROOT
from tests.docs_commands import PAGES, Command, blocks, mentioned, page_name
from utils import gpus
from utils.config import load_config

# Commands of other projects.
OTHERS = ("python -m venv", "python -m torch.distributed.launch", "python -m pip")
STARTS = ("bash", "python", "python3", "torchrun", "sbatch")
# Placeholders in the pages, and their replacements.
PLACEHOLDERS = {"NAME": "dg_p3d_resnet50", "N": "1", "RECORD": "plan-synthetic", "X": "plan-synthetic", "OPTION": ""}
RECORDS = {"my-videos", "X"}  # records that the reader writes


class Parsed(BaseException):
    """Raised after a command line is parsed, so that the script does not run."""


@pytest.fixture
def parse_only(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Stop scripts once their command line is parsed; restore signal handlers afterward."""
    original, depth = argparse.ArgumentParser.parse_known_args, 0

    def parse(self: argparse.ArgumentParser, *args: Any, **kwargs: Any) -> tuple[argparse.Namespace, list[str]]:
        nonlocal depth
        depth += 1
        try:
            found = original(self, *args, **kwargs)
        finally:
            depth -= 1
        if depth:  # a subparser
            return found
        raise Parsed([word for word in found[1] if word.startswith("-")])

    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    monkeypatch.setattr(argparse.ArgumentParser, "parse_known_args", parse)
    monkeypatch.chdir(ROOT)
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


def parse_python(words: list[str], *, is_whole: bool) -> None:
    """Parse a command line with its script's parser; without arguments, check that the script exists."""
    is_module = words[0] == "-m"
    name, *arguments = words[1:] if is_module else words
    if name == "-c":
        exec(arguments[0], {})
        return
    assert importlib.util.find_spec(name) if is_module else (ROOT / name).is_file(), name
    if not arguments:
        return
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings(), pytest.raises((Parsed, SystemExit)) as ended:
        patch.setattr(sys, "argv", [name, *arguments])
        warnings.simplefilter("ignore", RuntimeWarning)  # the module is imported already
        run = runpy.run_module if is_module else runpy.run_path
        run(name, run_name="__main__")
    assert ended.value.args == ([],) or not is_whole


def check_overrides(record: str, words: list[str]) -> None:
    """Load a record with the overrides of a command line."""
    overrides = [word for word in words if re.match(r"[a-z]+\.[a-z_]+=", word)]
    path = ROOT / (record if "/" in record else f"record/{record}.yml")
    if path.stem in RECORDS or record.startswith("output/"):
        path = ROOT / "record/budget-own.yml"
    assert path.exists(), path
    load_config(path, [word.replace("=N", "=1").replace("seedN", "seed1") for word in overrides])


def check_command(command: Command) -> None:
    words = [PLACEHOLDERS.get(word, word) for word in command.words]
    if words[0] not in STARTS or command.line.startswith(OTHERS):
        return
    if words[0] == "sbatch":
        words = ["bash", *words[next(i for i, word in enumerate(words) if word.endswith(".sh")) :]]
    if words[0] == "bash":
        assert (ROOT / words[1]).is_file(), words[1]
        if words[1] == "run.sh" and len(words) > 2 and not words[2].startswith("-"):
            check_overrides(words[2], words[3:])
        return
    if words[0] == "torchrun":
        return
    for record in re.findall(r"--config_file (\S+)", command.line):
        check_overrides(record, words)
    parse_python(words[1:], is_whole=command.is_whole)


@pytest.mark.usefixtures("parse_only")
@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_commands_are_valid(page: Path) -> None:
    for command in mentioned(page):
        print(command.line)  # the last one printed is the one that failed
        check_command(command)


def anchors(page: Path) -> set[str]:
    """Return GitHub's anchors for the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CHANGELOG.md"], ids=page_name)
def test_link_targets_exist(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        path = page.parent / name if name else page
        assert path.exists(), target
        assert not anchor or anchor in anchors(path), target


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_lines_are_short(page: Path) -> None:
    """Except in tables, which cannot be wrapped in Markdown."""
    lines = enumerate(page.read_text().splitlines(), start=1)
    assert [f"{number}: {len(line)}" for number, line in lines if len(line) > 120 and not line.startswith("|")] == []


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_files_of_the_project_that_are_named_exist(page: Path) -> None:
    folders = "base_config|benchmarks|dataset|docs|layers|model|record|tests|utils"
    named = re.findall(rf"`((?:{folders})/[\w./-]+\.(?:py|yml|md|sh|json|css))`", page.read_text())
    written = {"record/my-videos.yml", "record/X.yml"}
    assert [name for name in named if not (ROOT / name).exists() and name not in written] == []


def test_every_page_is_reached_from_the_readme() -> None:
    reached, new = set(), {ROOT / "README.md"}
    while new:
        page = new.pop()
        reached.add(page)
        targets = re.findall(r"\]\(([\w./-]+\.md)", page.read_text())
        new |= {(page.parent / target).resolve() for target in targets} - reached
    assert set(PAGES) <= reached


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_examples_of_records_have_keys_that_exist(page: Path) -> None:
    known = json.loads((ROOT / "docs/config.schema.json").read_text())["properties"]
    for text in blocks(page, "yaml"):
        for section, values in (yaml.safe_load(text) or {}).items():
            assert set(values) <= set(known[section]["properties"]), text


def test_messages_quoted_in_the_faq_are_in_the_code() -> None:
    code = "".join(path.read_text() for path in (ROOT / "utils").rglob("*.py"))
    quoted = "".join(blocks(ROOT / "docs/faq.md", "text")).splitlines()
    assert len(quoted) >= 4
    assert [line for line in quoted if line not in code] == []


def test_drivers_in_the_faq_are_those_in_the_code() -> None:
    rows = re.findall(r"^\| (\d+) \| ([\d.]+) \|$", (ROOT / "docs/faq.md").read_text(), re.MULTILINE)
    assert {int(cuda): tuple(map(int, driver.split("."))) for cuda, driver in rows} == {
        cuda: driver for cuda, (driver, _) in gpus._DRIVERS.items()
    }


def test_the_costs_of_the_papers_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Recalculate the fastest row; `python -m docs.make_costs` calculates all of them."""
    page = (ROOT / "docs/reproducing.md").read_text()
    assert re.findall(r"^\| `(op-\S+)` \| ([\d,]+) \|", page, re.MULTILINE) == [
        (name, f"{videos:,}") for name, videos in make_costs.VIDEOS.items()
    ]
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(make_costs, "VIDEOS", {(name := "op-ssv2-dg-p3d-resnet50"): make_costs.VIDEOS[name]})
    assert "\n".join(make_costs.format_rows()[-1:]) in page
    assert "\n".join(make_costs.format_cluster()) in page


def test_the_costs_of_loading_are_those_that_were_measured() -> None:
    """The first figure of a row is ours: clips per second of two workers on two cores."""
    page = (ROOT / "benchmarks/README.md").read_text().partition("## Comparison with other projects")[2]
    rows = re.findall(r"^\| (RAW-250|RAW-12|LMDB) `default` \| ([\d.]+) \|", page, re.MULTILINE)
    assert [float(speed) / 2 for _, speed in rows] == list(make_costs.CLIPS_A_CORE_SECOND.values())
