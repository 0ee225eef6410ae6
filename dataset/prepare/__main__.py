"""Prepare data sets: lists from official annotations, other formats, checks, pictures, speed.

  python -m dataset.prepare kinetics --annotations train=train.csv --annotations val=val.csv --root /data/kinetics
  python -m dataset.prepare lmdb --list dataset/kinetics_video_val_list.txt --root /data/kinetics --output /data/lmdb
  python -m dataset.prepare check --list dataset/kinetics_frame128_val_list.txt --root /data/lmdb --format LMDB

Every command has a --help, shows its progress, goes on where it was killed when it is given again, and overwrites
nothing. docs/data has a page for each data set.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from dataset.prepare import activitynet, converters, folder, hmdb51, kinetics, lists, something, ucf101
from dataset.prepare.annotations import Annotations, PrepareError
from dataset.prepare.options import add_source_list, add_workers, usable_processors
from utils.cli import run_script
from utils.config import RunConfig, load_config
from utils.report import read_class_names

if TYPE_CHECKING:  # torch is imported once the command line and the record are known to be right
    from dataset.prepare.benchmark import Stages
    from dataset.prepare.browse import Strip
    from dataset.video_dataset import ClipBatch


@dataclass(frozen=True, slots=True)
class ListCommand:
    """A command that writes the lists of a data set."""

    help: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    read: Callable[[argparse.Namespace], Annotations]
    default_name: Callable[[argparse.Namespace], str]
    folders: bool = False

    def run(self, arguments: argparse.Namespace) -> int:
        """Write the lists."""
        annotations = self.read(arguments)
        made = lists.make_lists(
            annotations,
            arguments.root,
            output=arguments.output,
            name=arguments.name or self.default_name(arguments),
            workers=arguments.workers,
            folders=self.folders,
        )
        if record := getattr(arguments, "record", None):
            paths = [one.path for one in made]
            folder.write_record(record, arguments.root, paths, num_classes=len(annotations.classes))
        return 0


def _of_module(module: ModuleType) -> ListCommand:
    return ListCommand(module.HELP, module.add_arguments, module.read, module.default_name)


@dataclass(frozen=True, slots=True)
class Command:
    """Any other command; `run` returns the exit code."""

    help: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]
    takes_overrides: bool = False


def add_check(parser: argparse.ArgumentParser) -> None:
    """The command line of `check`."""
    add_source_list(parser)
    parser.add_argument("--format", choices=converters.FORMATS, default="RAW", help="format of the videos (RAW)")
    parser.add_argument("--use_flow", action="store_true", help="the videos are optical flow")
    parser.add_argument("--frames", type=int, default=3, help="random frames, beside the first and the last (3)")
    parser.add_argument("--seed", type=int, default=0, help="of the random frames (0)")
    parser.add_argument("--output", type=Path, help="folder of the two lists (that of the list)")
    add_workers(parser)


def run_check(arguments: argparse.Namespace) -> int:
    """Run `check`."""
    from dataset.prepare.check import check_list

    rejected = check_list(
        arguments.list,
        format=arguments.format,
        root=arguments.root,
        use_flow=arguments.use_flow,
        frames=arguments.frames,
        seed=arguments.seed,
        output=arguments.output or arguments.list.parent,
        workers=arguments.workers,
    )
    return int(rejected > 0)


def _add_record(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config_file", type=Path, required=True, metavar="record/X.yml", help="the record")
    parser.epilog = "section.key=value behind the options changes a value of the record, as for the scripts"


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
    config = load_config(arguments.config_file, arguments.overrides)
    from dataset.prepare.browse import require_new_picture, write_browser

    require_new_picture(arguments.output)
    if not 1 <= arguments.state <= len(config.states):
        raise PrepareError(f"--state {arguments.state}: {config.name} has the states 1..{len(config.states)}")
    sections = _training_strips(config, arguments), _evaluation_strips(config, arguments)
    write_browser(arguments.output, sections, title=f"What {config.name} is shown")
    print(f"written: {arguments.output}")
    return 0


def _training_strips(config: RunConfig, arguments: argparse.Namespace) -> "tuple[str, list[Strip]]":
    """Augmented clips of randomly chosen videos, each of an epoch of its own."""
    import numpy as np

    import helpers
    from dataset.prepare.browse import Strip

    data, index = config.dataset, arguments.state - 1
    videos = helpers.read_training_list(config)
    names = read_class_names(data.list_file, data.num_classes)
    clips = helpers.make_training_clips(
        config,
        index,
        videos=videos,
        reader=helpers.make_reader(config, data.root_path),
        transform=helpers.make_transform(config),
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

    import helpers
    from dataset.prepare.browse import Strip
    from dataset.transforms import crop_position
    from utils.views import cut_view

    data = config.dataset
    videos = helpers.read_evaluation_list(config)
    names = read_class_names(data.eva_list_file, data.num_classes)
    chosen = np.unique(np.linspace(0, len(videos) - 1, max(arguments.videos, 0)).astype(int)).tolist()
    here = replace(config, dataset=replace(data, num_workers=0))
    strips = []
    for video in helpers.make_views_loader(here, videos=videos, indices=chosen):
        for clip, rows in enumerate(video.clip_frames):
            for crop in range(data.eva_num_crop):
                view = cut_view(video.frames, rows, crop_position, size=data.eva_crop_size, crop=crop)
                caption = f"{names[video.label]} ({videos[video.video].path}), clip {clip}, crop {crop}"
                strips.append(Strip(caption, view.numpy()))
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
    config = load_config(arguments.config_file, arguments.overrides)
    if not 1 <= arguments.state <= len(config.states):
        raise PrepareError(f"--state {arguments.state}: {config.name} has the states 1..{len(config.states)}")
    data = config.dataset
    stores = [(data.format, data.list_file, data.root_path), *arguments.store]
    from dataset.prepare import benchmark

    for number, (format, list_file, root) in enumerate(stores):
        words = [f"dataset.format={format}", f"dataset.list_file={list_file}", f"dataset.root_path={root}"]
        own = load_config(arguments.config_file, [*arguments.overrides, *words])
        stages, group = _measure(own, arguments.state - 1, clips=arguments.clips)
        if number == 0:
            print(
                f"{config.name}: clips of {config.states[arguments.state - 1].num_frames} x {data.crop_size} x "
                f"{data.crop_size}, {data.transform_type}, {stages.workers} workers, {stages.cores} processors\n"
                f"{benchmark.HEADER}"
            )
        print(benchmark.describe(f"{format} {list_file}", stages))
        for line in benchmark.advice(stages, format=format, group=group):
            print(f"  - {line}")
    return 0


def _measure(config: RunConfig, state: int, *, clips: int) -> "tuple[Stages, float | None]":
    import cv2
    import numpy as np
    import torch

    import helpers
    from dataset.prepare import benchmark
    from utils import distributed

    data = config.dataset
    videos = helpers.read_training_list(config)
    with distributed.session() as device:
        normalize = helpers.make_normalizer(config)

        def to_device(batch: "ClipBatch") -> None:
            normalize(batch.clips.to(device, non_blocking=True))
            if device.type == "cuda":
                torch.cuda.synchronize(device)

        plan = helpers.make_plan(config, state)
        loader, _ = helpers.make_training_loader(config, state, videos=videos, plan=plan)
        rate = benchmark.measure_loader(loader, to_device=to_device, most=clips)
        del loader  # ends its processes
        torch.set_num_threads(1)  # as in a worker
        cv2.setNumThreads(0)
        reader = benchmark.TimedReader(helpers.make_reader(config, data.root_path))
        transform = benchmark.TimedTransform(helpers.make_transform(config))
        made = helpers.make_training_clips(config, state, videos=videos, reader=reader, transform=transform)
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
    return benchmark.Stages(*times, rate, data.num_workers, usable_processors()), group


HELP_CHECK = "decode frames of every video of a list; writes a clean list and a list of rejects"
HELP_BROWSE = "a page or sheet of training clips and evaluation views, as the network sees them"
HELP_BENCHMARK = "clips a second of a record's loader by stage, what limits it, and what would help"


COMMANDS: dict[str, ListCommand | Command] = {
    "kinetics": _of_module(kinetics),
    "ucf101": _of_module(ucf101),
    "hmdb51": _of_module(hmdb51),
    "ssv1": ListCommand(
        something.HELP_V1, something.add_arguments_v1, something.read_v1, something.default_name_v1, folders=True
    ),
    "ssv2": ListCommand(something.HELP_V2, something.add_arguments_v2, something.read_v2, something.default_name_v2),
    "anet": _of_module(activitynet),
    "folder": _of_module(folder),
    "frames": Command(converters.HELP["frames"], converters.add_frames, converters.run_frames),
    "lmdb": Command(converters.HELP["lmdb"], converters.add_lmdb, converters.run_frames),
    "resize": Command(converters.HELP["resize"], converters.add_resize, converters.run_resize),
    "flow": Command(converters.HELP["flow"], converters.add_flow, converters.run_flow),
    "check": Command(HELP_CHECK, add_check, run_check),
    "browse": Command(HELP_BROWSE, add_browse, run_browse, takes_overrides=True),
    "benchmark": Command(HELP_BENCHMARK, add_benchmark, run_benchmark, takes_overrides=True),
}


def main(words: Sequence[str] | None = None) -> None:
    """Run a command; exit code 1 says that videos were refused."""
    parser = argparse.ArgumentParser(
        prog="python -m dataset.prepare", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True, dest="command")
    for name, command in COMMANDS.items():
        command.add_arguments(commands.add_parser(name, help=command.help, description=command.help))
    arguments, rest = parser.parse_known_args(words)
    arguments.overrides = rest
    command = COMMANDS[arguments.command]
    takes = isinstance(command, Command) and command.takes_overrides
    if unknown := [word for word in rest if not takes or word.startswith("-")]:
        parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    if code := command.run(arguments):
        sys.exit(code)


if __name__ == "__main__":
    run_script(main)
