"""The commands of pages about the embedded experiment, on a small set in its place, with small networks."""

import shutil
import sys
from pathlib import Path

import pytest

import extract_score_3d
import merge_score
import train_3d
import train_3d_op
from dataset.prepare import __main__ as prepare
from model import weights, weights_command
from tests.conftest import ROOT
from tests.docs_commands import commands

SCRIPTS = {f"{script.__name__}.py": script for script in (train_3d, extract_score_3d, merge_score, train_3d_op)}
SMALL = [
    "network.base_width=8", "dataset.crop_size=24", "dataset.eva_crop_size=24", "dataset.num_workers=0",
    "optimizer.epochs=1", "optimizer.warmup_epoch=-1", "optimizer.eva_inter=false", "sampler.batch_size=4",
    "sampler.num_steps=1", "sampler.eva_num_clips=1", "dataset.eva_num_crop=1",
]  # fmt: skip


@pytest.fixture(autouse=True)
def in_a_checkout(tmp_path: Path, tiny_set: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work where the records and the embedded videos are."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data/synthetic").symlink_to(tiny_set)
    (tmp_path / "record").symlink_to(ROOT / "record")
    monkeypatch.chdir(tmp_path)


def run(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a script's command, as it stands there but for what makes it small."""
    assert words[0] == "python"
    monkeypatch.setattr(sys, "argv", [*words[1:], *SMALL])
    SCRIPTS[words[1]].main()


def test_the_steps_and_what_is_made_of_their_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    train, extract, merge, of_others = commands(ROOT / "docs/running.md")[:4]
    for words in (train, extract, merge):
        run(words, monkeypatch)
    assert "25 scored of 25" in Path("output/synthetic-dg-p3d-resnet18/result.txt").read_text()
    run([word.replace("-dg-", "-") for word in train], monkeypatch)
    for words in commands(ROOT / "docs/networks.md")[-2:]:
        words = [word.replace("/tmp/", f"{tmp_path}/") for word in words]
        monkeypatch.setattr(sys, "argv", [*words[2:], *SMALL])
        weights_command.main(weights.__doc__)
    assert Path("p3d.pth").exists() and Path("output/synthetic-p3d-resnet18/released.pth").exists()
    shutil.copy("output/synthetic-dg-p3d-resnet18/current.pth", "weights.pth")
    run(of_others, monkeypatch)
    benchmark = commands(ROOT / "docs/faq.md")[0]
    prepare.main([*benchmark[3:], "--clips", "4", *SMALL])
    assert "limited by" in capsys.readouterr().out


def test_a_dry_run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    run(commands(ROOT / "docs/path-search.md")[0], monkeypatch)
    assert "18 transitions over 9 states" in capsys.readouterr().out


def test_names_and_costs(capsys: pytest.CaptureFixture[str]) -> None:
    for words, count in zip(commands(ROOT / "docs/networks.md")[:2], (174, 165), strict=True):
        exec(words[2], {})
        assert len(capsys.readouterr().out.split()) == count
