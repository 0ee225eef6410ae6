"""The house rules that a reader may rely on: imports point down, files and functions stay small."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT

PACKAGES = ("dataset", "layers", "model", "utils")
SCRIPTS = ("train_3d", "train_3d_op", "extract_score_3d", "merge_score", "predict_3d")
# A script within a package, in two files: its commands about records need the composition root.
COMMAND_LINE = ("dataset/prepare/__main__.py", "dataset/prepare/inspecting/commands.py")
FILES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py")) + sorted(ROOT.glob("*.py"))

# What each part may import of this project.
ALLOWED = {
    "utils": {"utils"},
    "layers": {"layers", "utils"},
    "model": {"model", "layers", "utils"},
    "dataset": {"dataset", "utils"},
    "helpers": {"dataset", "layers", "model", "utils"},
    **{script: {"helpers", "dataset", "utils"} for script in COMMAND_LINE},
    **{script: {"helpers", "dataset", "model", "utils"} for script in SCRIPTS},
}
# Read before torch is there: a mistake in a record must show at once.
TORCH_FREE = (
    "utils/config/load.py",
    "utils/config/schema.py",
    "utils/config/network_names.py",
    "utils/cli.py",
    "utils/evaluation/scores.py",
    "utils/metrics.py",
    "utils/evaluation/protocol.py",
    "utils/evaluation/result.py",
    "utils/planning/graph.py",
    "utils/planning/knee.py",
    "utils/planning/search.py",
    "utils/search/journal.py",
    "utils/config/record.py",
    "utils/search/events.py",
    "utils/search/progress.py",
    "utils/search/result.py",
    "utils/search/page/labels.py",
    "utils/search/page/layout.py",
    "utils/search/page/page.py",
    "utils/search/page/figures.py",
    "utils/search/output.py",
    "merge_score.py",
    "dataset/synthetic/make.py",
)
LONGEST_FILE, LONGEST_FUNCTION = 400, 60


def imported_modules(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module or ""


def part_of(path: Path) -> str:
    relative = path.relative_to(ROOT)
    if relative.as_posix() in COMMAND_LINE:
        return relative.as_posix()
    return relative.parts[0] if len(relative.parts) > 1 else relative.stem


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_down(path: Path) -> None:
    own = {*PACKAGES, "helpers", *SCRIPTS, "tests", "benchmarks"}
    used = {module.split(".")[0] for module in imported_modules(path)} & own
    assert used <= ALLOWED[part_of(path)]


def test_the_walk_sees_imports_inside_functions() -> None:
    assert "helpers" in set(imported_modules(ROOT / "train_3d.py"))


def torch_users(path: Path, seen: set[Path]) -> Iterator[Path]:
    """Files that import torch at their top, among a file, the packages it is in, and what these import at their top."""
    if path in seen or not path.exists():
        return
    seen.add(path)
    for folder in path.relative_to(ROOT).parents:
        yield from torch_users(ROOT / folder / "__init__.py", seen)
    for node in ast.parse(path.read_text()).body:
        modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            modules = [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
        for module in modules:
            if module.split(".")[0] in ("torch", "torchvision"):
                yield path
            place = ROOT / module.replace(".", "/")
            yield from torch_users(place.with_suffix(".py"), seen)
            yield from torch_users(place / "__init__.py", seen)


@pytest.mark.parametrize("name", TORCH_FREE)
def test_configuration_and_merging_need_no_torch(name: str) -> None:
    assert (ROOT / name).is_file()
    assert list(torch_users(ROOT / name, set())) == []


def test_the_walk_finds_torch() -> None:
    assert list(torch_users(ROOT / "utils/training/engine.py", set()))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_functions_are_small(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") <= LONGEST_FILE
    long = [
        node.name
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef) and (node.end_lineno or 0) - node.lineno >= LONGEST_FUNCTION
    ]
    assert long == []
