"""Horizontal flips for classes with a left or right in their names: the label is exchanged with the clip."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from dataset.transforms import operations
from dataset.transforms.operations import Clip
from utils.errors import UserError

_SIDES = {"left": "right", "right": "left"}
_WORDS = re.compile(r"\b(left|right)\b", re.IGNORECASE)


class LabelFlipError(UserError):
    """A class whose mirror image is no class; the message names it."""


def mirrored_name(name: str) -> str:
    """Return a class name with left and right exchanged."""
    return _WORDS.sub(lambda match: _in_case_of(match[0], _SIDES[match[0].lower()]), name)


def _in_case_of(model: str, word: str) -> str:
    if model.isupper():
        return word.upper()
    return word.capitalize() if model[0].isupper() else word


def mirrored_labels(names: Sequence[str], *, source: str) -> tuple[int, ...]:
    """Return the label of each class's mirrored videos; the same label for a name without left or right.

    Args:
        names: The class names, in the order of labels.
        source: The list they belong to, for messages.

    Raises:
        LabelFlipError: A mirrored class does not exist, or no name has left or right in it.
    """
    labels = {name.lower(): label for label, name in enumerate(names)}
    mirrored = [mirrored_name(name) for name in names]
    for name, other in zip(names, mirrored, strict=True):
        if other.lower() not in labels:
            raise LabelFlipError(
                f"dataset.flip_labels: the mirror image of class '{name}' of {source} is '{other}', which is no class; "
                "use dataset.no_horizontal_flip: true"
            )
    if mirrored == list(names):
        raise LabelFlipError(
            f"dataset.flip_labels: no class name of {source} has 'left' or 'right' in it; are the names there "
            "(X_list.classes.txt beside X_list.txt)?"
        )
    return tuple(labels[name.lower()] for name in mirrored)


@dataclass(frozen=True, slots=True)
class LabelFlip:
    """Mirrors half of all clips and exchanges their labels.

    It runs after all other augmentation. The order does not matter, since every other augmentation is as likely as its
    mirror image.

    Attributes:
        mirrored: Label of a mirrored clip, for each label.
        flip: Mirrors a clip.
    """

    mirrored: tuple[int, ...]
    flip: Callable[[Clip], Clip]

    def __call__(self, clip: Clip, label: int, rng: np.random.Generator) -> tuple[Clip, int]:
        """Mirror the clip and its label with probability 0.5."""
        if rng.random() >= 0.5:
            return clip, label
        return self.flip(clip), self.mirrored[label]


def make_label_flip(names: Sequence[str], *, source: str, use_flow: bool) -> LabelFlip:
    """Return the label-aware flip of RGB or optical flow clips; arguments as for `mirrored_labels`."""
    flip = operations.flip_flow if use_flow else operations.flip_horizontal
    return LabelFlip(mirrored_labels(names, source=source), flip)
