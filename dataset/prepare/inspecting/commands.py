"""The commands that look at a record: what its network is shown, and how fast its loader is."""

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from dataset.listing import read_class_names
from dataset.prepare.annotations import PrepareError
from utils.config import RunConfig, load_config
from utils.text import say
from utils.workers import usable_cores

if TYPE_CHECKING:  # torch is imported once the command line is known to be right
    from dataset.prepare.inspecting.benchmark import Stages
    from dataset.prepare.inspecting.browse import Strip
    from dataset.video_dataset import ClipBatch

BROWSE_HELP = "a page or sheet of training clips and evaluation views, as the network sees them"
BENCHMARK_HELP = "clips a second of a record's loader by stage, what limits it, and what would help"


def _add_record(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config_file", type=Path, required=True, metavar="record/X.yml", help="the record")
    parser.epilog = "section.key=value behind the options changes a value of the record, as for the scripts"


def _require_state(config: RunConfig, number: int) -> None:
    if not 1 <= number <= len(config.states):
        raise PrepareError(f"--state {number}: {config.name} has the states 1..{len(config.states)}")


def add_browse(parser: argparse.ArgumentParser) -> None:
    """The command line of `browse`."""
    _add_record(parser)
    parser.add_argument("--output", type=Path, required=True, help="the new page (.html) or sheet (.png)")
    parser.add_argument("--clips", type=int, default=12, help="training clips to show (12)")
    parser.add_argument("--videos", type=int, default=2, help="evaluation videos to show all views of (2)")
    parser.add_argument("--state", type=int, default=1, help="state of the record whose clips are shown (1)")
    parser.add_argument("--seed", type=int, default=0, help="of the choice of videos (0)")


def run_browse(arguments: argparse.Namespace) -> int:
    """Run `browse`."""
    from dataset.prepare.inspecting.browse import require_new_picture, write_browser

    config = load_config(arguments.config_file, arguments.overrides)
    require_new_picture(arguments.output)
    _require_state(config, arguments.state)
    sections = _training_strips(config, arguments), _evaluation_strips(config, arguments)
    write_browser(arguments.output, sections, title=f"What {config.name} is shown")
    say(f"written: {arguments.output}")
    return 0


def _training_strips(config: RunConfig, arguments: argparse.Namespace) -> "tuple[str, list[Strip]]":
    """Augmented clips of randomly chosen videos, each of an epoch of its own."""
    import numpy as np

    from dataset.build import make_reader, make_training_clips, make_transform, read_training_list
    from dataset.prepare.inspecting.browse import Strip

    data, index = config.dataset, arguments.state - 1
    videos = read_training_list(config)
    names = read_class_names(data.list_file, data.num_classes)
    clips = make_training_clips(
        config,
        index,
        videos=videos,
        reader=make_reader(config, data.root_path),
        transform=make_transform(config),
    )
    rng = np.random.default_rng(arguments.seed)
    strips = []
    for number in range(arguments.clips):
        sample = clips[number, int(rng.integers(len(videos)))]
        strips.append(Strip(f"{names[sample.label]} ({videos[sample.video].path})", sample.clip.numpy()))
    return f"training clips, state {arguments.state}, {data.transform_type}", strips


def _evaluation_strips(config: RunConfig, arguments: argparse.Namespace) -> "tuple[str, list[Strip]]":
    """Every clip and crop of some videos, evenly spread over the list."""
    import numpy as np

    from dataset.build import make_views_loader, read_evaluation_list
    from dataset.prepare.inspecting.browse import Strip
    from dataset.transforms.recipes import crop_position
    from utils.evaluation.views import cut_view

    data = config.dataset
    videos = read_evaluation_list(config)
    names = read_class_names(data.eva_list_file, data.num_classes)
    chosen = np.unique(np.linspace(0, len(videos) - 1, max(arguments.videos, 0)).astype(int)).tolist()
    here = replace(config, dataset=replace(data, num_workers=0))
    strips = []
    for video in make_views_loader(here, videos=videos, indices=chosen):
        for clip, rows in enumerate(video.clip_frames):
            for crop in range(data.eva_num_crop):
                view = cut_view(video.frames, rows, crop_position, size=data.eva_crop_size, crop=crop)
                caption = f"{names[video.label]} ({videos[video.video].path}), clip {clip}, crop {crop}"
                strips.append(Strip(caption, view.movedim(1, -1).numpy()))
    return "views of the evaluation", strips


def add_benchmark(parser: argparse.ArgumentParser) -> None:
    """The command line of `benchmark`."""
    _add_record(parser)
    parser.add_argument("--clips", type=int, default=128, help="to make, in each way of measuring (128)")
    parser.add_argument("--state", type=int, default=1, help="state of the record whose clips are made (1)")
    parser.add_argument(
        "--store", nargs=3, action="append", default=[], metavar=("FORMAT", "LIST", "ROOT"),
        help="the same data in another format, to compare; can be repeated",
    )  # fmt: skip


def run_benchmark(arguments: argparse.Namespace) -> int:
    """Run `benchmark`: a row for the record's own data, and for each other store."""
    from dataset.prepare.inspecting import benchmark

    config = load_config(arguments.config_file, arguments.overrides)
    _require_state(config, arguments.state)
    data = config.dataset
    stores = [(data.format, data.list_file, data.root_path), *arguments.store]
    for number, (format, list_file, root) in enumerate(stores):
        store = {"format": format, "list_file": list_file, "root_path": root}
        words = [f"dataset.{key}={json.dumps(value)}" for key, value in store.items()]  # JSON text is YAML too
        own = load_config(arguments.config_file, [*arguments.overrides, *words])
        stages, group = _measure(own, arguments.state - 1, clips=arguments.clips)
        if number == 0:
            say(
                f"{config.name}: clips of {config.states[arguments.state - 1].num_frames} x {data.crop_size} x "
                f"{data.crop_size}, {data.transform_type}, {stages.workers} workers, {stages.cores} processors\n"
                f"{benchmark.HEADER}"
            )
        say(benchmark.describe(f"{format} {list_file}", stages))
        for line in benchmark.advice(stages, format=format, group=group):
            say(f"  - {line}")
    return 0


def _measure(config: RunConfig, state: int, *, clips: int) -> "tuple[Stages, float | None]":
    """Measure the loader of a state, and the mean group of pictures of its videos (None for pictures)."""
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
        read_training_list,
    )
    from dataset.prepare.inspecting import benchmark
    from utils import distributed

    data = config.dataset
    videos = read_training_list(config)
    with distributed.session() as device:
        normalize = make_normalizer(config)

        def to_device(batch: "ClipBatch") -> None:
            normalize(batch.clips.to(device, non_blocking=True))
            if device.type == "cuda":
                torch.cuda.synchronize(device)

        plan = make_plan(config, state)
        loader, _ = make_training_loader(config, state, videos=videos, plan=plan)
        rate = benchmark.measure_loader(loader, to_device=to_device, most=clips)
        del loader  # ends its processes
        torch.set_num_threads(1)  # as in a worker
        cv2.setNumThreads(0)
        reader = benchmark.TimedReader(make_reader(config, data.root_path))
        transform = benchmark.TimedTransform(make_transform(config))
        made = make_training_clips(config, state, videos=videos, reader=reader, transform=transform)
        order = np.random.default_rng(0).permutation(len(videos)).tolist()
        count = clips + plan.micro_batch
        times = benchmark.measure_stages(
            made,
            reader,
            transform,
            order=(order * (count // len(order) + 1))[:count],
            batch_size=plan.micro_batch,
            to_device=to_device,
        )
    group = benchmark.mean_group(videos, Path(data.root_path)) if data.format == "RAW" else None
    return benchmark.Stages(*times, rate, data.num_workers, usable_cores()), group
