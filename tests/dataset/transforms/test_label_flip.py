"""A mirrored clip of a class with left or right in its name gets the label of the mirrored class."""

from pathlib import Path

import numpy as np
import pytest

from dataset.build import make_class_weights, make_reader, make_training_clips, make_transform
from dataset.listing import read_list
from dataset.transforms.label_flip import LabelFlipError, make_label_flip, mirrored_labels, mirrored_name
from tests.conftest import MakeRecord
from utils.config import ConfigError, load_config

# The class names of Something-Something V2 with left or right in them, and two without.
NAMES = [
    "Holding something",
    "Pulling something from left to right",
    "Pulling something from right to left",
    "Pushing something from left to right",
    "Pushing something from right to left",
    "Turning the camera left while filming something",
    "Turning the camera right while filming something",
    "Turning something upright",  # contains the letters, not the word
]


def test_sides_are_exchanged_word_by_word() -> None:
    assert mirrored_labels(NAMES, source="x") == (0, 2, 1, 4, 3, 6, 5, 7)
    assert mirrored_name("Left, LEFT and right; bright leftover") == "Right, RIGHT and left; bright leftover"
    for name in NAMES:
        assert mirrored_name(mirrored_name(name)) == name


def test_names_without_a_mirror_image_are_errors() -> None:
    with pytest.raises(LabelFlipError, match="mirror image of class 'turn left' of x_list.txt is 'turn right'"):
        mirrored_labels(["turn left", "stand"], source="x_list.txt")
    with pytest.raises(LabelFlipError, match="no class name of x_list.txt has 'left' or 'right' in it"):
        mirrored_labels(["0", "1"], source="x_list.txt")


@pytest.mark.parametrize("use_flow", [False, True])
def test_a_clip_and_its_label_are_mirrored_together(use_flow: bool) -> None:
    rng = np.random.default_rng(0)
    clip = rng.integers(0, 256, (3, 4, 5, 2 if use_flow else 3), dtype=np.uint8)
    expected = clip[:, :, ::-1].copy()
    if use_flow:
        expected[..., 0] = 255 - expected[..., 0]
    flip = make_label_flip(NAMES, source="x", use_flow=use_flow)
    count = 0
    for _ in range(400):
        got, label = flip(clip, 1, rng)
        assert label in (1, 2)
        assert np.array_equal(got, expected if label == 2 else clip)
        count += label == 2
    assert 160 < count < 240


def test_a_record_with_flip_labels_trains_on_mirrored_clips(
    make_record: MakeRecord, tiny_set: Path, tmp_path: Path
) -> None:
    listed = tmp_path / "sides_list.txt"
    listed.write_bytes((tiny_set / "train_list.txt").read_bytes())
    names = (tiny_set / "classes.txt").read_text().splitlines()
    left, right = names.index("left"), names.index("right")
    assert "left-right" in names and "right-left" in names
    listed.with_suffix(".classes.txt").write_text("\n".join(names))
    data = {"list_file": str(listed), "ra_n": 0, "crop_scale": [1.0, 1.0], "flip_labels": True}
    config = load_config(make_record(dataset={**data, "no_horizontal_flip": False}))
    videos = read_list(listed)
    index = next(i for i, video in enumerate(videos) if video.label == left)
    transform = make_transform(config, 0)
    clips = make_training_clips(
        config, 0, videos=videos, reader=make_reader(config, str(tiny_set)), transform=transform
    )
    samples = [clips[epoch, index] for epoch in range(12)]
    assert {sample.label for sample in samples} == {left, right}
    # The same draws without label flips: the clip is equal where the label is, otherwise its mirror image.
    plain = load_config(make_record("plain", dataset={**data, "flip_labels": False, "no_horizontal_flip": True}))
    assert make_transform(plain, 0) == transform  # which must not mirror a second time
    same = make_training_clips(plain, 0, videos=videos, reader=make_reader(plain, str(tiny_set)), transform=transform)
    for epoch, sample in enumerate(samples):
        clip = same[epoch, index].clip
        assert np.array_equal(sample.clip, clip if sample.label == left else clip.flip(2))


def test_no_horizontal_flip_and_flip_labels_contradict(make_record: MakeRecord) -> None:
    path = make_record(dataset={"flip_labels": True, "no_horizontal_flip": True})
    with pytest.raises(ConfigError, match="dataset.flip_labels: labels are only swapped for flipped clips"):
        load_config(path)


def test_released_records_of_something_something_still_never_flip() -> None:
    for name in ("op-ssv1-dg-p3d-resnet50", "op-ssv2-dg-p3d-resnet50"):
        data = load_config(f"record/{name}.yml").dataset
        assert data.no_horizontal_flip and not data.flip_labels


def test_class_weights_count_mirrored_clips(make_record: MakeRecord, tmp_path: Path) -> None:
    (tmp_path / "few_list.txt").write_text(
        "".join(f"{i}.mp4 9 {label}\n" for i, label in enumerate([0, 0, 0, 1, 2, 2]))
    )
    (tmp_path / "few_list.classes.txt").write_text("go left\ngo right\nstay\nnone\n")
    data = {"list_file": str(tmp_path / "few_list.txt"), "num_classes": 4}
    words = ["optimizer.class_weights=balanced", "dataset.flip_labels=true", "dataset.no_horizontal_flip=false"]
    config = load_config(make_record(dataset=data), words)
    weights = make_class_weights(config, read_list(tmp_path / "few_list.txt"))
    assert weights is not None
    assert weights.tolist() == [1, 1, 1, 1]  # two clips of each of three classes
    config = load_config(make_record(dataset=data), words[:1])
    weights = make_class_weights(config, read_list(tmp_path / "few_list.txt"))
    assert weights is not None
    assert weights.tolist() == pytest.approx([2 / 3, 2, 1, 1])
    assert make_class_weights(load_config(make_record(dataset=data)), read_list(tmp_path / "few_list.txt")) is None
