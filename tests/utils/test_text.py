"""Text printed to a terminal is safe whatever characters the names of files and classes contain."""

import ast
import io
from pathlib import Path

import pytest

from tests.conftest import ROOT
from utils.cli import run_script, script_parser
from utils.errors import UserError
from utils.logs import open_log
from utils.text import one_line, printable, say

# Window title, color, carriage return, bell, 8-bit control sequence, right-to-left override, invalid UTF-8.
HOSTILE = "a\x1b]0;t\x07\x1b[31mb\rc\x9b2Jd\u202ee\udcff"
SHOWN = r"a\x1b]0;t\x07\x1b[31mb\rc\x9b2Jd\u202ee\udcff"


def test_what_a_terminal_would_interpret_is_escaped() -> None:
    assert printable(HOSTILE) == SHOWN
    assert printable("Übung\t笑う\nsecond line 👍🏽") == "Übung\t笑う\nsecond line 👍🏽"
    assert one_line("two\nlines") == r"two\nlines"
    for number in (*range(0x20), *range(0x7F, 0xA0)):
        assert chr(number) in "\t\n" or chr(number) not in printable(chr(number))


def test_printing_works_in_any_encoding() -> None:
    narrow = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    say("Übung", HOSTILE, file=narrow)
    assert narrow.buffer.getvalue().decode() == f"\\xdcbung\n{SHOWN}\n"


def test_errors_of_scripts_and_their_parsers_are_printable(capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        raise UserError(f"{HOSTILE}\nb: no such file")

    with pytest.raises(SystemExit):
        run_script(fail)
    assert capsys.readouterr().err == f"error: {SHOWN}\\nb: no such file\n"
    with pytest.raises(SystemExit):
        script_parser("").parse_intermixed_args(["--config_file", "x.yml", f"--{HOSTILE}"])
    assert capsys.readouterr().err.endswith(f"error: unrecognized arguments: --{SHOWN}\n")


def test_log_lines_are_printable_on_the_screen_and_in_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    open_log(tmp_path, "test").info(f"missing: {HOSTILE}")
    assert capsys.readouterr().out == f"missing: {SHOWN}\n"
    assert (tmp_path / "log.txt").read_text().endswith(f"test: missing: {SHOWN}\n")


def test_nothing_else_prints() -> None:
    files = [file for place in ("dataset", "layers", "model", "utils") for file in (ROOT / place).rglob("*.py")]
    for file in (*files, *ROOT.glob("*.py")):
        calls = [node.func for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Call)]
        prints = any(isinstance(name, ast.Name) and name.id == "print" for name in calls)
        assert prints == (file.name in ("text.py", "requirements_check.py")), f"{file}: say() prints"
