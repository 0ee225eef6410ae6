"""Mirroring clips where left and right are part of the class: the label is mirrored too."""

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
    """Class names that have no mirror image; says which."""


def mirrored_name(name: str) -> str:
    """Return a class name with left and right exchanged: what its video shows in a mirror."""
    return _WORDS.sub(lambda match: _in_case_of(match[0], _SIDES[match[0].lower()]), name)


def _in_case_of(model: str, word: str) -> str:
    if model.isupper():
        return word.upper()
    return word.capitalize() if model[0].isupper() else word


def mirrored_labels(names: Sequence[str], *, source: str) -> tuple[int, ...]:
    """Return for each class the class that its mirrored videos show: itself, where neither left nor right is named.

    Args:
        names: The class names, in the order of labels.
        source: The list they belong to, for messages.

    Raises:
        LabelFlipError: A mirrored class is not there, or no name has a side at all.
    """
    labels = {name.lower(): label for label, name in enumerate(names)}
    mirrored = [mirrored_name(name) for name in names]
    for name, other in zip(names, mirrored, strict=True):
        if other.lower() not in labels:
            raise LabelFlipError(
                f"dataset.flip_labels: class '{name}' of {source} becomes '{other}' in a mirror, which is no class; "
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
    """Mirrors half of all clips, and exchanges the labels of those.

    It comes after all other augmentation. That is as good as any place, since every draw before it is as likely as its
    mirror image.

    Attributes:
        mirrored: For each class the class that a mirrored clip of it shows.
        flip: Mirrors a clip.
    """

    mirrored: tuple[int, ...]
    flip: Callable[[Clip], Clip]

    def __call__(self, clip: Clip, label: int, rng: np.random.Generator) -> tuple[Clip, int]:
        """Draw whether, and mirror the clip and exchange its label."""
        if rng.random() >= 0.5:
            return clip, label
        return self.flip(clip), self.mirrored[label]


def make_label_flip(names: Sequence[str], *, source: str, use_flow: bool) -> LabelFlip:
    """Return what mirrors clips of these classes, RGB or optical flow; arguments as for `mirrored_labels`."""
    flip = operations.flip_flow if use_flow else operations.flip_horizontal
    return LabelFlip(mirrored_labels(names, source=source), flip)
