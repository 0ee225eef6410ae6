"""What records and results name beside networks, and where each is, as "module:name": reading names imports nothing.

A row more is all that a new format, augmentation or metric needs beside its own file (docs/extending.md).
"""

from dataclasses import dataclass
from importlib import import_module
from typing import Any


@dataclass(frozen=True)
class Format:
    """A way to store videos.

    Attributes:
        home: Makes a dataset.readers.FrameReader of the root of the videos, and of `use_flow=` and `max_pixels=` where
            it has them.
        has_flow: It can hold optical flow.
        has_limit: Its pictures may be of any size, so dataset.max_pixels bounds them.
        has_times: Its reader knows when frames are shown; others need dataset.picture_rate for clips by seconds.
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

# dataset.transform_type: each is a dataset.transforms.recipes.Recipe.
TRANSFORMS = {
    "default": "dataset.transforms.recipes:DEFAULT",
    "rand_augment": "dataset.transforms.recipes:RAND_AUGMENT",
    "mvit_default": "dataset.transforms.recipes:MVIT_DEFAULT",
}


# Further numbers of a result's videos, functions as utils.metrics.mean_class_accuracy is one.
METRICS = {
    "mean_class": "utils.metrics:mean_class_accuracy",
}


def find_part(home: str) -> Any:
    """Import what stands under "module:name"."""
    module, name = home.split(":")
    return getattr(import_module(module), name)


def flow_formats() -> str:
    """Name the formats that can hold optical flow."""
    return " or ".join(name for name, format in FORMATS.items() if format.has_flow)
