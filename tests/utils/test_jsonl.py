"""Files of lines: appended lines are read, a truncated one is dropped, all other damage and other owners are named."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT
from utils.jsonl import LineFile, LineFileError, open_identified, read_lines, write_lines

LINES: list[dict[str, Any]] = [{"n": 1, "text": "größer\n"}, {"n": None, "rates": [1.0, 0.1]}, {"crc32": "0"}]
IDENTITY = {"graph": ["initial -> (0,0)"], "optimizer.seed": 0, "rates": (1.0, 0.1)}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "folder" / "lines.jsonl"
    file = LineFile(path, remedy="start over")
    for line in LINES[:2]:
        file.append(line)
    return path


def read(path: Path) -> list[dict[str, Any]]:
    return LineFile(path, remedy="start over").lines


def test_lines_are_read_back_in_order_and_are_json(path: Path) -> None:
    assert read(path) == read_lines(path, remedy="") == LINES[:2]
    for line, written in zip(map(json.loads, path.read_text().splitlines()), LINES, strict=False):
        assert re.fullmatch("[0-9a-f]{8}", line.pop("crc32"))
        assert line == written
    again = path.with_name("again.jsonl")
    write_lines(again, LINES[:2])
    assert again.read_bytes() == path.read_bytes()


def test_numbers_that_are_not_finite_are_null(path: Path) -> None:
    LineFile(path, remedy="").append({"a": float("nan"), "b": [float("inf"), {"c": -float("inf")}]})
    assert read(path)[-1] == {"a": None, "b": [None, {"c": None}]}


def test_a_truncated_file_keeps_every_complete_line_and_can_grow(path: Path) -> None:
    content = path.read_bytes()
    for length in range(len(content) + 1):
        path.write_bytes(content[:length])
        whole = LINES[: content[:length].count(b"\n")]
        assert read_lines(path, remedy="") == whole
        assert path.stat().st_size == length
        file = LineFile(path, remedy="")
        file.append({"more": 1})
        assert read(path) == file.lines == [*whole, {"more": 1}]


def test_flipped_bits_are_refused(path: Path) -> None:
    content = path.read_bytes()
    for place in range(0, len(content) * 8, 3):
        flipped = bytearray(content)
        flipped[place // 8] ^= 1 << place % 8
        path.write_bytes(flipped)
        with pytest.raises(LineFileError, match=r"lines\.jsonl, line [12]: .*; restore the file, or start over"):
            read(path)


@pytest.mark.parametrize(
    "damage",
    [
        lambda lines: lines[1:],
        lambda lines: [lines[0], lines[2]],
        lambda lines: [lines[0], lines[2], lines[1]],
        lambda lines: [lines[0], lines[0], *lines[1:]],
        lambda lines: [lines[0], b"[1]\n", *lines[1:]],
        lambda lines: [lines[0], b"\n", *lines[1:]],
        lambda lines: [*lines[:2], b"\xff\xfe\n"],
    ],
)
def test_lost_moved_duplicate_and_foreign_lines_are_refused(path: Path, damage: Any) -> None:
    LineFile(path, remedy="").append({"n": 3})
    path.write_bytes(b"".join(damage(path.read_bytes().splitlines(keepends=True))))
    with pytest.raises(LineFileError, match="corrupt"):
        read(path)


def test_lines_of_earlier_versions_are_refused_as_such(path: Path) -> None:
    path.write_text('{"epoch": 1}\n')
    with pytest.raises(LineFileError, match=r"line 1: no checksum, as in earlier versions.*start over"):
        read(path)


def test_a_file_can_grow_after_truncation(path: Path) -> None:
    file = LineFile(path, remedy="")
    file.append({"n": 3})
    file.keep(1)
    assert read(path) == file.lines == LINES[:1]
    file.append({"n": 4})
    assert read(path) == [LINES[0], {"n": 4}]
    LineFile(path, remedy="").keep(0)
    assert path.read_bytes() == b""


def test_a_second_writer_is_detected(path: Path) -> None:
    first, second = LineFile(path, remedy=""), LineFile(path, remedy="")
    first.append({"n": 3})
    with pytest.raises(LineFileError, match="another process writes to it too"):
        second.append({"n": 3})
    assert len(read(path)) == 3


def test_a_folder_under_the_path_is_named(tmp_path: Path) -> None:
    (tmp_path / "lines.jsonl").mkdir()
    with pytest.raises(LineFileError, match=r"lines\.jsonl: cannot be read"):
        read(tmp_path / "lines.jsonl")


def test_a_full_disk_leaves_the_file_as_it_was(path: Path) -> None:
    """A limit on the file size simulates a full disk: the system refuses the rest of the line in the same way."""
    before = path.read_bytes()
    program = f"""
import resource, signal, sys
from pathlib import Path
from utils.jsonl import LineFile, LineFileError
file = LineFile(Path(sys.argv[1]), remedy="")
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, ({len(before) + 10}, resource.RLIM_INFINITY))
try:
    file.append({{"text": "x" * 100}})
except LineFileError as error:
    print(error)
    print(len(file.lines))
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
file.append({{"n": 3}})
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(path)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    message, count = done.stdout.splitlines()
    assert "cannot be written" in message
    assert "the same command continues" in message
    assert int(count) == 2
    assert read(path) == [*LINES[:2], {"n": 3}]


def test_an_interrupted_write_leaves_nothing_and_a_line_waits_for_the_disk(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, before, real, synced = LineFile(path, remedy=""), path.read_bytes(), os.fsync, []

    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    def fsync(descriptor: int) -> None:
        real(descriptor)
        synced.append(path.read_bytes())

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        file.append({"n": 3})
    assert path.read_bytes() == before
    assert file.lines == LINES[:2]
    monkeypatch.setattr(os, "fsync", fsync)
    file.append({"n": 3})
    assert synced == [path.read_bytes()]
    many = LineFile(path, remedy="", sync_seconds=3600)
    for n in (4, 5, 6):
        many.append({"n": n})
    assert len(synced) == 2


def test_a_file_identifies_its_owner(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    file, lines = open_identified(path, IDENTITY, work="search", remedy="use --force")
    assert lines == []
    open_identified(path, {"other": 1}, work="search", remedy="")  # an empty file may change its owner
    file, lines = open_identified(path, IDENTITY, work="search", remedy="")
    assert lines == []
    written = path.stat().st_mtime_ns
    open_identified(path, IDENTITY, work="search", remedy="")
    assert path.stat().st_mtime_ns == written
    file.append(LINES[0])
    assert open_identified(path, IDENTITY, work="search", remedy="")[1] == LINES[:1]
    before = path.read_bytes()
    for identity, named in [
        (IDENTITY | {"optimizer.seed": 3}, "optimizer.seed: was 0, is 3"),
        (IDENTITY | {"graph": []}, r"graph: was \['initial -> \(0,0\)'\], is \[\]"),
        (IDENTITY | {"more": 1}, "more: was None, is 1"),
        ({"graph": IDENTITY["graph"], "rates": (1.0, 0.1)}, "optimizer.seed: was 0, is None"),
    ]:
        with pytest.raises(LineFileError, match=f"belongs to another search: {named}; use --force"):
            open_identified(path, identity, work="search", remedy="use --force")
    assert path.read_bytes() == before
    write_lines(path, [{"format": 99, "identity": {}}, {"n": 1}])
    with pytest.raises(LineFileError, match="line 1: not a file of this version; use --force"):
        open_identified(path, IDENTITY, work="search", remedy="use --force")
