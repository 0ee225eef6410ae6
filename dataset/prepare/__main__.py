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
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from dataset.prepare import folder, lists
from dataset.prepare.annotations import Annotations
from dataset.prepare.converting import commands as converting
from dataset.prepare.inspecting import commands as inspecting
from dataset.prepare.official import activitynet, hmdb51, kinetics, something, ucf101
from dataset.prepare.options import add_source_list, add_workers
from utils.cli import Parser, run_script
from utils.parts import FORMATS


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
    parser.add_argument("--format", choices=tuple(FORMATS), default="RAW", help="format of the videos (RAW)")
    parser.add_argument("--use_flow", action="store_true", help="the videos are optical flow")
    parser.add_argument("--frames", type=int, default=3, help="random frames, beside the first and the last (3)")
    parser.add_argument("--seed", type=int, default=0, help="of the random frames (0)")
    parser.add_argument("--output", type=Path, help="folder of the two lists (that of the list)")
    add_workers(parser)


def run_check(arguments: argparse.Namespace) -> int:
    """Run `check`."""
    from dataset.prepare.inspecting.check import check_list

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
    "frames": Command(converting.HELP["frames"], converting.add_frames, converting.run_frames),
    "lmdb": Command(converting.HELP["lmdb"], converting.add_lmdb, converting.run_frames),
    "resize": Command(converting.HELP["resize"], converting.add_resize, converting.run_resize),
    "flow": Command(converting.HELP["flow"], converting.add_flow, converting.run_flow),
    "check": Command("decode frames of every video of a list; writes a clean list and rejects", add_check, run_check),
    "browse": Command(inspecting.BROWSE_HELP, inspecting.add_browse, inspecting.run_browse, takes_overrides=True),
    "benchmark": Command(
        inspecting.BENCHMARK_HELP,
        inspecting.add_benchmark,
        inspecting.run_benchmark,
        takes_overrides=True,
    ),
}


def main(words: Sequence[str] | None = None) -> None:
    """Run a command; exit code 1 says that videos were refused."""
    parser = Parser(
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
