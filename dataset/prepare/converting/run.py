"""Run the conversion commands with the options of their command lines."""

from pathlib import Path
from typing import Any

from dataset.prepare.annotations import PrepareError
from dataset.prepare.converting.convert import convert_list
from dataset.prepare.converting.encoders import Encoder, PictureEncoder, VideoEncoder
from dataset.prepare.converting.flow import FlowEncoder, make_method
from dataset.prepare.converting.sources import Source
from dataset.readers.video_file import DEFAULT_RATE
from utils.parts import FORMATS
from utils.workers import usable_cores


def run_frames(*, layout: str, short_side: int, quality: int, shard_videos: int = 0, **options: Any) -> int:
    """Run `frames` or `lmdb`; return the number of videos that could not be converted."""
    _check_range("quality", quality, 1, 100)
    encoder = PictureEncoder(_stored(layout, shard_videos), short_side, quality)
    return _convert(encoder, shard_videos=shard_videos, **options)


def run_resize(*, short_side: int, key_interval: int, crf: int, preset: str, **options: Any) -> int:
    """Run `resize`; return the number of videos that could not be converted."""
    _check_range("crf", crf, 0, 51)
    _check_range("key_interval", key_interval, 1, 100_000)
    if short_side % 2:
        raise PrepareError(f"--short_side {short_side}: H.264 needs an even number")
    return _convert(VideoEncoder(short_side, key_interval, crf, preset), **options)


def run_flow(
    *, layout: str, short_side: int, quality: int, bound: float, method: str, weights: str, device: str,
    shard_videos: int, workers: int | None, **options: Any,
) -> int:  # fmt: skip
    """Run `flow`; return the number of videos that could not be converted."""
    _check_range("quality", quality, 1, 100)
    if not bound > 0:
        raise PrepareError(f"--bound {bound}: must be above 0")
    make_method(method, weights, device)  # fail at once on a missing weight file
    encoder = FlowEncoder(
        _stored(layout, shard_videos), short_side, quality, bound=bound, method=method, weights=weights, device=device
    )
    if workers is None:  # with RAFT, every process would load its own network on the device
        workers = 1 if method.startswith("raft") else usable_cores()
    return _convert(encoder, shard_videos=shard_videos, workers=workers, **options)


def _stored(layout: str, shard_videos: int) -> str:
    return "LMDB_SET" if layout == "LMDB" and shard_videos > 0 else layout


def _check_range(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise PrepareError(f"--{name} {value:g}: must be {low:g} to {high:g}")


def _convert(
    encoder: Encoder,
    *,
    listed: Path,
    root: Path,
    format: str,
    output: Path,
    new_list: Path,
    workers: int,
    fps: float = 0,
    rate: float = 0,
    shard_videos: int = 0,
) -> int:
    """Convert with the options common to all commands; return the number of videos that could not be converted."""
    for name, value in (("fps", fps), ("rate", rate)):
        if value:
            _check_range(name, value, 0.1, 1000)
    if fps and not rate and not FORMATS[format].has_times:
        raise PrepareError(f"--fps {fps:g}: {format} stores no time stamps; set the frame rate with --rate")
    if encoder.short_side < 0:
        raise PrepareError(f"--short_side {encoder.short_side}: must be 0 or more")
    if output.resolve() == root.resolve():
        raise PrepareError(f"--output {output} is the root of the videos; choose another folder")
    source = Source(format, str(root), rate or DEFAULT_RATE, fps)
    return convert_list(
        listed, source, encoder, root=output, new_list=new_list, workers=workers, shard_videos=shard_videos
    )
