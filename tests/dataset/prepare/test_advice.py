"""The settings chosen for a survey: sampling, foreground, flips, sizes, epochs, a copy, each with its reason."""

from dataclasses import replace

import numpy as np
import pytest

from dataset.prepare.advice import INTENTS, Advice, Intent, advise
from dataset.prepare.single_frame import frame_accuracy, image_features
from dataset.prepare.survey import Survey

GESTURES = Survey(
    num_videos=147,
    class_names=("circle", "eight", "triangle"),
    seconds=(2.0, 3.5, 6.0),
    rates=(10.0, 25.0, 30.0),
    height=480,
    width=640,
    frames=80.0,
    decode_seconds=0.001,
    frame_accuracy=0.35,
    chance=1 / 3,
)


def values(advice: Advice) -> dict[str, object]:
    return {choice.key: choice.value for choice in advice.choices}


def test_short_actions_are_covered_whole_and_still_content_is_subtracted() -> None:
    advice = advise(GESTURES, None)
    assert (advice.intent, advice.base) == ("motion", "base_config/own_motion_base.yml")
    chosen = values(advice)
    assert (chosen["num_segments"], chosen["clip_length"], chosen["eva_num_segments"]) == (16, 1, 16)
    assert chosen["use_fore"] is True and chosen["no_horizontal_flip"] is True
    assert (chosen["crop_size"], chosen["eva_crop_size"], chosen["base_width"]) == (64, 64, 16)
    assert chosen["epochs"] == 90
    assert advice.copy_side == 80 and "18 min" in advice.copy_reason  # 147 x 90 x 80 x 1 ms


def test_clips_of_longer_videos_span_a_few_seconds() -> None:
    for rate, step in ((25.0, 4), (60.0, 9), (5.0, 1)):
        chosen = values(advise(replace(GESTURES, seconds=(5.0, 30.0, 60.0), rates=(rate, rate, rate)), "motion"))
        assert (chosen["num_segments"], chosen["clip_length"], chosen["num_steps"]) == (1, 16, step)


def test_appearance_is_detected_by_single_frames() -> None:
    advice = advise(replace(GESTURES, frame_accuracy=0.8), None)
    assert advice.intent == "appearance" and "80%" in advice.why
    chosen = values(advice)
    assert "use_fore" not in chosen and chosen["no_horizontal_flip"] is False
    assert chosen["num_segments"] == 4
    assert advise(replace(GESTURES, frame_accuracy=0.8), "motion").intent == "motion"
    assert advise(GESTURES, "appearance").base == "base_config/own_appearance_base.yml"


@pytest.mark.parametrize(
    "name",
    [
        "swipe left",
        "SwipeRight",
        "turn_clockwise",
        "Counter-Clockwise",
        "to the LEFT",
        "rotate ccw",
        "leftwards",
        "left2",
    ],
)
def test_names_with_sides_are_never_mirrored(name: str) -> None:
    sided = replace(GESTURES, class_names=("circle", name), frame_accuracy=0.9)
    assert advise(sided, None).intent == "motion"
    assert values(advise(sided, "appearance"))["no_horizontal_flip"] is True


@pytest.mark.parametrize("name", ["bright", "leftover soup", "upright piano", "cleft", "accwall"])
def test_names_that_only_contain_the_letters_may_be_mirrored(name: str) -> None:
    assert advise(replace(GESTURES, class_names=("circle", name), frame_accuracy=0.9), None).intent == "appearance"


@pytest.mark.parametrize("intent", INTENTS)
def test_larger_sets_get_larger_networks_and_fewer_epochs(intent: Intent) -> None:
    sizes = (20, 147, 1000, 5000, 100_000)
    chosen = [values(advise(replace(GESTURES, num_videos=size), intent)) for size in sizes]
    widths, crops, epochs = ([one[key] for one in chosen] for key in ("base_width", "crop_size", "epochs"))
    assert widths == [16, 16, 16, 32, 64]
    assert crops == sorted(crops)  # type: ignore[type-var]
    assert epochs == [150, 90, 30, 30, 30]


def test_a_copy_is_made_where_decoding_would_take_long_and_frames_are_large() -> None:
    assert advise(GESTURES, "motion").copy_side == 80
    assert advise(GESTURES, "appearance").copy_side == 120
    assert advise(replace(GESTURES, height=100), "motion").copy_side == 0
    assert advise(replace(GESTURES, decode_seconds=0.00001), "motion").copy_side == 0
    # A clip is a small part of a long video, so copying all of it would cost more than it saves.
    long = replace(GESTURES, seconds=(60.0, 300.0, 600.0), frames=100_000.0)
    assert advise(long, "motion").copy_side == 0


def test_every_real_choice_has_a_reason() -> None:
    for intent in INTENTS:
        bare = {choice.key for choice in advise(GESTURES, intent).choices if not choice.reason}
        assert bare <= {"clip_length", "num_steps"}


def features_of(colors: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Features of noisy images of one color each."""
    pictures = colors[:, None, None] + rng.normal(0, 20, (len(colors), 64, 64, 3))
    return np.stack([image_features(picture.clip(0, 255).astype(np.uint8)) for picture in pictures])


def test_one_frame_predicts_colors_but_not_noise() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(100) % 5
    groups = [str(index) for index in range(100)]
    palette = rng.uniform(40, 200, (5, 3))
    assert frame_accuracy(features_of(palette[labels], rng), labels, groups=groups) > 0.95
    assert frame_accuracy(features_of(palette[rng.permutation(labels)], rng), labels, groups=groups) < 0.4


def test_a_persons_room_does_not_count_as_the_appearance_of_a_class() -> None:
    """Every person has one room and one class: a frame predicts the person, but not the class of other persons."""
    rng = np.random.default_rng(0)
    persons = np.repeat(np.arange(20), 5)
    labels = persons % 4
    rooms = rng.uniform(40, 200, (20, 3))
    features = features_of(rooms[persons], rng)
    assert frame_accuracy(features, labels, groups=[str(index) for index in range(100)]) > 0.8
    assert frame_accuracy(features, labels, groups=[str(person) for person in persons]) < 0.5
    assert frame_accuracy(features, labels, groups=["one"] * 100) == 0
