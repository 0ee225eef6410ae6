"""The README's commands for your own videos and for predictions, as they stand there, on small real videos."""

import csv
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import extract_score_3d
import merge_score
import predict_3d
import train_3d
from dataset.prepare import __main__ as prepare
from tests import official_sets
from tests.conftest import ROOT
from tests.docs_commands import blocks, commands
from tests.official_sets import Videos

README = ROOT / "README.md"
# What makes a run small enough for a test.
SMALL = [
    "network.net_name=p3d_resnet18", "network.base_width=8", "dataset.crop_size=24", "dataset.eva_crop_size=24",
    "dataset.num_workers=0", "optimizer.epochs=1", "optimizer.warmup_epoch=-1", "sampler.batch_size=4",
    "sampler.eva_num_clips=2", "optimizer.eva_inter=false",
]  # fmt: skip


def test_the_example_in_python() -> None:
    (example,) = blocks(README, "python")
    names: dict[str, Any] = {}
    with torch.device("meta"):  # shapes only
        exec(example, names)
    assert [tuple(head.shape) for head in names["heads"]] == [(1, 400)] * 2 and names["scores"].shape == (1, 400)


def test_your_own_videos_and_predictions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("record").mkdir()
    official_sets.own(Path("videos"), Videos(tmp_path / "encoded"))
    setup, folder, run, predict = commands(README, section="A laptop and your own videos")
    assert setup == ["bash", "run.sh", "--setup"]  # tests/test_cluster.py
    assert folder[:3] == ["python", "-m", "dataset.prepare"]
    prepare.main([*folder[3:], "--workers", "1"])
    assert run == ["bash", "run.sh", "my-videos"]
    for script in (train_3d, extract_score_3d, merge_score):
        monkeypatch.setattr(sys, "argv", [script.__name__, "--config_file", "record/my-videos.yml", *SMALL])
        script.main()
    assert Path("output/my-videos/result.html").exists()
    for name in ("some-video.mp4", "long.mp4"):
        shutil.copy(next(Path("videos").rglob("*.mp4")), name)
    for words in (predict, *commands(README, section="Predict")):
        assert words[:2] == ["python", "predict_3d.py"]
        predict_3d.main([*words[2:], *SMALL])
    for name in ("all.csv", "when.csv"):
        with Path(name).open() as file:
            assert {row["class"] for row in csv.DictReader(file)} <= {"hand waving", "jump", "笑う"}
