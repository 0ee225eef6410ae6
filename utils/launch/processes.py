"""Start the processes of a run with torchrun, and exit with the code of the process that reported its error."""

import logging
import signal
import sys
from collections.abc import Sequence

import torch
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.run import parse_args, run

from utils import stopping
from utils.text import say


def count_gpus() -> int:
    """Return the number of GPUs that torch can use."""
    return torch.cuda.device_count()


def choose_exit_code(codes: Sequence[int]) -> int:
    """Return the exit code of a run, given those of its failed processes.

    A user error takes precedence over a stop. A process that was killed, a bug or a lost peer gives 1.
    """
    if any(code < 0 and code != -signal.SIGTERM for code in codes):
        return 1
    return max((code for code in codes if code > 1), key=lambda code: code < 128, default=1)


def start_processes(arguments: list[str]) -> None:
    """Run torchrun with these arguments; exit with the code of the process that reported its error."""
    # Processes that exit with a code have reported their error: torchrun's report would repeat it.
    for part in ("agent.server", "multiprocessing"):
        logging.getLogger(f"torch.distributed.elastic.{part}.api").setLevel(logging.CRITICAL)
    try:
        run(parse_args(arguments))
    except ChildFailedError as error:
        for failed_rank, failure in error.failures.items():
            if failure.exitcode < 0:
                cause = " (out of memory?)" if failure.signal_name() == "SIGKILL" else ""
                say(f"process {failed_rank} was ended by {failure.signal_name()}{cause}", file=sys.stderr)
        sys.exit(choose_exit_code([failure.exitcode for failure in error.failures.values()]))
    except SignalException as error:  # the processes got the signal too, and have ended
        stopping.ignore_signals()
        sys.exit(128 + error.sigval)
