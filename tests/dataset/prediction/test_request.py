"""Prediction requests: strides, class names, existing files."""

from pathlib import Path

import pytest

from dataset.prediction.request import Outputs, PredictionError, Stride, choose_names, parse_stride
from tests.conftest import MakeRecord
from utils.config import load_config
from utils.config.load import PROJECT_ROOT, find_file


def test_strides_are_frames_or_seconds() -> None:
    found = {text: parse_stride(text) for text in ("8", "0.5s", "2s", ".25s")}
    assert list(found.values()) == [Stride(8), Stride(seconds=0.5), Stride(seconds=2), Stride(seconds=0.25)]
    for text in ("", "0", "0s", "-3", "1.5", "nan", "infs", "1e3s", "8f", "0.0s", "9" * 5000):
        with pytest.raises(PredictionError, match=r"expected frames, such as 8, or seconds, such as 0\.5s"):
            parse_stride(text)


def test_names_are_the_users_then_the_weights_then_the_lists(make_record: MakeRecord, tiny_set: Path) -> None:
    config = load_config(make_record())
    own, carried = tuple("abcdefghijkl"), tuple("mnopqrstuvwx")
    numbers = tuple(map(str, range(12)))
    listed = tuple((tiny_set / "classes.txt").read_text().splitlines())
    assert choose_names(config, own, carried) == own
    assert choose_names(config, (), carried) == carried
    assert choose_names(config, (), ()) == choose_names(config, (), numbers) == listed
    bare = load_config(make_record(dataset={"list_file": "none.txt", "eva_list_file": "none.txt"}))
    assert choose_names(bare, (), ()) == numbers


def test_paths_in_a_record_are_looked_up_in_the_working_directory_then_the_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_file(Path("base_config/default.yml")) == PROJECT_ROOT / "base_config/default.yml"
    (tmp_path / "base_config").mkdir()
    (tmp_path / "base_config/default.yml").touch()
    assert find_file(Path("base_config/default.yml")) == Path("base_config/default.yml")
    assert find_file(Path("no/such.yml")) == Path("no/such.yml")


def test_no_result_overwrites_another(tmp_path: Path) -> None:
    for outputs, names in (
        (Outputs(json=Path("same"), csv=Path("same")), ["v"]),
        (Outputs(annotate=tmp_path), ["v", "v"]),
        (Outputs(csv=tmp_path / "v.csv", features=tmp_path), ["v"]),
    ):
        with pytest.raises(PredictionError, match=r"two results would be called .*(same|v\.mp4|v\.csv)"):
            outputs.require_new(names)
    Outputs(annotate=tmp_path, timeline=tmp_path, features=tmp_path).require_new(["v", "w"])
