"""Differences of the final evaluation from training are reported, and both accuracies if they disagree."""

import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import helpers
from tests.conftest import ROOT, MakeRecord, few_videos
from tests.scripts.test_extract_merge import extract, merge, save_weights
from tests.utils.evaluation.test_result import make_epochs, make_result
from utils.config import RunConfig, load_config
from utils.evaluation.protocol import CLIP_ASPECTS, VIEW_ASPECTS, Trained, compare_with_validation, differences, spread
from utils.evaluation.result import render_summary, render_text
from utils.evaluation.scores import Manifest, read_manifest
from utils.jsonl import write_lines


@pytest.fixture
def config(make_record: MakeRecord) -> RunConfig:
    return load_config(make_record())


def line_of(top1: float, *, videos: int = 35, **changes: Any) -> dict[str, Any]:
    """A line of log.jsonl with validation; top1 in percent."""
    line = {"total_epoch": 2, "eval_top1": top1, "eval_top3": top1, "eval_top5": top1, "eval_videos": videos}
    return {**line, "eval_missing": 0, "precision": "float32", **changes}


def manifest_of(config: RunConfig, **changes: Any) -> Manifest:
    """Return the manifest of an evaluation with the protocol of a record's training."""
    data, state = config.dataset, config.states[-1]
    same = {
        "network": "", "checkpoint_sha256": "", "list_sha256": "", "num_videos": 35, "num_classes": 12,
        "format": data.format, "root_path": data.eva_root_path, "num_clips": 1, "num_crops": 1,
        "num_segments": state.num_segments, "clip_length": state.clip_length, "num_steps": state.num_steps,
        "crop_size": state.crop_size, "use_flow": False, "use_fore": False, "precision": "float32", "checkpoint": "",
        "list_file": data.eva_list_file, "versions": {}, "mean": list(data.mean), "std": list(data.std),
    }  # fmt: skip
    return Manifest(**{**same, **changes})


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, None),
        ({"crop_size": 72}, ("crop size", "24 pixels", "72 pixels")),
        ({"num_segments": 4}, ("frames", "1 x 8", "4 x 8")),
        ({"clip_length": 16}, ("frames", "1 x 8", "1 x 16")),
        ({"num_steps": 2}, ("spacing", "consecutive", "every 2 frames")),
        (
            {"mean": [0.45] * 3},
            (
                "normalization",
                "mean 0.485 0.456 0.406, std 0.229 0.224 0.225",
                "mean 0.45 0.45 0.45, std 0.229 0.224 0.225",
            ),
        ),
        ({"use_flow": True}, ("flow", "no", "yes")),
        ({"use_fore": True}, ("use_fore", "no", "yes")),
        ({"precision": "bfloat16"}, ("precision", "float32", "bfloat16")),
    ],
)
def test_every_difference_in_the_clip_is_found(config: RunConfig, change: Any, expected: Any) -> None:
    found = differences(CLIP_ASPECTS, Trained(config, [line_of(90.0)]), manifest_of(config, **change))
    assert [tuple(one.values()) for one in found] == ([expected] if expected else [])


def test_every_field_of_the_manifest_that_affects_clips_or_videos_has_an_aspect(config: RunConfig) -> None:
    """A new field of the protocol must get an aspect, or be listed here as one that does not affect the input."""
    no_matter = {"network", "checkpoint_sha256", "checkpoint", "list_sha256", "num_classes", "versions"}
    trained, same = Trained(config, [line_of(90.0)]), manifest_of(config)
    assert differences((*CLIP_ASPECTS, *VIEW_ASPECTS), trained, same) == []
    for name in set(Manifest.__dataclass_fields__) - no_matter:
        value = getattr(same, name)
        other: Any = f"other {value}"
        if isinstance(value, bool | int | float | list):
            other = value[::-1] if isinstance(value, list) else not value if isinstance(value, bool) else value + 1
        changed = replace(same, **{name: other})
        assert len(differences((*CLIP_ASPECTS, *VIEW_ASPECTS), trained, changed)) == 1, name


def test_unknown_properties_do_not_differ(config: RunConfig) -> None:
    """log.jsonl of an earlier version has no precision."""
    line = {key: value for key, value in line_of(90.0).items() if key != "precision"}
    assert differences(CLIP_ASPECTS, Trained(config, [line]), manifest_of(config, precision="bfloat16")) == []


def test_the_spread_equals_that_of_simulated_accuracies() -> None:
    """Of two draws from the same network, 1 pair in 22 differs by more, whatever the numbers of videos."""
    rng = np.random.default_rng(0)
    for first, second, right in ((200, 200, 0.7), (1000, 150, 0.9)):
        draws = np.stack([rng.binomial(first, right, 4000) / first, rng.binomial(second, right, 4000) / second], axis=1)
        apart = [abs(a - b) > spread(a, b, videos=(first, second)) for a, b in draws.tolist()]
        assert 0.03 < np.mean(apart) < 0.06


def test_the_spread_of_certain_accuracies_is_zero() -> None:
    assert spread(1.0, 1.0, videos=(5, 7)) == spread(0.0, 0.0, videos=(5, 7)) == 0
    assert spread(1.0, 0.0, videos=(1, 1)) > 1  # one video each is no evidence
    assert spread(0.5, 0.5, videos=(100, 100)) == pytest.approx(2 * math.sqrt(0.25 * 0.02))


@pytest.mark.parametrize(
    ("validation", "clip", "video", "agrees"),
    [
        (94.3, 0.257, 0.257, {"clip": False, "video": False}),  # the real videos of 64 pixels, evaluated at 72
        (94.3, 0.943, 0.943, {"clip": True, "video": True}),
        (94.3, 0.886, 0.914, {"clip": True, "video": True}),
        (60.0, 0.629, 0.857, {"clip": True, "video": False}),  # the mean over views is better by more than chance
    ],
)
def test_accuracies_disagree_if_they_differ_by_more_than_the_spread(
    config: RunConfig, validation: float, clip: float, video: float, agrees: dict[str, bool]
) -> None:
    trained = Trained(config, [line_of(10.0, total_epoch=1), line_of(validation)])
    manifest = manifest_of(config, crop_size=72, num_clips=4, num_crops=3)
    found = compare_with_validation(trained, manifest, accuracies={"clip": clip, "video": video}, num_videos=35)
    assert found is not None
    assert {name: one["agrees"] for name, one in found["compared"].items()} == agrees
    assert found["agrees"] == all(agrees.values())
    assert found["top1"] == pytest.approx(validation / 100)
    assert [one["what"] for one in found["differs"]] == ["crop size", "clips", "crops"]


def test_the_last_validation_may_be_of_an_earlier_epoch(config: RunConfig) -> None:
    trained = Trained(config, [line_of(50.0, total_epoch=5), {"total_epoch": 7, "precision": "float32"}])
    found = compare_with_validation(trained, manifest_of(config), accuracies={"clip": 0.9}, num_videos=35)
    assert found is not None and found["epoch"] == 5
    assert found["differs"] == [{"what": "weights", "training": "epoch 5", "here": "epoch 7"}]
    without = Trained(config, [{"total_epoch": 7}])
    assert compare_with_validation(without, manifest_of(config), accuracies={"clip": 0.9}, num_videos=35) is None


def test_the_text_has_both_accuracies_the_rule_and_the_differences(config: RunConfig) -> None:
    result = make_result(trained=Trained(config, [line_of(99.0, videos=200)]))
    text = render_text(result, "")
    clip, video = (f"{100 * result['metrics'][row]['top1']:.2f} %" for row in ("clip", "video"))
    for said in (
        "DISAGREE by more than their spread",
        "Top-1 there: 99.00 % of 200 videos, after epoch 2.",
        f"Top-1 here: clip {clip} (further apart than",
        f"video {video} (further apart than",
        "Spread: 2 sqrt(p (1-p) (1/n1 + 1/n2)), 2 standard deviations of the difference of two binomial fractions",
        "crop size  24 pixels there, 56 pixels here",
        "clips      1 per video there, 4 per video here",
        "(!) crop size  56 pixels, BUT 24 pixels IN TRAINING",
        "(!) frames     1 x 16, BUT 1 x 8 IN TRAINING",
    ):
        assert said in text, said
    assert "DISAGREE" in render_summary(result)
    assert json.loads(json.dumps(result, allow_nan=False)) == result


def test_agreement_and_unknown_training_are_reported(config: RunConfig) -> None:
    agreeing = make_result()
    clip = 100 * agreeing["metrics"]["clip"]["top1"]
    text = render_text(make_result(trained=Trained(config, [line_of(clip)])), "")
    assert "agrees within the spread" in text
    assert "DISAGREE" not in text
    assert "training       unknown: the weights were not trained by this" in render_text(agreeing, "")
    assert agreeing["protocol"]["differs_from_training"] is None


def test_a_training_and_its_evaluation_at_another_size(make_record: MakeRecord, tiny_set: Path, tmp_path: Path) -> None:
    """A real training: its log has the needed values, and an evaluation at the training size has no mark."""
    dataset = few_videos(tiny_set, tmp_path, num_train=12, num_test=9) | {"eva_num_crop": 1}
    record = make_record(optimizer={"epochs": 1}, dataset=dataset, sampler={"eva_num_clips": 1})
    helpers.train(load_config(record), force=False)
    extract(record, crops=(0,))
    same = merge(record)
    assert same["protocol"]["differs_from_training"] == []
    # The same clips, crops and weights: the validation's very number, by another way.
    validation = same["quick_evaluation"]
    for k in ("top1", "top3", "top5"):
        assert validation[k] == pytest.approx(same["metrics"]["clip"][k]) == pytest.approx(same["metrics"]["video"][k])
    assert validation["agrees"] and validation["differs"] == []

    larger = ("dataset.eva_crop_size=32", "sampler.eva_num_clips=2")
    extract(record, *larger, crops=(0,), force=True)
    marked = merge(record, *larger)
    said = [{"what": "crop size", "training": "24 pixels", "here": "32 pixels"}]
    assert marked["protocol"]["differs_from_training"] == said
    assert [one["what"] for one in marked["quick_evaluation"]["differs"]] == ["crop size", "clips"]
    # Changed at the evaluation, the training's size is still that of the training.
    extract(record, "dataset.crop_size=32", *larger, crops=(0,))
    assert merge(record, "dataset.crop_size=32", *larger, force=True)["protocol"]["differs_from_training"] == said


def test_weights_from_elsewhere_have_no_known_training(make_record: MakeRecord, tmp_path: Path) -> None:
    record = save_weights(make_record())
    config = load_config(record)
    write_lines(config.run_dir / "log.jsonl", [{**make_epochs(epochs=1)[0], **line_of(99.0)}])
    config.weights_path.rename(tmp_path / "elsewhere.pth")
    own = f"network.eva_model={tmp_path / 'elsewhere.pth'}"
    extract(record, own)
    result = merge(record, own)
    assert result["protocol"]["differs_from_training"] is None
    assert result["quick_evaluation"] is None
    assert read_manifest(config.run_dir / "scores") is not None


def test_a_search_validates_on_its_held_out_videos() -> None:
    config_file = "record/search-synthetic-dg-p3d-resnet18.yml"
    config = load_config(config_file, ["search.selection=heldout"])
    trained = Trained(config, [line_of(90.0, videos=60)])
    found = {one["what"]: one["training"] for one in differences(VIEW_ASPECTS, trained, manifest_of(config))}
    assert found == {"list": f"held-out part of {config.dataset.list_file}", "videos": "60"}
    by_list = Trained(load_config(config_file, ["search.selection=eval_list"]), trained.epochs)
    assert [one["what"] for one in differences(VIEW_ASPECTS, by_list, manifest_of(config))] == ["videos"]


def test_own_videos_are_evaluated_at_the_training_size() -> None:
    base = yaml.safe_load((ROOT / "base_config/own_base.yml").read_text())["dataset"]
    assert base["eva_crop_size"] == base["crop_size"]
    page = (ROOT / "docs/data/own-videos.md").read_text()
    (block,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    larger = yaml.safe_load(block)["dataset"]
    assert larger["eva_crop_size"] == larger["crop_size"] != base["crop_size"]


def test_the_validation_of_the_best_epoch_is_compared(make_record: MakeRecord) -> None:
    config = load_config(make_record(), ["optimizer.select=best"])
    scores = {1: 20.0, 2: 80.0, 3: 60.0}
    lines = [line_of(top1, total_epoch=n, state=0, epoch=n, best_epoch=2) for n, top1 in scores.items()]
    trained = Trained(config, lines)
    assert (trained.kept["epoch"], trained.scores_heldout) == (2, True)
    found = compare_with_validation(trained, manifest_of(config), accuracies={"video": 0.8}, num_videos=40)
    assert found is not None
    assert (found["epoch"], found["top1"]) == (2, 0.8)
    differs = {one["what"]: one["training"] for one in found["differs"]}
    assert differs["list"] == f"held-out part of {config.dataset.list_file}"
    assert "weights" not in differs
