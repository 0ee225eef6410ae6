"""The commands in the documentation."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import ROOT

PAGES = sorted(
    [
        *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "benchmarks/README.md")),
        *(ROOT / "docs").rglob("*.md"),
    ]
)
# Words before the command to check: variables, and programs that only start or time it.
_PREFIX = re.compile(r"^(?:[A-Z_]+=\S*|time|export|exec|apptainer exec(?: --nv)? \S+|torchrun --nproc_per_node=\w+)\s+")
_LAUNCHER = ["python", "-m", "utils.launch"]


@dataclass(frozen=True)
class Command:
    """A command of a page.

    Attributes:
        words: The words, without variables before the command.
        line: The line as written, for messages.
        is_whole: Whether the command is complete; commands within sentences may omit arguments.
    """

    words: list[str]
    line: str
    is_whole: bool


def page_name(page: Path) -> str:
    """Return the path of a page relative to the root."""
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path, language: str, *, section: str = "") -> list[str]:
    """Return the code blocks of a page, or of a section, in a language, dedented."""
    text = page.read_text()
    text = text.split(f"\n## {section}\n")[1].split("\n## ")[0] if section else text
    found = re.findall(rf"^( *)```{language}\n(.*?)^ *```$", text, re.MULTILINE | re.DOTALL)
    return [re.sub(rf"^{indent}", "", text, flags=re.MULTILINE) for indent, text in found]


def commands(page: Path, *, section: str = "") -> list[list[str]]:
    """Return the commands in the blocks of a page, or of a section, in order; continued lines are one command."""
    return [_split(line) for text in blocks(page, "bash", section=section) for line in _joined(text)]


def mentioned(page: Path) -> list[Command]:
    """Return all commands of a page, including those within sentences."""
    typed = [line for text in blocks(page, "bash") for line in _joined(text)]
    prose = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    spans = [re.sub(r"\s+", " ", span) for span in re.findall(r"`([^`]+)`", prose)]
    named = [span for span in spans if re.match(r"([A-Z]+=\S+ )*(bash|python|torchrun|sbatch) ", span)]
    return [Command(_split(line), line, line in typed) for line in typed + named]


def _joined(text: str) -> list[str]:
    return [line for line in text.replace("\\\n", " ").splitlines() if line.strip() and not line.startswith("#")]


def _split(line: str) -> list[str]:
    while found := _PREFIX.match(line):
        line = line[found.end() :]
    words = shlex.split(line, comments=True)
    return ["python", *words[3:]] if words[:3] == _LAUNCHER and len(words) > 3 else words
