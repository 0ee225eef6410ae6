"""Which settings suit a set of videos, and why: a survey in, choices out. No files, no torch.

The numbers come from trainings of small sets from random weights (docs/data/own-videos.md): of all settings the peak
rate matters most, then that a clip shows the whole of a short action.
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

_SHORT_SECONDS = (8.0, 15.0)  # median and 95th percentile of videos that are an action each
_WINDOW_SECONDS = 2.5  # that a clip of a longer video spans
_FRAMES = 16  # of a clip that shows motion
_STILLS = 4  # frames of a clip that shows looks, over the whole video
_PASSED = 60  # frames that are decoded on the way to one that is asked for alone, where key frames are far apart
_STILLS_LEAD = 0.2  # by which one frame must beat guessing where looks are to tell the classes apart
_CLIPS = 13_000  # that a training shows at least, over all epochs
_EPOCHS = (30, 150)
_COPY_SECONDS = 60.0  # of decoding in all epochs, from which on a copy is worth two more commands
_COPY_MARGIN = 1.25  # short side of the copy over the crop's: crops of a part of the picture stay as sharp
# Training videos from which on a wider network and larger crops are chosen; width, crop of motion, crop of appearance.
_SIZES = ((0, 16, 64, 96), (3000, 32, 112, 112), (30000, 64, 112, 160))
_SIDED = re.compile(r"(?<![a-z])(left|right|clockwise|anticlockwise|counterclockwise|cw|ccw)(?:wards?)?(?![a-z])")


@dataclass(frozen=True, slots=True)
class Choice:
    """A key of the record, its value, and why; an empty reason says that there was nothing to choose."""

    section: str
    key: str
    value: Value
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Advice:
    """What a record is to say.

    Attributes:
        intent: What tells the classes apart.
        why: How that is known.
        choices: Keys in the order of the record.
        copy_side: Short side of the frames of a copy that is made first, pixels; 0: the videos are read as they are.
        copy_reason: Why a copy is made, or is not.
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
    """Choose settings for the videos of a survey; `intent` is what the user says of them."""
    intent, why = (intent, "as --intent says") if intent else _guess_intent(found)
    width, crop = _size(found.num_videos, intent)
    epochs = min(max(round(_CLIPS / found.num_videos / 10) * 10, _EPOCHS[0]), _EPOCHS[1])
    span, sampling = _sampling(found, intent)
    copy_side, copy_reason = _copy(found, crop, reads=epochs * found.num_videos, span=span)
    many = f"{found.num_videos:,} training videos"
    detail = f"{many}: finer details would be learned by heart" if width < 64 else many
    choices = (
        Choice("dataset", "crop_size", crop, detail),
        Choice("dataset", "eva_crop_size", crop, "as in training: of another size the accuracy may be quite another"),
        _flip(found.class_names, intent),
        *([_foreground(found)] if intent == "motion" else []),
        *sampling,
        Choice("optimizer", "epochs", epochs, f"{epochs * found.num_videos // 8:,} steps of 8 clips"),
        Choice("network", "base_width", width, f"channels of the first stage (64 in published networks): {many}"),
    )
    return Advice(intent, why, choices, copy_side, copy_reason)


def _guess_intent(found: Survey) -> tuple[Intent, str]:
    """Return what tells the classes apart, and how that is seen: by their names, or by single frames."""
    if sided := [name for name in found.class_names if _has_side(name)]:
        return "motion", f"class '{sided[0]}' has a direction in its name"
    told = (
        f"one frame tells the class of {100 * found.stills:.0f}% of the videos ({100 * found.chance:.0f}% by guessing)"
    )
    if found.stills >= found.chance + _STILLS_LEAD:
        return "appearance", told
    return "motion", told


def _has_side(name: str) -> bool:
    """Say whether a class name has a direction that a mirror turns around: 'SwipeLeft', 'turn counter-clockwise'."""
    return bool(_SIDED.search(re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower()))


def _size(num_videos: int, intent: Intent) -> tuple[int, int]:
    """Return width and crop for so many training videos."""
    _, width, *crops = next(row for row in reversed(_SIZES) if num_videos >= row[0])
    return width, crops[INTENTS.index(intent)]


def _flip(names: Sequence[str], intent: Intent) -> Choice:
    sided = next((name for name in names if _has_side(name)), "")
    reason = f"'{sided}' is another class in a mirror" if sided else "a mirrored motion may be another class"
    if sided or intent == "motion":
        return Choice("dataset", "no_horizontal_flip", True, reason)
    return Choice("dataset", "no_horizontal_flip", False, "no class name has a side: a mirrored clip is one more")


def _foreground(found: Survey) -> Choice:
    told = f"one frame tells {100 * found.stills:.0f}%, guessing {100 * found.chance:.0f}%"
    return Choice("dataset", "use_fore", True, f"what stands still is taken away ({told})")


def _sampling(found: Survey, intent: Intent) -> tuple[float, tuple[Choice, ...]]:
    """Return how many frames are decoded for a clip, and the keys that say which it takes."""
    _, median, long = found.seconds
    if intent == "appearance":
        reason = f"a frame of every quarter of the video ({median:.1f} s): single frames tell"
        return min(found.frames, float(_STILLS * _PASSED)), _spread(_STILLS, reason)
    if median <= _SHORT_SECONDS[0] and long <= _SHORT_SECONDS[1]:
        reason = f"a frame of every {_FRAMES}th of the video: videos of {median:.1f} s are an action each"
        return found.frames, _spread(_FRAMES, reason)
    step = max(round(_WINDOW_SECONDS * found.rates[1] / _FRAMES), 1)
    spanned = f"a clip spans {_FRAMES * step / found.rates[1]:.1f} s at {found.rates[1]:.3g} frames a second"
    return float(_FRAMES * step), (
        Choice("sampler", "num_segments", 1, f"videos of up to {long:.0f} s may hold more than one action"),
        Choice("sampler", "clip_length", _FRAMES),
        Choice("sampler", "num_steps", step, spanned),
        Choice("sampler", "eva_num_segments", 1, "as in training"),
        Choice("sampler", "eva_num_clips", 10, "over the whole video"),
    )


def _spread(frames: int, reason: str) -> tuple[Choice, ...]:
    """Return the keys of clips of single frames over the whole video."""
    return (
        Choice("sampler", "num_segments", frames, reason),
        Choice("sampler", "clip_length", 1),
        Choice("sampler", "num_steps", 1),
        Choice("sampler", "eva_num_segments", frames, "as in training"),
    )


def _copy(found: Survey, crop: int, *, reads: int, span: float) -> tuple[int, str]:
    """Return the short side of a copy that is worth making, 0 for none, and why.

    Args:
        found: The survey.
        crop: Of the training, pixels.
        reads: Clips that a training reads.
        span: Frames that are decoded for a clip.
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
