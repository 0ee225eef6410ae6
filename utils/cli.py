"""What every script shares on the command line: its arguments, and how it ends."""

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path

from utils.errors import UserError


def script_parser(description: str | None) -> argparse.ArgumentParser:
    """Return a parser with --config_file, --force and section.key=value overrides; a script's docstring is its help."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--config_file", required=True, type=Path, metavar="record/X.yml", help="the record: what to run (required)"
    )
    parser.add_argument(
        "--force",
        action="store_true",
        help="do a finished step again; what it wrote before is moved to output/<record>/earlier-NNN, never deleted",
    )
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="section.key=value",
        help="change a value of the record for this run, e.g. optimizer.epochs=10 'sampler.clip_length=[8, 16]'; "
        "every key stands in base_config/default.yml with its meaning",
    )
    return parser


def run_script(main: Callable[[], None]) -> None:
    """Run a script's main function; a `UserError` becomes one line and exit code 2, Ctrl-C becomes exit code 130.

    A mistake that all processes of a run meet is said by the first process of each node only.
    """
    try:
        main()
    except UserError as error:
        if not error.on_every_rank or os.environ.get("LOCAL_RANK", "0") == "0":
            print(f"error: {error}", file=sys.stderr, flush=True)
        sys.exit(2)
    except KeyboardInterrupt:
        if os.environ.get("LOCAL_RANK", "0") == "0":
            print("interrupted: the same command continues where this one stopped", file=sys.stderr, flush=True)
        sys.exit(130)
