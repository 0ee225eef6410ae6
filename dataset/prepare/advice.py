"""Choose settings for a set of videos, each with a reason: a survey in, choices out. No files, no torch.

The constants come from training small sets from random weights (docs/data/own-videos.md): of all settings the peak
learning rate matters most, then that a clip covers the whole of a short action.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from dataset.prepare.survey import Survey
from utils.text import describe_time

Intent = Literal["motion", "appearance"]
INTENTS: tuple[Intent, ...] = ("motion", "appearance")
Value = bool | int | float | str | list[float]

_SHORT_SECONDS = (8.0, 15.0)  # largest median and 95th percentile of videos that show one action each
_WINDOW_SECONDS = 2.5  # span of a clip of longer videos
_FRAMES = 16  # frames of a clip for motion
_FEW_FRAMES = 4  # frames of a clip for appearance, spread over the whole video
_FRAMES_PER_SEEK = 60  # frames decoded to reach a single one, where key frames are far apart
_FRAME_LEAD = 0.2  # accuracy of one frame above chance from which on appearance distinguishes the classes
_CLIPS = 13_000  # clips that a training takes at least, over all epochs
_EPOCHS = (30, 150)  # fewest and most epochs
_COPY_SECONDS = 60.0  # decoding time of all epochs from which on a copy is worth its extra commands
_COPY_MARGIN = 1.25  # short side of the copy over the crop size, so that crops of a part of the frame stay sharp
# From how many training videos on; width of the network, crop size for motion, crop size for appearance.
_SIZES = ((0, 16, 64, 96), (3000, 32, 112, 112), (30000, 64, 112, 160))
_SIDED = re.compile(r"(?<![a-z])(left|right|clockwise|anticlockwise|counterclockwise|cw|ccw)(?:wards?)?(?![a-z])")


@dataclass(frozen=True, slots=True)
class Choice:
    """A key of the record, its value and the reason; an empty reason means that there was no choice."""

    section: str
    key: str
    value: Value
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Advice:
    """The settings chosen for a record.

    Attributes:
        intent: What distinguishes the classes.
        why: How that was decided.
        choices: Keys in the order of the record.
        copy_side: Short side of a downscaled copy to train from, pixels; 0 to read the original videos.
        copy_reason: Why a copy is made or not.
    """

    intent: Intent
    why: str
    choices: tuple[Choice, ...]
    copy_side: int
    copy_reason: str

    @property
    def base(self) -> str:
        """The base config of the record."""
        return f"base_config/own_{self.intent}_base.yml"


def advise(found: Survey, intent: Intent | None) -> Advice:
    """Choose settings for the videos of a survey; `intent` is the user's choice, None to guess it."""
    intent, why = (intent, "as --intent says") if intent else _guess_intent(found)
    width, crop = _size(found.num_videos, intent)
    epochs = min(max(round(_CLIPS / found.num_videos / 10) * 10, _EPOCHS[0]), _EPOCHS[1])
    span, sampling = _sampling(found, intent)
    copy_side, copy_reason = _copy(found, crop, reads=epochs * found.num_videos, span=span)
    many = f"{found.num_videos:,} training videos"
    detail = f"{many}: finer details would be memorized" if width < 64 else many
    choices = (
        Choice("dataset", "crop_size", crop, detail),
        Choice("dataset", "eva_crop_size", crop, "as in training: at another size the accuracy may differ much"),
        _flip(found.class_names, intent),
        *([_foreground(found)] if intent == "motion" else []),
        *sampling,
        Choice("optimizer", "epochs", epochs, f"{epochs * found.num_videos // 8:,} steps of 8 clips"),
        Choice("network", "base_width", width, f"channels of the first stage (64 in published networks): {many}"),
    )
    return Advice(intent, why, choices, copy_side, copy_reason)


def _guess_intent(found: Survey) -> tuple[Intent, str]:
    """Return what distinguishes the classes, judged by their names and by single frames, and the reason."""
    if sided := [name for name in found.class_names if _has_side(name)]:
        return "motion", f"class '{sided[0]}' has a direction in its name"
    told = f"one frame predicts the class of {found.frame_accuracy:.0%} of the videos (guessing: {found.chance:.0%})"
    if found.frame_accuracy >= found.chance + _FRAME_LEAD:
        return "appearance", told
    return "motion", told


def _has_side(name: str) -> bool:
    """Return whether a class name has a direction that a mirror reverses: 'SwipeLeft', 'turn counter-clockwise'."""
    return bool(_SIDED.search(re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower()))


def _size(num_videos: int, intent: Intent) -> tuple[int, int]:
    """Return the width of the network and the crop size for a number of training videos."""
    _, width, *crops = next(row for row in reversed(_SIZES) if num_videos >= row[0])
    return width, crops[INTENTS.index(intent)]


def _flip(names: Sequence[str], intent: Intent) -> Choice:
    sided = next((name for name in names if _has_side(name)), "")
    reason = f"'{sided}' is another class in a mirror" if sided else "a mirrored motion may be another class"
    if sided or intent == "motion":
        return Choice("dataset", "no_horizontal_flip", True, reason)
    return Choice("dataset", "no_horizontal_flip", False, "no class name has a side: mirrored clips are more data")


def _foreground(found: Survey) -> Choice:
    told = f"one frame predicts {found.frame_accuracy:.0%}, guessing {found.chance:.0%}"
    return Choice("dataset", "use_fore", True, f"still content is subtracted ({told})")


def _sampling(found: Survey, intent: Intent) -> tuple[float, tuple[Choice, ...]]:
    """Return the number of frames decoded for a clip, and the keys of frame sampling."""
    _, median, long = found.seconds
    if intent == "appearance":
        reason = f"a frame of every quarter of the video ({median:.1f} s): single frames suffice"
        return min(found.frames, float(_FEW_FRAMES * _FRAMES_PER_SEEK)), _spread(_FEW_FRAMES, reason)
    if median <= _SHORT_SECONDS[0] and long <= _SHORT_SECONDS[1]:
        reason = f"a frame of every {_FRAMES}th of the video: videos of {median:.1f} s are an action each"
        return found.frames, _spread(_FRAMES, reason)
    step = max(round(_WINDOW_SECONDS * found.rates[1] / _FRAMES), 1)
    spanned = f"a clip spans {_FRAMES * step / found.rates[1]:.1f} s at {found.rates[1]:.3g} frames per second"
    return float(_FRAMES * step), (
        Choice("sampler", "num_segments", 1, f"videos of up to {long:.0f} s may hold more than one action"),
        Choice("sampler", "clip_length", _FRAMES),
        Choice("sampler", "num_steps", step, spanned),
        Choice("sampler", "eva_num_segments", 1, "as in training"),
        Choice("sampler", "eva_num_clips", 10, "over the whole video"),
    )


def _spread(frames: int, reason: str) -> tuple[Choice, ...]:
    """Return the keys of clips of single frames, spread over the whole video."""
    return (
        Choice("sampler", "num_segments", frames, reason),
        Choice("sampler", "clip_length", 1),
        Choice("sampler", "num_steps", 1),
        Choice("sampler", "eva_num_segments", frames, "as in training"),
    )


def _copy(found: Survey, crop: int, *, reads: int, span: float) -> tuple[int, str]:
    """Return the short side of a downscaled copy, pixels, or 0 if none is worth making, and the reason.

    Args:
        found: The survey.
        crop: Crop size of the training, pixels.
        reads: Number of clips that a training reads.
        span: Number of frames decoded for a clip.
    """
    seconds = found.decode_seconds * min(span, found.frames)
    every, once = reads * seconds, found.num_videos * found.frames * found.decode_seconds
    side = 2 * round(crop * _COPY_MARGIN / 2)
    if side * 1.5 > found.height or every < max(_COPY_SECONDS, 2 * once):
        return 0, f"read as they are: decoding takes {describe_time(every)} of a core in the whole training"
    return side, (
        f"decoding the videos for every clip would take {describe_time(every)} of a core, for a copy of small frames "
        f"{describe_time(once)}"
    )
