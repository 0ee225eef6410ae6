"""The record that `folder --record` writes, and the next commands that it prints."""

import re
import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from dataset.build import make_reader, make_training_clips, make_transform, read_evaluation_list, read_training_list
from dataset.prepare.__main__ import main
from dataset.prepare.advice import advise
from dataset.prepare.annotations import PrepareError
from dataset.prepare.own_record import Places, next_commands, write_record
from tests.dataset.prepare.commands import prepare
from tests.dataset.prepare.test_advice import GESTURES
from tests.official_sets import Videos
from utils.config import load_config


def test_a_record_has_reasons_and_is_not_written_twice(
    layout: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, record = layout("own"), tmp_path / "my record.yml"
    prepare("folder", "--root", data, "--record", record, "--intent", "motion", output=tmp_path / "lists")
    printed, text = capsys.readouterr().out, record.read_text()
    assert "19 training videos: 3 classes, 5 to 8 of each, median 6" in text
    assert "64 x 48 pixels" in text and "motion (as --intent says)" in text
    reasons = dict(re.findall(r"^  (\w+): .*?# (.*)$", text, re.MULTILINE))
    assert {"crop_size", "no_horizontal_flip", "use_fore", "num_segments", "epochs", "base_width"} <= set(reasons)
    assert all(reason in printed for key, reason in reasons.items() if key != "format")
    config = load_config(record, [])
    assert (config.dataset.num_classes, config.dataset.format, config.dataset.root_path) == (3, "RAW", str(data))
    assert config.base.endswith("own_motion_base.yml") and config.states[0].num_segments == 16
    # The same choices again: the measured times in the reasons may differ.
    record.write_text(text.replace("# ", "# it took 3 s more; "))
    prepare("folder", "--root", data, "--record", record, "--intent", "motion", output=tmp_path / "lists")
    assert f"{record}: unchanged" in capsys.readouterr().out
    with pytest.raises(PrepareError, match=r"my record\.yml exists with other content; move it away"):
        prepare("folder", "--root", data, "--record", record, "--intent", "appearance", output=tmp_path / "lists")
    assert "it took 3 s more" in record.read_text()


def test_an_intent_without_a_record_is_an_error_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(PrepareError, match="--intent motion needs a record: add its path"):
        prepare("folder", "--root", tmp_path / "none", "--intent", "motion", output=tmp_path)


@pytest.mark.parametrize("name", ["mine", "mine.yaml"])
def test_a_record_that_run_sh_would_not_find_is_an_error_before_anything_is_read(name: str, tmp_path: Path) -> None:
    with pytest.raises(PrepareError, match=rf"--record {name}: a record's name must end in \.yml"):
        prepare("folder", "--root", tmp_path / "none", "--record", name, output=tmp_path)


def test_the_next_commands_make_what_the_record_names(
    tmp_path: Path, videos: Videos, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    root, record = Path("our videos"), Path("record/it's mine.yml")
    for split in ("train", "val", "test"):
        for number, name in enumerate(("jump", "run")):
            videos.make(root / split / name / f"{split}.mp4", 16 + number)
    prepare("folder", "--root", root, "--workers", "1", output=Path("lists"))
    lists = {split: Path(f"lists/our_videos_{split}_list.txt") for split in ("train", "val", "test")}
    places = Places(root, lists, Path("data/our videos_small"))
    capsys.readouterr()
    found, advice = GESTURES, advise(GESTURES, "motion")
    write_record(record, places, found=found, labels=[0, 1, 2], advice=advice)
    printed = [line.strip() for line in capsys.readouterr().out.split("next:\n")[1].splitlines()]
    assert printed == list(next_commands(record, places, advice))
    words = [shlex.split(command, comments=True) for command in printed]
    for command in words[:3]:
        assert command[:4] == ["python", "-m", "dataset.prepare", "lmdb"]
        main([*command[3:], "--workers", "1"])
    assert words[3] == ["bash", "run.sh", "it's mine"]
    assert words[4][:3] == ["bash", "run.sh", "it's mine"]
    config = load_config(record, [*words[4][3:], "dataset.num_classes=2"])
    assert config.dataset.format == "LMDB" and "test" in config.dataset.eva_list_file
    with_val = load_config(record, ["dataset.num_classes=2"])
    for each in (config, with_val):
        videos_of = read_training_list(each)
        reader = make_reader(each, each.dataset.root_path)
        clips = make_training_clips(each, 0, videos=videos_of, reader=reader, transform=make_transform(each, 0))
        assert clips[0, 0].clip.shape == (16, 64, 64, 3)
        assert len(read_evaluation_list(each)) == 2
    assert words[5][:2] == ["python", "predict_3d.py"] and Path(words[5][3]) == record


def test_a_record_in_another_folder_is_run_by_its_path() -> None:
    places = Places(Path("videos"), {"train": Path("x_train_list.txt"), "test": Path("x_test_list.txt")}, Path("small"))
    for record, words in (("mine.yml", "bash run.sh ./mine.yml"), ("/a b/mine.yml", "bash run.sh '/a b/mine.yml'")):
        assert words in list(next_commands(Path(record), places, advise(GESTURES, "motion")))


@pytest.mark.parametrize("name", ["line\nbreak: 'x' # y", 'quote " \\', "\udcff no UTF-8", "笑う", "long name " * 20])
def test_a_record_names_any_folder(name: str, tmp_path: Path) -> None:
    places = Places(Path(name), {"train": Path("x_train_list.txt"), "test": Path("x_test_list.txt")}, Path("small"))
    advice = advise(replace(GESTURES, height=64), "motion")  # no copy
    write_record(tmp_path / "r.yml", places, found=GESTURES, labels=[0, 1, 2], advice=advice)
    assert load_config(tmp_path / "r.yml", []).dataset.root_path == str(Path(name))
