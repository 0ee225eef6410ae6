"""The journal: what was appended is on the disk, torn lines are dropped, other searches and full disks are named."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT
from utils.search.journal import JournalError, open_journal

IDENTITY = {"graph": ["initial -> (0,0)"], "optimizer.seed": 0, "rates": (1.0, 0.1)}
EVENTS: list[dict[str, Any]] = [
    {"event": "score", "score": 1.5},
    {"event": "score", "score": None},
    {"event": "decision", "edge": "größer"},
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.jsonl"


def write(path: Path) -> None:
    journal = open_journal(path, IDENTITY)
    for event in EVENTS:
        journal.append(event)


def test_events_come_back_in_their_order(path: Path) -> None:
    write(path)
    assert open_journal(path, IDENTITY).events == EVENTS
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert lines[1:] == EVENTS
    assert lines[0]["identity"]["rates"] == [1.0, 0.1]


def test_cut_anywhere_it_holds_every_whole_line_and_goes_on(path: Path) -> None:
    write(path)
    content = path.read_bytes()
    for length in range(len(content) + 1):
        path.write_bytes(content[:length])
        journal = open_journal(path, IDENTITY)
        whole = max(content[:length].count(b"\n") - 1, 0)
        assert journal.events == EVENTS[:whole]
        journal.append({"event": "next"})
        assert open_journal(path, IDENTITY).events == [*EVENTS[:whole], {"event": "next"}]


@pytest.mark.parametrize(
    ("identity", "named"),
    [
        (IDENTITY | {"optimizer.seed": 3}, "optimizer.seed: was 0, is 3"),
        (IDENTITY | {"graph": []}, r"graph: was \['initial -> \(0,0\)'\], is \[\]"),
        (IDENTITY | {"more": 1}, "more: was None, is 1"),
        ({"graph": IDENTITY["graph"], "rates": (1.0, 0.1)}, "optimizer.seed: was 0, is None"),
    ],
)
def test_the_journal_of_another_search_is_refused_by_name(path: Path, identity: dict, named: str) -> None:
    write(path)
    before = path.read_bytes()
    with pytest.raises(JournalError, match=f"another search: {named}.*--force"):
        open_journal(path, identity)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda lines: [*lines[:1], b"{no json}\n", *lines[2:]], "line 2: damaged"),
        (lambda lines: [*lines[:2], b"[1]\n"], "line 3: damaged"),
        (lambda lines: [b"\xff\xfe\n", *lines[1:]], "line 1: damaged"),
        (lambda lines: [b'{"format": 99, "identity": {}}\n', *lines[1:]], "line 1: not a journal of this version"),
    ],
)
def test_damage_inside_is_named(path: Path, damage: Any, message: str) -> None:
    write(path)
    path.write_bytes(b"".join(damage(path.read_bytes().splitlines(keepends=True))))
    with pytest.raises(JournalError, match=message):
        open_journal(path, IDENTITY)


def test_a_folder_in_its_place_is_named(tmp_path: Path) -> None:
    (tmp_path / "journal.jsonl").mkdir()
    (tmp_path / "journal.jsonl" / "x").touch()
    with pytest.raises(JournalError, match=r"journal\.jsonl: cannot be read"):
        open_journal(tmp_path / "journal.jsonl", IDENTITY)


def test_a_full_disk_leaves_the_journal_as_it_was(path: Path) -> None:
    """A limit on the size of files stands for the disk: the system refuses the rest of the line in the same way."""
    write(path)
    before = path.read_bytes()
    program = f"""
import resource, signal, sys
from pathlib import Path
from utils.search.journal import JournalError, open_journal
journal = open_journal(Path(sys.argv[1]), {IDENTITY!r})
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, ({len(before) + 10}, resource.RLIM_INFINITY))
try:
    journal.append({{"event": "score", "text": "x" * 100}})
except JournalError as error:
    print(error)
    print(len(journal.events))
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(path)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    message, events = done.stdout.splitlines()
    assert "cannot be written" in message
    assert "the same command continues" in message
    assert int(events) == len(EVENTS)
    assert path.read_bytes() == before


def test_an_event_is_on_the_disk_when_append_returns(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[bytes] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        real(descriptor)
        synced.append(path.read_bytes())

    monkeypatch.setattr(os, "fsync", fsync)
    journal = open_journal(path, IDENTITY)
    journal.append(EVENTS[0])
    assert len(synced) == 2
    assert json.loads(synced[-1].splitlines()[-1]) == EVENTS[0]
