"""Registries of formats, augmentations and metrics as "module:name", so that listing names imports nothing.

A new format, augmentation or metric needs its own file and a row here (docs/extending.md).
"""

from dataclasses import dataclass
from importlib import import_module
from typing import Any


@dataclass(frozen=True)
class Format:
    """A storage format of videos.

    Attributes:
        home: "module:name" of a function that opens a dataset.readers.FrameReader, given the root of the videos, and
            `use_flow=` and `max_pixels=` if has_flow and has_limit are set.
        has_flow: Whether it can store optical flow.
        has_limit: Whether pictures may have any size, so that dataset.max_pixels must limit them.
        has_times: Whether frames have time stamps; others need dataset.picture_rate for sampler.frame_rate.
    """

    home: str
    has_flow: bool = False
    has_limit: bool = False
    has_times: bool = False


# dataset.format
FORMATS = {
    "RAW": Format("dataset.readers.raw_video:RawVideoReader", has_limit=True, has_times=True),
    "FRAME": Format("dataset.readers.images:open_folders", has_flow=True, has_limit=True),
    "LMDB": Format("dataset.readers.lmdb:open_lmdb", has_flow=True, has_limit=True),
}

# dataset.transform_type: names of dataset.transforms.recipes.Recipe values.
TRANSFORMS = {
    "default": "dataset.transforms.recipes:DEFAULT",
    "rand_augment": "dataset.transforms.recipes:RAND_AUGMENT",
    "mvit_default": "dataset.transforms.recipes:MVIT_DEFAULT",
}


# Further metrics of a result, functions with the signature of utils.metrics.mean_class_accuracy.
METRICS = {
    "mean_class": "utils.metrics:mean_class_accuracy",
}


def find_part(home: str) -> Any:
    """Import the object "module:name"."""
    module, name = home.split(":")
    return getattr(import_module(module), name)


def flow_formats() -> str:
    """Return the names of the formats that can store optical flow, joined by "or"."""
    return " or ".join(name for name, format in FORMATS.items() if format.has_flow)
