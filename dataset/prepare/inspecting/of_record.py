"""`browse` and `benchmark` of a record: the clips its network is given, and how fast they are made."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch

from dataset.build import (
    make_normalizer,
    make_plan,
    make_reader,
    make_training_clips,
    make_training_loader,
    make_transform,
    make_views_loader,
    read_evaluation_list,
    read_training_list,
)
from dataset.listing import read_class_names
from dataset.prepare.inspecting import benchmark
from dataset.prepare.inspecting.browse import Strip, require_new_picture, write_browser
from dataset.transforms.recipes import crop_position
from dataset.video_dataset import ClipBatch
from utils import distributed
from utils.config import RunConfig
from utils.evaluation.views import cut_view
from utils.text import say
from utils.workers import usable_cores


def browse(config: RunConfig, state: int, *, output: Path, clips: int, videos: int, seed: int) -> None:
    """Write a page or sheet of the clips that the network of a record is given.

    Args:
        config: Configuration of the record.
        state: Index of the state whose training clips are shown, from 0.
        output: The new file.
        clips: Number of training clips, augmented, of randomly chosen videos.
        videos: Number of evaluation videos, evenly spaced in the list, whose views are shown.
        seed: Seed of the choice.

    Raises:
        PrepareError: The file exists, or its suffix is neither .html nor .png.
    """
    require_new_picture(output)
    sections = (
        (
            f"Training clips of state {state + 1}, augmented by {config.dataset.transform_type}",
            _training_strips(config, state, clips=clips, seed=seed),
        ),
        ("Views of the evaluation", _evaluation_strips(config, count=videos)),
    )
    write_browser(output, sections, title=f"Clips of {config.name}")
    say(f"written: {output}")


def _training_strips(config: RunConfig, state: int, *, clips: int, seed: int) -> list[Strip]:
    """Return augmented training clips, each of a different epoch."""
    data = config.dataset
    videos = read_training_list(config)
    names = read_class_names(data.list_file, data.num_classes)
    reader, transform = make_reader(config, data.root_path), make_transform(config, state)
    made = make_training_clips(config, state, videos=videos, reader=reader, transform=transform)
    rng = np.random.default_rng(seed)
    samples = [made[number, int(rng.integers(len(videos)))] for number in range(clips)]
    return [Strip(f"{names[s.label]} ({videos[s.video].path})", s.clip.numpy()) for s in samples]


def _evaluation_strips(config: RunConfig, *, count: int) -> list[Strip]:
    """Return every clip and crop of `count` videos, evenly spaced in the evaluation list."""
    data = config.dataset
    videos = read_evaluation_list(config)
    names = read_class_names(data.eva_list_file, data.num_classes)
    chosen = np.unique(np.linspace(0, len(videos) - 1, max(count, 0)).astype(int)).tolist()
    here = replace(config, dataset=replace(data, num_workers=0))
    strips = []
    for video in make_views_loader(here, videos=videos, indices=chosen):
        for clip, rows in enumerate(video.clip_frames):
            for crop in range(data.eva_num_crop):
                view = cut_view(video.frames, rows, crop_position, size=data.eva_crop_size, crop=crop)
                caption = f"{names[video.label]} ({videos[video.video].path}), clip {clip}, crop {crop}"
                strips.append(Strip(caption, view.movedim(1, -1).numpy()))
    return strips


def measure_record(config: RunConfig, state: int, *, clips: int, stores: Sequence[Sequence[str]]) -> None:
    """Print the speed of the loader for the record's own data, and for the same data in other stores.

    Args:
        config: Configuration of the record.
        state: Index of the state whose clips are made, from 0.
        clips: Number of clips to make in each measurement.
        stores: Format, list and root of each other store.
    """
    data = config.dataset
    for number, (format, listed, root) in enumerate([(data.format, data.list_file, data.root_path), *stores]):
        own = replace(config, dataset=replace(data, format=format, list_file=listed, root_path=root))
        stages, group = _measure(own, state, clips=clips)
        if number == 0:
            frames, side = config.states[state].num_frames, config.states[state].crop_size
            say(
                f"{config.name}: clips of {frames} x {side} x {side}, "
                f"{data.transform_type}, {stages.workers} workers, {stages.cores} processors\n{benchmark.HEADER}"
            )
        say(benchmark.describe(f"{format} {listed}", stages))
        for line in benchmark.advice(stages, format=format, group=group):
            say(f"  - {line}")


def _measure(config: RunConfig, state: int, *, clips: int) -> tuple[benchmark.Stages, float | None]:
    """Return the speed of a state's loader, and the mean group of pictures of its videos (None for images)."""
    data = config.dataset
    with distributed.session() as device:
        to_device = _mover(config, device)
        plan = make_plan(config, state)
        videos = read_training_list(config)
        loader, _ = make_training_loader(config, state, videos=videos, plan=plan)
        rate = benchmark.measure_loader(loader, to_device=to_device, most=clips)
        del loader  # ends its processes
        torch.set_num_threads(1)  # as in a worker
        cv2.setNumThreads(0)
        reader = benchmark.TimedReader(make_reader(config, data.root_path))
        transform = benchmark.TimedTransform(make_transform(config, state))
        made = make_training_clips(config, state, videos=videos, reader=reader, transform=transform)
        order = np.random.default_rng(0).permutation(len(videos)).tolist()
        count = clips + plan.micro_batch
        order = (order * (count // len(order) + 1))[:count]
        times = benchmark.measure_stages(
            made, reader, transform, order=order, batch_size=plan.micro_batch, to_device=to_device
        )
    group = benchmark.mean_group(videos, Path(data.root_path)) if data.format == "RAW" else None
    return benchmark.Stages(*times, rate, data.num_workers, usable_cores()), group


def _mover(config: RunConfig, device: torch.device) -> Callable[[ClipBatch], None]:
    """Return a function that moves a batch to the device, normalizes it there and synchronizes."""
    normalize = make_normalizer(config)

    def to_device(batch: ClipBatch) -> None:
        normalize(batch.clips.to(device, non_blocking=True))
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    return to_device
