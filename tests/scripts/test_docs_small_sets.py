"""The commands and keys of docs/small-sets.md, as they stand there."""

import re
import sys
from pathlib import Path

import pytest
import yaml

from dataset.build import read_lists
from dataset.listing import read_list
from dataset.prepare.__main__ import main as prepare
from tests.conftest import ROOT, MakeRecord
from tests.docs_commands import blocks, commands
from tests.utils.evaluation.test_result import make_result
from tests.videos import encode_video
from utils.config import load_config
from utils.evaluation import summary
from utils.sealed import write_sealed_json

PAGE = ROOT / "docs/small-sets.md"


def test_the_commands_of_the_page(
    make_record: MakeRecord, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    lines = []
    for number in range(9):
        encode_video(Path(f"videos/{number}.mp4"), 20, rate=25)
        lines.append(f"{number}.mp4 20 {number % 3}")
    Path("dataset").mkdir()
    Path("dataset/videos_train_list.txt").write_text("\n".join(lines))
    record = make_record("my-videos", dataset={"num_classes": 3})
    folds, _, train, _, tables, store = commands(PAGE)
    prepare(folds[3:])
    for fold in "123":
        config = load_config(record, [re.sub(r"\$\{?fold\}?", fold, word) for word in train[3:]])
        training, test = read_lists(config)
        assert test is not None
        assert (len(training), len(test)) == (6, 3)
        folder = Path(f"output/fold{fold}/my-videos")
        assert config.run_dir == folder
        folder.mkdir(parents=True)
        write_sealed_json(folder / "result.json", make_result(config=config.to_dict(), scores_digest=fold))
    monkeypatch.setattr(sys, "argv", tables[2:])
    capsys.readouterr()
    summary.main()
    assert "| mean of 3 runs |" in capsys.readouterr().out
    prepare([*store[3:], "--workers", "1"])
    seconds, pictures = (yaml.safe_load(block) for block in blocks(PAGE, "yaml"))
    words = [
        f"{section}.{key}={value}"
        for part in (seconds, pictures)
        for section in part
        for key, value in part[section].items()
    ]
    lists = ["dataset.list_file=dataset/small_train_list.txt", "dataset.eva_list_file=dataset/small_train_list.txt"]
    config = load_config(record, [*words, *lists])
    assert read_lists(config)[0][0].num_frames == 10
    assert len(read_list("dataset/small_train_list.txt")) == 9


def test_the_keys_of_the_page_are_keys(make_record: MakeRecord) -> None:
    config = load_config(make_record())
    for section, key, values in re.findall(r"\| `(\w+)\.(\w+)` \| (.*?) \|", PAGE.read_text()):
        assert hasattr(getattr(config, section), key)
        for value in re.findall(r"`(\w+)`", values):
            other = load_config(make_record(), [f"{section}.{key}={value}"])
            assert getattr(getattr(other, section), key) == value
