"""Trainings of small sets end to end: the best epoch, early stops, balance, frozen stages; killed, and on two ranks."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import helpers
from dataset.build import read_lists
from dataset.listing import ListError
from tests import forked
from tests.conftest import MakeRecord
from tests.scripts.test_train import assert_equal, train
from utils.config import ConfigError, load_config
from utils.evaluation.protocol import read_history
from utils.training.checkpoint import load_checkpoint

BEST: dict[str, dict[str, Any]] = {
    "optimizer": {"select": "best", "patience": 2, "epochs": 9, "ema": 0.5, "heldout_fraction": 0.3},
    "sampler": {"balance": "balanced"},
    "logging": {"save_freq": 1, "save_steps": 1},
}
EXACT = (
    "state",
    "epoch",
    "total_epoch",
    "best_epoch",
    "train_loss",
    "clips",
    "learning_rate",
    "eval_top1",
    "eval_mean",
)


def lines_of(run_dir: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run_dir / "log.jsonl").read_text().splitlines()]


def test_a_state_ends_with_its_best_epoch_on_videos_it_has_not_seen(
    make_record: MakeRecord, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = make_record(**BEST)
    config, run_dir = load_config(record), tmp_path / "output/tiny"
    training, heldout = read_lists(config)
    assert heldout is not None
    assert not {video.path for video in training} & {video.path for video in heldout}
    assert len(training) + len(heldout) == 36
    weights, lines = train(record), lines_of(run_dir)
    scores = [(line["eval_top1"], line["eval_mean"]) for line in lines]
    last = len(lines)
    best = max(range(1, last + 1), key=lambda epoch: (scores[epoch - 1], epoch))
    assert last == scores.index(max(scores)) + 1 + 2 < 9  # it waited for two epochs
    assert {line["eval_videos"] for line in lines} == {len(heldout)}
    assert [line["total_epoch"] for line in lines] == list(range(1, last + 1))
    assert (lines[-1]["best_epoch"], lines[-1]["stopped_early"]) == (best, True)
    content, position = load_checkpoint(run_dir / "current.pth")
    assert ((position.state, position.epoch, position.step), "best" in content) == ((1, 0, 0), False)
    if best < last:
        kept = load_checkpoint(run_dir / f"state1_epoch{best:03d}.pth")[0]
        assert_equal(weights, kept["average"])
        assert not torch.equal(kept["network"]["fc.weight"], kept["average"]["fc.weight"])
    said = capsys.readouterr().out
    assert f"state 1 ends after 2 epochs without improvement, with the weights of epoch {best}: top-1" in said
    assert f"{len(training)} training videos, {len(heldout)} held out to choose the epoch" in said
    assert "12 classes, 2 of each" in said
    train(record)  # there is nothing left to do
    assert "training is complete" in capsys.readouterr().out
    history = read_history(config)
    trained = history.trained
    assert history.progress == (9, 9) and trained is not None
    assert trained.validation is not None
    assert (trained.scores_heldout, trained.validation["epoch"]) == (True, best)
    helpers.extract(config, crops=(0,), force=False, trained_by="", merged_by="")
    with pytest.raises(ConfigError, match=r"optimizer\.epochs: was 9, is 12"):
        train(record, "optimizer.epochs=12")


def test_killed_and_continued_equals_uninterrupted_and_two_ranks_do_the_same(
    make_record: MakeRecord, tmp_path: Path
) -> None:
    start = make_record("start", optimizer={"epochs": 1})
    train(start)
    settings = {
        **BEST,
        "optimizer": BEST["optimizer"] | {"epochs": [2, 1], "layer_decay": 0.8, "frozen_stages": 1, "num_gpu": 2},
        "sampler": BEST["sampler"] | {"batch_size": 2},
        "network": {"pretrained_model": str(tmp_path / "output/start/current.pth"), "dropout_ratio": 0.0},
    }
    expected = train(make_record("whole", **settings))
    killed, ranks = make_record("killed", **settings), make_record("ranks", **settings)
    words = [str(killed), "1", "kill:0,1,2", str(killed), "1", "kill:1,0,1"]
    words += [str(ranks), "2", "train"]
    done = forked.run([sys.executable, "-m", "tests.stopped_ranks", *words], check=True)
    assert [line for line in done.stdout.splitlines() if line.startswith("[")] == ["[-9]", "[-9]", "[0, 0]"]
    assert_equal(expected, train(killed))
    output = tmp_path / "output"
    whole = lines_of(output / "whole")
    assert [[line[key] for key in EXACT] for line in lines_of(output / "killed")] == [
        [line[key] for key in EXACT] for line in whole
    ]
    before = load_checkpoint(output / "start/current.pth")[0]["network"]
    same = {name.split(".")[0] for name in before if torch.equal(before[name], expected[name])}
    changed = {name.split(".")[0] for name in before if not torch.equal(before[name], expected[name])}
    assert "stem" in same
    assert changed == {"layer1", "layer2", "layer3", "layer4", "fc"}
    found = lines_of(output / "ranks")
    assert [line["clips"] for line in found[:1]] == [line["clips"] for line in whole[:1]]
    assert found[0]["train_loss"] == pytest.approx(whole[0]["train_loss"], rel=1e-3)
    assert found[0]["eval_videos"] == whole[0]["eval_videos"]


def test_class_weights_train_as_hand_made_ones(make_record: MakeRecord, tmp_path: Path, tiny_set: Path) -> None:
    lines = (tiny_set / "train_list.txt").read_text().splitlines()
    few = [line for line in lines if not line.endswith(" 0")] + [line for line in lines if line.endswith(" 0")][:2]
    (tmp_path / "few_list.txt").write_text("\n".join(few))
    data = {"list_file": str(tmp_path / "few_list.txt")}
    for rule in ("none", "balanced"):
        train(make_record(rule, dataset=data, optimizer={"epochs": 1, "class_weights": rule}))
    plain, weighted = (lines_of(tmp_path / "output" / name)[0] for name in ("none", "balanced"))
    assert plain["clips"] == weighted["clips"]
    assert plain["train_loss"] != weighted["train_loss"]


def test_a_list_of_which_nothing_can_be_held_out_is_refused(
    make_record: MakeRecord, tmp_path: Path, tiny_set: Path
) -> None:
    lines = {line.split()[-1]: line for line in (tiny_set / "train_list.txt").read_text().splitlines()}
    (tmp_path / "one_list.txt").write_text("\n".join(lines.values()))
    record = make_record(dataset={"list_file": str(tmp_path / "one_list.txt")}, optimizer={"select": "best"})
    with pytest.raises(ListError, match=r"no class has two videos, so none can be .*; use optimizer\.select=last"):
        read_lists(load_config(record))
