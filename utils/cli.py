"""What every script shares on the command line: its arguments, and how it ends."""

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
    """A parser whose complaints, which quote the command line, may be shown."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong with the command line, and end with exit code 2."""
        super().error(printable(message))


def script_parser(description: str | None) -> argparse.ArgumentParser:
    """Return a parser with --config_file, --force and section.key=value overrides; a script's docstring is its help."""
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
    """A --local-rank that is not the process's own."""

    on_every_rank = False


class _CheckLocalRank(argparse.Action):
    """Compares what torch.distributed.launch passes with LOCAL_RANK, which alone says what process this is."""

    def __call__(
        self,
        _parser: argparse.ArgumentParser,
        _namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        """Raise LocalRankError for another number."""
        own = os.environ.get("LOCAL_RANK", "0")
        if str(values) != own:
            is_set = "LOCAL_RANK" in os.environ
            found = f"LOCAL_RANK is {own}" if is_set else "LOCAL_RANK is not set, so it is process 0"
            raise LocalRankError(
                f"{option_string} {values}: this process is another one ({found}); start with "
                "torchrun --nproc_per_node=N, or torch.distributed.launch, which set it for every process"
            )


def distributed_parser(description: str | None) -> argparse.ArgumentParser:
    """Return `script_parser` for a script of several processes: it takes --local-rank as torch's old launcher says it.

    The environment variable LOCAL_RANK, which that launcher sets too, stays what counts; a number that contradicts it
    is a LocalRankError.
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
    """Import in the block what stays: nobody looks for garbage in it, now or later.

    Torch makes so many objects that looking through them again and again takes 0.5 of the 2.6 s of processor time that
    a training spends before its first step.
    """
    gc.disable()
    try:
        yield
        gc.freeze()
    finally:
        gc.enable()


def run_script(main: Callable[[], None]) -> None:
    """Run a script's main function and end with its exit code: 2 after one line about what a user can mend.

    SIGTERM and Ctrl-C end it with 143 and 130 (`utils.stopping`). A mistake that all processes of a run meet, and a
    stop, are said by the first process of each node only.
    """
    stopping.listen()
    try:
        hide_gpus_on_request(os.environ)
        main()
    except Stopped as request:
        _end(_stop_line(request), code=request.exit_code)
    except (UserError, MemoryError, OSError, RuntimeError) as error:
        if stopping.requested():  # what else goes wrong now, such as a lost connection, comes of stopping
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
    """Say why, unless another process says it for all, and exit."""
    stopping.ignore_signals()
    if line and (by_all or os.environ.get("LOCAL_RANK", "0") == "0"):
        say(one_line(line), file=sys.stderr)
    sys.exit(code)
