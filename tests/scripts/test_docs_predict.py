"""The commands of docs/predict.md, as they stand there."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch

import predict_3d
from model.build import make_initial_network
from tests.conftest import ROOT, MakeRecord
from tests.docs_commands import commands
from tests.videos import encode_video
from utils.config import load_config

PAGE = (ROOT / "docs/predict.md").read_text()


def test_the_commands_of_the_page(make_record: MakeRecord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("record").mkdir()
    make_record("my-videos", logging={"output_dir": "output"}).rename("record/my-videos.yml")
    weights = make_initial_network(load_config("record/my-videos.yml"), trained=None).state_dict()
    Path("output/my-videos").mkdir(parents=True)
    torch.save(weights, "output/my-videos/current.pth")
    for name, frames in (("jump.mp4", 12), ("long.mp4", 60), ("videos/a/b.mp4", 20)):
        encode_video(Path(name), frames)
    for _, script, *words in commands(ROOT / "docs/predict.md"):
        assert script == "predict_3d.py"
        predict_3d.main(words)
    assert json.loads(Path("all.json").read_text())[0]["video"] == "videos/a/b.mp4"
    for name, option in (("all.csv", "csv"), ("when.csv", "segments"), ("features/long.mp4.csv", "features")):
        with Path(name).open() as file:
            assert ",".join(csv.DictReader(file).fieldnames or ()) in PAGE, option
    assert len(np.load("features/long.mp4.npy")) == 8
    assert Path("timeline/long.mp4.png").exists() and Path("annotated/long.mp4.mp4").exists()
