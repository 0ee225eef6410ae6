"""Runs the commands that convert a list's videos, with the options of their command lines by name."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dataset.prepare.annotations import PrepareError
from dataset.prepare.converting.convert import convert_list
from dataset.prepare.converting.encoders import Encoder, PictureEncoder, VideoEncoder
from dataset.prepare.converting.flow import FlowEncoder, make_method
from dataset.prepare.converting.sources import DEFAULT_RATE, Source
from utils.parts import FORMATS
from utils.workers import usable_cores


@dataclass(frozen=True, slots=True)
class Places:
    """Where videos come from and where results go.

    Attributes:
        listed: The list.
        root: Folder of its videos.
        format: Format of its videos.
        output: Folder of the results.
        new_list: List of the results.
        short_side: Larger frames are made smaller to this, in pixels; 0: none.
        workers: Processes; None: the command's own number.
    """

    listed: Path
    root: Path
    format: str
    output: Path
    new_list: Path
    short_side: int
    workers: int | None


def run_frames(
    *, layout: str, quality: int, fps: float = 0, rate: float = 0, shard_videos: int = 0, **places: Any
) -> int:
    """Run `frames` or `lmdb`; return how many videos could not be converted."""
    where = Places(**places)
    _check_range("quality", quality, 1, 100)
    encoder = PictureEncoder(_stored(layout, shard_videos), where.short_side, quality)
    return _convert(where, encoder, fps=fps, rate=rate, shard_videos=shard_videos)


def run_resize(*, key_interval: int, crf: int, preset: str, fps: float = 0, rate: float = 0, **places: Any) -> int:
    """Run `resize`; return how many videos could not be converted."""
    where = Places(**places)
    _check_range("crf", crf, 0, 51)
    _check_range("key_interval", key_interval, 1, 100_000)
    if where.short_side % 2:
        raise PrepareError(f"--short_side {where.short_side}: H.264 needs an even number")
    return _convert(where, VideoEncoder(where.short_side, key_interval, crf, preset), fps=fps, rate=rate)


def run_flow(
    *, layout: str, quality: int, shard_videos: int, bound: float, method: str, weights: str, device: str, **places: Any
) -> int:
    """Run `flow`; return how many videos could not be converted."""
    where = Places(**places)
    _check_range("quality", quality, 1, 100)
    if not bound > 0:
        raise PrepareError(f"--bound {bound}: must be above 0")
    make_method(method, weights, device)  # a missing weight file shows at once
    encoder = FlowEncoder(
        _stored(layout, shard_videos), where.short_side, quality, bound=bound, method=method, weights=weights,
        device=device,
    )  # fmt: skip
    # Every process would put a network of its own on the device.
    workers = 1 if method.startswith("raft") else usable_cores()
    return _convert(where, encoder, shard_videos=shard_videos, workers=workers)


def _stored(layout: str, shard_videos: int) -> str:
    return "LMDB_SET" if layout == "LMDB" and shard_videos > 0 else layout


def _check_range(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise PrepareError(f"--{name} {value:g}: must be {low:g} to {high:g}")


def _convert(
    where: Places, encoder: Encoder, *, fps: float = 0, rate: float = 0, shard_videos: int = 0, workers: int = 1
) -> int:
    for name, value in (("fps", fps), ("rate", rate)):
        if value:
            _check_range(name, value, 0.1, 1000)
    if fps and not rate and not FORMATS[where.format].has_times:
        raise PrepareError(f"--fps {fps:g}: {where.format} keeps no times; say the rate of these pictures with --rate")
    if where.short_side < 0:
        raise PrepareError(f"--short_side {where.short_side}: must be 0 or more")
    if where.output.resolve() == where.root.resolve():
        raise PrepareError(f"--output {where.output} is the root of the videos; take another folder")
    return convert_list(
        where.listed,
        Source(where.format, str(where.root), rate or DEFAULT_RATE, fps),
        encoder,
        root=where.output,
        new_list=where.new_list,
        workers=workers if where.workers is None else where.workers,
        shard_videos=shard_videos,
    )
