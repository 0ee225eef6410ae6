"""Prepare datasets: make lists, convert formats, check, browse and benchmark.

  python -m dataset.prepare kinetics --annotations train=train.csv --annotations val=val.csv --root /data/kinetics
  python -m dataset.prepare lmdb --list dataset/kinetics_video_val_list.txt --root /data/kinetics --output /data/lmdb
  python -m dataset.prepare check --list dataset/kinetics_frame128_val_list.txt --root /data/lmdb --format LMDB

Every command has a --help, shows its progress, continues after a kill when it is run again, and overwrites nothing.
docs/data has a page for each dataset.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dataset.prepare import folder, folds, lists
from dataset.prepare.annotations import Annotations
from dataset.prepare.converting import commands as converting
from dataset.prepare.inspecting import commands as inspecting
from dataset.prepare.measuring import Measure
from dataset.prepare.official import activitynet, hmdb51, kinetics, something, ucf101
from utils.cli import Parser, run_script
from utils.parts import find_part


@dataclass(frozen=True, slots=True)
class Command:
    """A subcommand.

    Attributes:
        help: One line of help.
        add_arguments: Adds its options to a parser.
        run: Takes the options by name and returns the number of rejected videos. A "module:name" is imported only after
            the command line has been parsed, as importing torch takes seconds.
        takes_overrides: Whether section.key=value arguments may follow the options.
    """

    help: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[..., int] | str
    takes_overrides: bool = False


def list_command(
    help: str,
    add_arguments: Callable[[argparse.ArgumentParser], None],
    read: Callable[..., Annotations],
) -> Command:
    """Return a command that writes lists of the annotations that `read` returns for the command's own options."""

    def run(*, root: Path, output: Path, name: str, workers: int, measure: Measure, **own: Any) -> int:
        lists.make_lists(read(**own), root, output=output, name=name, workers=workers, measure=measure)
        return 0

    return Command(help, add_arguments, run)


_CONVERTING = "dataset.prepare.converting.run"
COMMANDS: dict[str, Command] = {
    "kinetics": list_command(kinetics.HELP, kinetics.add_arguments, kinetics.read),
    "ucf101": list_command(ucf101.HELP, ucf101.add_arguments, ucf101.read),
    "hmdb51": list_command(hmdb51.HELP, hmdb51.add_arguments, hmdb51.read),
    "ssv1": list_command(something.HELP_V1, something.add_arguments_v1, something.read_v1),
    "ssv2": list_command(something.HELP_V2, something.add_arguments_v2, something.read_v2),
    "anet": list_command(activitynet.HELP, activitynet.add_arguments, activitynet.read),
    "folder": Command(folder.HELP, folder.add_arguments, folder.run),
    "folds": Command(folds.HELP, folds.add_arguments, folds.run),
    "frames": Command(converting.HELP["frames"], converting.add_frames, f"{_CONVERTING}:run_frames"),
    "lmdb": Command(converting.HELP["lmdb"], converting.add_lmdb, f"{_CONVERTING}:run_frames"),
    "resize": Command(converting.HELP["resize"], converting.add_resize, f"{_CONVERTING}:run_resize"),
    "flow": Command(converting.HELP["flow"], converting.add_flow, f"{_CONVERTING}:run_flow"),
    "check": Command(inspecting.CHECK_HELP, inspecting.add_check, "dataset.prepare.inspecting.check:check_list"),
    "browse": Command(inspecting.BROWSE_HELP, inspecting.add_browse, inspecting.run_browse, takes_overrides=True),
    "benchmark": Command(
        inspecting.BENCHMARK_HELP, inspecting.add_benchmark, inspecting.run_benchmark, takes_overrides=True
    ),
}


def main(words: Sequence[str] | None = None) -> None:
    """Run the command line; exit with 1 if videos were rejected."""
    parser = Parser(
        prog="python -m dataset.prepare", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True, dest="command")
    for name, command in COMMANDS.items():
        command.add_arguments(commands.add_parser(name, help=command.help, description=command.help))
    arguments, rest = parser.parse_known_args(words)
    options = vars(arguments)
    command = COMMANDS[options.pop("command")]
    if unknown := [word for word in rest if not command.takes_overrides or word.startswith("-")]:
        parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    if command.takes_overrides:
        options["overrides"] = rest
    run = find_part(command.run) if isinstance(command.run, str) else command.run
    if run(**options):
        sys.exit(1)


if __name__ == "__main__":
    run_script(main)
