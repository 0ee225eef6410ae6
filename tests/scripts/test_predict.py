"""predict_3d.py: what a network says of videos, and what is written of it."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from dataset import sampling
from dataset.prediction.request import PredictionError
from dataset.transforms.recipes import crop_position, resize_short_side
from model.build import make_initial_network, make_trained_network
from predict_3d import main
from tests.conftest import ROOT, MakeRecord
from tests.videos import encode_video, sequential_frames
from utils.clip_shape import ClipShape
from utils.config import RunConfig, load_config
from utils.errors import UserError
from utils.evaluation.predictions import best_guesses
from utils.training.checkpoint import Position, save_checkpoint


@pytest.fixture
def record(make_record: MakeRecord) -> Path:
    return make_record(sampler={"clip_length": 4, "num_steps": 2, "eva_num_clips": 3})


@pytest.fixture
def weights(record: Path, tmp_path: Path) -> Path:
    """Random weights whose classifier is large enough for classes to differ."""
    network = make_initial_network(load_config(record), trained=None)
    with torch.no_grad():
        network.fc.weight.mul_(8)  # type: ignore[union-attr, operator]
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    return tmp_path / "weights.pth"


def predict(record: Path, weights: Path, *words: object) -> int:
    common = ("--config_file", record, "--weights", weights)
    try:
        main([str(word) for word in (*common, *words)])
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


def expected_scores(config: RunConfig, weights: Path, frames: list[np.ndarray], **protocol: Any) -> np.ndarray:
    """The mean over clips and crops, each view cut, normalized and scored by itself: float [classes]."""
    network = make_trained_network(config, weights).eval()
    mean, std = (torch.tensor(values)[:, None, None, None] for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    size, state, views = config.dataset.eva_crop_size, config.states[-1], []
    clips = protocol.get("clips", config.sampler.eva_num_clips)
    shape = ClipShape(1, state.clip_length, state.num_steps)
    small = resize_short_side(np.stack(frames), size)
    for clip in range(clips):
        offsets = sampling.test_offsets(len(frames), shape, clip=clip, num_clips=clips)
        rows = sampling.frame_indices(offsets, shape, num_frames=len(frames))
        for crop in range(protocol.get("crops", config.dataset.eva_num_crop)):
            top, left = crop_position(small.shape[1], small.shape[2], size, crop_idx=crop)
            view = torch.from_numpy(small[rows][:, top : top + size, left : left + size]).permute(3, 0, 1, 2)
            with torch.inference_mode():
                logits = network.fuse(network(((view / 255 - mean) / std)[None]))
            views.append(logits.softmax(1)[0].numpy())
    return np.mean(views, axis=0)


def test_the_scores_are_those_of_the_records_evaluation(
    record: Path, weights: Path, tiny_set: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    videos = sorted((tiny_set / "test").rglob("*.mp4"))[:3]
    assert (
        predict(record, weights, *videos, "--top_k", 3, "--json", tmp_path / "o.json", "--csv", tmp_path / "o.csv") == 0
    )
    found = json.loads((tmp_path / "o.json").read_text())
    names = (tiny_set / "classes.txt").read_text().splitlines()
    config = load_config(record)
    printed = capsys.readouterr().out
    rows = list(csv.DictReader((tmp_path / "o.csv").read_text().splitlines()))
    assert len(rows) == 9 and [row["rank"] for row in rows[:3]] == ["1", "2", "3"]
    for number, (video, entry) in enumerate(zip(videos, found, strict=True)):
        scores = expected_scores(config, weights, sequential_frames(video))
        best = np.argsort(-scores)[:3]
        assert entry["video"] == str(video) and entry["num_frames"] == 16
        assert entry["seconds"] == pytest.approx(16 / 25)
        assert [guess["label"] for guess in entry["predictions"]] == best.tolist()
        assert [guess["class"] for guess in entry["predictions"]] == [names[label] for label in best]
        np.testing.assert_allclose([guess["score"] for guess in entry["predictions"]], scores[best], atol=1e-5)
        assert f"{100 * scores[best[0]]:6.2f} %  {names[best[0]]}" in printed
        assert rows[3 * number]["video"] == str(video) and rows[3 * number]["class"] == names[best[0]]
        assert float(rows[3 * number]["score"]) == pytest.approx(scores[best[0]], abs=1e-5)
    one_clip = tmp_path / "one.json"
    assert (
        predict(record, weights, videos[0], "sampler.eva_num_clips=1", "dataset.eva_num_crop=1", "--json", one_clip)
        == 0
    )
    guess = json.loads(one_clip.read_text())[0]["predictions"][0]
    scores = expected_scores(config, weights, sequential_frames(videos[0]), clips=1, crops=1)
    assert (guess["label"], guess["score"]) == (scores.argmax(), pytest.approx(scores.max(), abs=1e-5))


def test_a_long_video_is_scored_over_time(record: Path, weights: Path, tmp_path: Path) -> None:
    video = encode_video(tmp_path / "a folder/lång video.mp4", 29, rate=10)
    words = ["--json", tmp_path / "o.json", "--timeline", tmp_path / "t", "--annotate", tmp_path / "a", "--top_k", 12]
    assert predict(record, weights, video.parent, *words) == 0
    (entry,) = json.loads((tmp_path / "o.json").read_text())
    windows = entry["windows"]
    # Clips span 8 frames, 0.8 s; the last window ends with the video and overlaps the one before.
    assert [(w["begin"], w["end"]) for w in windows] == [
        (0.0, pytest.approx(0.8)), (pytest.approx(0.8), pytest.approx(1.6)), (pytest.approx(1.6), pytest.approx(2.4)),
        (pytest.approx(2.4), pytest.approx(2.9)),
    ]  # fmt: skip
    frames, config = sequential_frames(video), load_config(record)
    for first, window in zip((0, 8, 16, 21), windows, strict=True):
        scores = expected_scores(config, weights, frames[first : first + 8], clips=1, crops=1)
        got = {guess["label"]: guess["score"] for guess in window["predictions"]}
        np.testing.assert_allclose([got[label] for label in range(12)], scores, atol=1e-5)
    with Image.open(tmp_path / "t/lång video.mp4.png") as picture:
        assert picture.size[0] > 800
    copy = sequential_frames(tmp_path / "a/lång video.mp4.mp4")
    assert len(copy) == len(frames) and copy[0].shape == frames[0].shape
    assert not list((tmp_path / "a").glob(".*"))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_logits_that_are_not_finite_are_an_error_of_the_video(
    record: Path, weights: Path, tmp_path: Path, value: float, capfd: pytest.CaptureFixture[str]
) -> None:
    video = encode_video(tmp_path / "v.mp4", 29)
    content = torch.load(weights, weights_only=True)
    content["fc.bias"][3] = value
    torch.save(content, weights)
    assert predict(record, weights, video, "--json", tmp_path / "o.json", "--timeline", tmp_path / "t") == 1
    said = capfd.readouterr().err
    assert said.startswith(f"error: {video}: the network's logits are NaN or infinite in ")
    (entry,) = json.loads((tmp_path / "o.json").read_text())
    assert list(entry) == ["video", "error"]
    assert not (tmp_path / "t").exists()


def test_a_short_video_has_no_windows(record: Path, weights: Path, tmp_path: Path) -> None:
    video = encode_video(tmp_path / "short.mp4", 15)
    words = ["--json", tmp_path / "o.json", "--timeline", tmp_path / "t", "--annotate", tmp_path / "a"]
    assert predict(record, weights, video, *words) == 0
    assert json.loads((tmp_path / "o.json").read_text())[0]["windows"] == []
    assert not (tmp_path / "t").exists()
    assert len(sequential_frames(tmp_path / "a/short.mp4.mp4")) == 15


def test_unreadable_files_are_named_and_the_rest_is_done(
    record: Path, weights: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "videos"
    encode_video(folder / "good.mp4", 20)
    (folder / "empty.mp4").touch()
    (folder / "text.mp4").write_text("no video " * 50)
    (folder / "notes.txt").write_text("not looked at")
    good = encode_video(tmp_path / "x.mp4", 20)
    good.rename(folder / os.fsdecode(b"\xff.mp4"))
    (tmp_path / "nothing").mkdir()
    words = [
        folder,
        tmp_path / "none.mp4",
        tmp_path / "nothing",
        "--json",
        tmp_path / "o.json",
        "--csv",
        tmp_path / "o.csv",
    ]
    assert predict(record, weights, *words) == 1
    captured = capfd.readouterr()
    errors = captured.err.strip().splitlines()
    faults = [
        f"cannot read the video {folder}/empty.mp4: the file is empty",
        f"cannot read the video {folder}/text.mp4: Invalid data found when processing input",
        f"{folder}/\\udcff.mp4: its name is not UTF-8; rename it",
        f"cannot read the video {tmp_path}/none.mp4: No such file or directory",
        f"{tmp_path}/nothing: no video in this folder",
    ]
    assert errors[0] == f"{folder}: left out: 1 x no video: Invalid data found when processing input: notes.txt"
    assert errors[1:6] == [f"error: {fault}" for fault in faults]
    assert errors[6:] == ["5 of 6 had errors:", *(f"  {fault}" for fault in faults)]
    assert captured.out.startswith(f"{folder}/good.mp4 (20 frames, 0.8 s)\n")
    found = json.loads((tmp_path / "o.json").read_text())
    assert [("error" in entry) for entry in found] == [True, False, True, True, True, True]
    assert found[0]["error"].endswith("the file is empty")
    rows = list(csv.DictReader((tmp_path / "o.csv").read_text().splitlines()))
    assert [bool(row["error"]) for row in rows] == [True, *[False] * 5, True, True, True, True]


def test_nothing_is_overwritten(record: Path, weights: Path, tmp_path: Path) -> None:
    video = encode_video(tmp_path / "v.mp4", 8)
    (tmp_path / "o.json").write_text("mine")
    with pytest.raises(PredictionError, match="o.json exists already"):
        predict(record, weights, video, "--json", tmp_path / "o.json")
    (tmp_path / "a").mkdir()
    (tmp_path / "a/v.mp4.mp4").write_text("mine")
    with pytest.raises(PredictionError, match=r"v\.mp4\.mp4 exists already"):
        predict(record, weights, video, "--annotate", tmp_path / "a")
    other = encode_video(tmp_path / "other/v.mp4", 8)
    with pytest.raises(PredictionError, match=r"two results would be called .*v\.mp4"):
        predict(record, weights, video, other, "--annotate", tmp_path / "b")
    assert (tmp_path / "o.json").read_text() == "mine"


def test_mistakes_are_said_in_one_line(record: Path, weights: Path, tmp_path: Path) -> None:
    video = encode_video(tmp_path / "v.mp4", 8)
    (tmp_path / "two.txt").write_text("a\nb\n")
    for words, fault in [
        ([video, "--classes", tmp_path / "two.txt"], "2 names for dataset.num_classes 12"),
        ([video, "dataset.crop_sise=3"], "unknown key; did you mean 'crop_size'"),
        ([video, "network.base_width=16"], "weights.pth|size|shape"),
        ([video, "dataset.use_flow=true", "dataset.format=FRAME"], "takes optical flow"),
    ]:
        with pytest.raises(UserError, match=fault):
            predict(record, weights, *words)
    with pytest.raises(UserError, match="no weights: .*current.pth does not exist"):
        main(["--config_file", str(record), str(video)])
    for words in ([], [video, "--top_k", 0]):
        assert predict(record, weights, *words) == 2


def test_a_video_of_classes_of_ones_own(record: Path, weights: Path, tmp_path: Path) -> None:
    video = encode_video(tmp_path / "v.mp4", 8)
    (tmp_path / "mine.txt").write_text("\n".join(f"class {number}" for number in range(12)))
    assert predict(record, weights, video, "--classes", tmp_path / "mine.txt", "--json", tmp_path / "o.json") == 0
    for guess in json.loads((tmp_path / "o.json").read_text())[0]["predictions"]:
        assert guess["class"] == f"class {guess['label']}"


def test_windows_slide_and_equal_neighbors_become_a_segment(record: Path, weights: Path, tmp_path: Path) -> None:
    video = encode_video(tmp_path / "v.mp4", 29, rate=10)
    words = ["--stride", "0.3s", "--json", tmp_path / "o.json", "--segments", tmp_path / "s.csv", "--top_k", 12]
    assert predict(record, weights, video, *words, "--features", tmp_path / "f") == 0
    frames, config = sequential_frames(video), load_config(record)
    starts = [*range(0, 22, 3)]  # clips span 8 frames
    expected = [expected_scores(config, weights, frames[first : first + 8], clips=1, crops=1) for first in starts]
    (entry,) = json.loads((tmp_path / "o.json").read_text())
    assert len(entry["windows"]) == len(starts)
    for window, scores in zip(entry["windows"], expected, strict=True):
        got = {guess["label"]: guess["score"] for guess in window["predictions"]}
        np.testing.assert_allclose([got[label] for label in range(12)], scores, atol=1e-5)
    rows = list(csv.DictReader((tmp_path / "s.csv").read_text().splitlines()))
    best = [int(scores.argmax()) for scores in expected]
    changes = [0, *(i for i in range(1, len(best)) if best[i] != best[i - 1])]
    assert [int(row["label"]) for row in rows] == [best[i] for i in changes]
    assert [float(row["begin"]) for row in rows] == [pytest.approx(entry["windows"][i]["begin"]) for i in changes]
    assert [float(row["end"]) for row in rows][:-1] == [float(row["begin"]) for row in rows][1:]
    assert float(rows[-1]["end"]) == pytest.approx(2.9) and sum(int(row["windows"]) for row in rows) == len(starts)
    features = np.load(tmp_path / "f/v.mp4.npy")
    network = make_trained_network(config, weights)
    classifier = network.get_submodule("fc")
    logits = features @ classifier.weight.detach().numpy().T + classifier.bias.detach().numpy()  # type: ignore[operator]
    np.testing.assert_allclose(torch.from_numpy(logits).softmax(1), expected, atol=1e-5)
    times = list(csv.DictReader((tmp_path / "f/v.mp4.csv").read_text().splitlines()))
    assert [int(row["first_frame"]) for row in times] == starts
    assert [int(row["last_frame"]) for row in times] == [first + 7 for first in starts]
    assert [float(row["end"]) for row in times] == [pytest.approx((first + 8) / 10) for first in starts]


def test_a_short_video_is_one_segment_and_one_row_of_features(record: Path, weights: Path, tmp_path: Path) -> None:
    video = encode_video(tmp_path / "short.mp4", 5)
    words = ["--json", tmp_path / "o.json", "--segments", tmp_path / "s.csv", "--features", tmp_path / "f"]
    assert predict(record, weights, video, tmp_path / "none.mp4", *words) == 1
    best = json.loads((tmp_path / "o.json").read_text())[0]["predictions"][0]
    row, missing = csv.DictReader((tmp_path / "s.csv").read_text().splitlines())
    assert (row["begin"], row["end"], row["label"]) == ("0.000", "0.200", str(best["label"]))
    assert float(row["score"]) == pytest.approx(best["score"], abs=1e-6)
    assert missing["error"].endswith("No such file or directory") and not missing["label"]
    assert len(np.load(tmp_path / "f/short.mp4.npy")) == 1


def test_what_cannot_be_written_of_one_video_costs_nothing_else(
    record: Path, weights: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    names = ("a.mp4", "cost $_$.mp4", "z\x1b[31m.mp4")
    videos = [encode_video(tmp_path / name, 29) for name in names]
    (tmp_path / "a").write_text("a file where the folder should be")
    (tmp_path / "names.txt").write_text("\n".join(f"_$x^{number}" for number in range(12)))
    words = ["--timeline", tmp_path / "t", "--annotate", tmp_path / "a", "--json", tmp_path / "o.json"]
    assert predict(record, weights, *videos, *words, "--classes", tmp_path / "names.txt") == 1
    found = json.loads((tmp_path / "o.json").read_text())
    assert [entry["video"] for entry in found] == [str(video) for video in videos]
    assert all(len(entry["predictions"]) == 5 and "cannot be written" in entry["error"] for entry in found)
    assert sorted(path.name for path in (tmp_path / "t").iterdir()) == [f"{name}.png" for name in names]
    captured = capfd.readouterr()
    assert captured.err.count("error: ") == 3 and "3 of 3 had errors:" in captured.err
    assert "\x1b" not in captured.err + captured.out and r"z\x1b[31m.mp4 (29 frames" in captured.out


def test_names_and_settings_come_with_the_weights(
    record: Path, weights: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    video, config = encode_video(tmp_path / "v.mp4", 8), load_config(record, ["sampler.clip_length=2"])
    content = {"network": torch.load(weights, weights_only=True), "config": config.to_dict()}
    names = [f"named {number}" for number in range(12)]
    save_checkpoint(tmp_path / "c.pth", {**content, "class_names": names}, position=Position())
    assert predict(record, tmp_path / "c.pth", video, "--json", tmp_path / "o.json") == 0
    for guess in json.loads((tmp_path / "o.json").read_text())[0]["predictions"]:
        assert guess["class"] == f"named {guess['label']}"
    assert capfd.readouterr().err == "note: trained with another setting: sampler.clip_length: was 2, is 4\n"
    save_checkpoint(tmp_path / "c.pth", {**content, "class_names": ["too", "few"]}, position=Position())
    assert predict(record, tmp_path / "c.pth", video, "sampler.clip_length=2") == 0
    captured = capfd.readouterr()
    assert captured.err == "" and "named" not in captured.out


def test_bf16_that_is_emulated_is_said(
    record: Path, weights: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    video = encode_video(tmp_path / "v.mp4", 8)
    assert predict(record, weights, video, "optimizer.amp=bf16") == 0
    assert capfd.readouterr().err.startswith("note: bfloat16 (this processor has no bf16 instructions")


def test_equal_scores_are_in_the_order_of_classes() -> None:
    guesses = best_guesses(np.array([0.1, 0.4, 0.1, 0.4]), ["a", "b", "c", "d"], top_k=9)
    assert [guess.name for guess in guesses] == ["b", "d", "a", "c"]


def test_the_script_runs_from_any_folder_and_exits_with_1(record: Path, weights: Path, tmp_path: Path) -> None:
    video = encode_video(tmp_path / "v.mp4", 8)
    command = [sys.executable, ROOT / "predict_3d.py", "--config_file", record, "--weights", weights, "none.mp4"]
    words = [*map(str, command), video.name]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[0] == "error: cannot read the video none.mp4: No such file or directory"
    assert done.stdout.startswith("v.mp4 (8 frames, 0.3 s)")
