"""Which environments run.sh accepts."""

import importlib.metadata
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from utils.launch import requirements_check
from utils.launch.requirements_check import is_satisfied, unsatisfied


@pytest.mark.parametrize(
    ("version", "relation", "wanted", "expected"),
    [
        ("2.13.0+cpu", "==", "2.13.0", True),
        ("2.13", "==", "2.13.0", True),
        ("2.13.0a0+git12", "==", "2.13.0", True),
        ("2.14.1", "==", "2.13.0", False),
        ("2.6.0", ">=", "2.6", True),
        ("2.13.0", ">=", "2.6", True),  # numbers, not text
        ("2.5.1+cu124", ">=", "2.6", False),
        ("4.11.0.86", ">=", "4.11", True),
        ("17.0.1", ">=", "17.1", False),
    ],
)
def test_versions_are_compared_as_releases(version: str, relation: str, wanted: str, expected: bool) -> None:
    assert is_satisfied(version, relation, wanted) is expected


@pytest.mark.parametrize(
    ("torch", "torchvision", "made_for", "expected"),
    [
        ("2.13.0+cpu", "0.28.0", "2.13.0", []),
        ("2.6.0", "0.21.0", "2.6.0", []),
        ("2.15.0", "0.30.0", "2.15.0", []),
        ("2.5.1", "0.20.1", "2.5.1", ["torch>=2.6 (found 2.5.1)", "torchvision>=0.21 (found 0.20.1)"]),
        (
            "2.14.0",
            "0.28.0",
            "2.13.0",
            ["torchvision for torch 2.14.0 (found 0.28.0, which is for 2.13.0)"],
        ),
    ],
)
def test_torch_and_the_torchvision_made_for_it(
    monkeypatch: pytest.MonkeyPatch, torch: str, torchvision: str, made_for: str, expected: list[str]
) -> None:
    versions = {"torch": torch, "torchvision": torchvision}
    real = importlib.metadata.version
    monkeypatch.setattr(importlib.metadata, "version", lambda name: versions.get(name) or real(name))
    monkeypatch.setattr(importlib.metadata, "requires", lambda _: ["numpy", f"torch=={made_for}", "pillow"])
    assert [line for line in unsatisfied(ROOT / "requirements.txt") if line.startswith("torch")] == expected


def test_the_check_needs_no_pip(tmp_path: Path) -> None:
    (tmp_path / "pip").mkdir()
    (tmp_path / "pip/__init__.py").write_text("raise ImportError('no pip in here, as in an environment of uv')")
    done = subprocess.run(
        [sys.executable, requirements_check.__file__, "requirements.txt", "tests/requirements.txt"],
        cwd=ROOT,
        env={"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_unsatisfied_requirements_are_printed(tmp_path: Path) -> None:
    file = tmp_path / "requirements.txt"
    file.write_text("# none\n\nno-such-package-as-this>=1\nnumpy>=999  # newer than any\npyyaml\n")
    found = importlib.metadata.version("numpy")
    assert unsatisfied(file) == ["no-such-package-as-this>=1 (not installed)", f"numpy>=999 (found {found})"]
    file.write_text("numpy~=1.0\n")
    with pytest.raises(SystemExit, match="requirement 'numpy~=1.0': expected NAME"):
        unsatisfied(file)
