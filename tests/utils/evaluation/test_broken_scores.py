"""NaN or infinite logits are an error of their video from the extraction to the result, never a prediction."""

from pathlib import Path

import numpy as np
import pytest
import torch

from dataset.listing import read_list
from tests.conftest import MakeRecord
from tests.scripts.test_extract_merge import NUM_VIDEOS, extract, merge, read_scores, save_weights
from tests.utils.test_metrics import brute_metrics
from utils.config import load_config
from utils.errors import UserError
from utils.evaluation.provenance import scores_folder


@pytest.fixture
def record(make_record: MakeRecord) -> Path:
    """A record with weights, ready to be evaluated."""
    return save_weights(make_record())


def save_overflowing_weights(record: Path, other: Path) -> list[int]:
    """Give a record weights with which some videos' logits overflow float32; return these videos.

    A class's logit is one feature of the network, as large as it takes: no sum can overflow but where it is meant to.
    """
    config = load_config(record)
    weights = torch.load(load_config(save_weights(other)).weights_path, weights_only=True)
    network = weights["network"]
    network["fc.bias"].zero_()
    network["fc.weight"].zero_().fill_diagonal_(1.0)
    torch.save(weights, load_config(other).weights_path)
    extract(other)
    largest = read_scores(other)[1].max(axis=(1, 2))  # [videos, features]
    feature = int(np.median(largest, axis=0).argmax())
    middle = float(np.median(largest[:, feature]))
    above = float(largest[:, feature][largest[:, feature] > middle].min())
    network["fc.weight"].zero_()[0, feature] = float(np.finfo(np.float32).max) / ((middle + above) / 2)
    config.run_dir.mkdir(parents=True, exist_ok=True)
    torch.save(weights, config.weights_path)
    return np.flatnonzero(largest[:, feature] > middle).tolist()


def test_non_finite_logits_stop_the_extraction_or_make_their_video_missing(make_record: MakeRecord) -> None:
    record = make_record("overflowing")
    broken = save_overflowing_weights(record, make_record("measured"))
    config = load_config(record)
    paths = [video.path for video in read_list(config.dataset.eva_list_file)]
    assert len(broken) == NUM_VIDEOS // 2
    with pytest.raises(UserError, match="NaN or infinite in . of 6 views: .*on_error=skip") as caught:
        extract(record)
    assert str(caught.value).startswith(f"{paths[broken[0]]}: ")
    assert read_scores(record)[0].tolist() == list(range(broken[0]))

    skip = "dataset.on_error=skip"
    extract(record, skip)
    result = merge(record, skip)
    assert [video["path"] for video in result["missing"]] == [paths[video] for video in broken]
    assert all("the network's logits are NaN or infinite" in video["cause"] for video in result["missing"])
    assert result["protocol"]["num_scored"] == NUM_VIDEOS - len(broken)
    assert np.isfinite(read_scores(record)[1]).all()


def test_non_finite_logits_in_a_part_stop_the_merge_or_make_their_video_missing(record: Path) -> None:
    extract(record)
    folder = scores_folder(load_config(record))
    paths = [video.path for video in read_list(load_config(record).dataset.eva_list_file)]
    good = read_scores(record)[1]
    (path,) = (path for path in folder.glob("part-*") if 9 in np.load(path)["videos"])
    with np.load(path) as part:
        members = dict(part)
    members["scores"][members["videos"].tolist().index(9), 1, 2, 0] = np.nan
    np.savez(path, **members)
    said = f"^{paths[9]}: .* 1 of 6 views .*{path.name}.* with: EXTRACT, or .*on_error=skip"
    with pytest.raises(UserError, match=said):
        merge(record)
    result = merge(record, "dataset.on_error=skip")
    assert [video["path"] for video in result["missing"]] == [paths[9]]
    labels = read_list(load_config(record).dataset.eva_list_file).labels
    others = [video for video in range(NUM_VIDEOS) if video != 9]
    video, clip, _ = brute_metrics(good[others], labels[others].tolist(), 12)
    assert [result["metrics"]["video"][f"top{k}"] for k in video] == pytest.approx(list(video.values()))
    assert [result["metrics"]["clip"][f"top{k}"] for k in clip] == pytest.approx(list(clip.values()))

    extract(record)  # as the message says: the part is kept aside, its videos are scored again
    assert len(list(folder.glob(f"corrupt-*-{path.name}"))) == 1
    np.testing.assert_array_equal(read_scores(record)[1], good)
    assert merge(record)["missing"] == []


def test_a_merge_without_one_finite_video_is_an_error(record: Path) -> None:
    extract(record)
    for path in scores_folder(load_config(record)).glob("part-*"):
        with np.load(path) as part:
            members = dict(part)
        np.savez(path, **{**members, "scores": np.full_like(members["scores"], np.inf)})
    with pytest.raises(UserError, match="no video could be scored, all 25 are missing: .*NaN or infinite"):
        merge(record, "dataset.on_error=skip")
