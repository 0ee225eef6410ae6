"""Command-line arguments and exit handling shared by all scripts."""

import argparse
import contextlib
import gc
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

from utils import stopping
from utils.errors import UserError
from utils.gpus import hide_gpus_on_request
from utils.shortage import describe_shortage, is_lost_peer
from utils.stopping import Stopped
from utils.text import one_line, printable, say


class Parser(argparse.ArgumentParser):
    """An argument parser whose error messages, which quote the command line, are `printable`."""

    def error(self, message: str) -> NoReturn:
        """Print what is wrong with the command line and exit with code 2."""
        super().error(printable(message))


def script_parser(description: str | None) -> argparse.ArgumentParser:
    """Return a parser with --config_file, --force and section.key=value overrides.

    Args:
        description: Help text, the docstring of the script.
    """
    parser = Parser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
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
        "docs/config.md says what each key means",
    )
    return parser


class LocalRankError(UserError):
    """A --local-rank that differs from the process's LOCAL_RANK."""

    on_every_rank = False


class _CheckLocalRank(argparse.Action):
    """Check the --local-rank of torch.distributed.launch against LOCAL_RANK, which alone identifies the process."""

    def __call__(
        self,
        _parser: argparse.ArgumentParser,
        _namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        """Raise LocalRankError if the number differs."""
        own = os.environ.get("LOCAL_RANK", "0")
        if str(values) != own:
            is_set = "LOCAL_RANK" in os.environ
            found = f"LOCAL_RANK is {own}" if is_set else "LOCAL_RANK is not set, so it is process 0"
            raise LocalRankError(
                f"{option_string} {values}: this process is another one ({found}); start with "
                "torchrun --nproc_per_node=N, or torch.distributed.launch, which set it for every process"
            )


def distributed_parser(description: str | None) -> argparse.ArgumentParser:
    """Return `script_parser` with the --local-rank argument of torch.distributed.launch, for multi-process scripts.

    The environment variable LOCAL_RANK, which that launcher sets too, stays authoritative; parsing a number that
    contradicts it raises LocalRankError.
    """
    parser = script_parser(description)
    parser.add_argument(
        "--local-rank",
        "--local_rank",
        action=_CheckLocalRank,
        type=int,
        metavar="N",
        help="passed by python -m torch.distributed.launch; must be the process's own number, LOCAL_RANK",
    )
    return parser


@contextlib.contextmanager
def importing() -> Iterator[None]:
    """Disable garbage collection in the block and exempt its objects, long-lived imports, from later collections.

    Torch creates so many objects that scanning them repeatedly takes 0.5 of the 2.6 s of processor time that a training
    spends before its first step.
    """
    gc.disable()
    try:
        yield
        gc.freeze()
    finally:
        gc.enable()


def run_script(main: Callable[[], None]) -> None:
    """Run a script's main function; an error that the user can fix is printed as one line, with exit code 2.

    The exit code is 143 after SIGTERM and 130 after Ctrl-C (`utils.stopping`). A stop, and an error that all processes
    of a run share, are printed by the first process of each node only.
    """
    stopping.listen()
    try:
        hide_gpus_on_request(os.environ)
        main()
    except Stopped as request:
        _end(_stop_line(request), code=request.exit_code)
    except (UserError, MemoryError, OSError, RuntimeError) as error:
        if stopping.requested():  # an error now, such as a lost connection, is a consequence of the stop
            asked = stopping.stopped()
            _end(_stop_line(asked), code=asked.exit_code)
        if isinstance(error, UserError):
            _end(f"error: {error}", code=2, by_all=not error.on_every_rank)
        if "RANK" in os.environ and is_lost_peer(error):
            _end("", code=1)
        if not (problem := describe_shortage(error)):
            raise
        _end(f"error: {problem}", code=2, by_all=True)


def _stop_line(request: Stopped) -> str:
    name = signal.Signals(request.signum).name
    return f"stopped by {name}{request.saved and f', {request.saved}'}: {request.advice}"


def _end(line: str, *, code: int, by_all: bool = False) -> NoReturn:
    """Print a line, unless the node's first process prints it for all, and exit."""
    stopping.ignore_signals()
    if line and (by_all or os.environ.get("LOCAL_RANK", "0") == "0"):
        say(one_line(line), file=sys.stderr)
    sys.exit(code)
