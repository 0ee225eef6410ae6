"""The outcome of reading a corrupt file in a process of its own, which may crash or hang."""

import multiprocessing
import os
import sys
from collections.abc import Callable
from pathlib import Path

from utils.errors import UserError

TIMEOUT = 60.0  # seconds
# Exit codes are indices into this tuple; Python exits with 1 after a traceback.
OUTCOMES = (
    "as it was",  # the original content, up to the error of a lossy codec
    "traceback",
    "refused",  # an error that names the file
    "reported",  # read, with a note of the corruption
    "unmarked",  # different content that nothing in the file contradicts: any program reads it
    "silently wrong",
    "unnamed",  # an error that does not name the file
)
GOOD = ("as it was", "refused", "reported", "unmarked")
BAD = ("silently wrong", "traceback", "unnamed", "crash", "hang")


def find_outcome(read: Callable[[], str], path: Path, *, log: Path) -> str:
    """Return the outcome of reading a file: that of `read`, "refused" or "unnamed" for an error, "crash" or "hang".

    Args:
        read: Reads the file and returns one of OUTCOMES.
        path: The file; an error must contain its name or folder (for a record also that of its base).
        log: A file for output and tracebacks.
    """
    process = multiprocessing.get_context("fork").Process(target=_read, args=(read, path, log))
    process.start()
    process.join(TIMEOUT)
    if process.exitcode is None:
        process.kill()
        process.join()
        return "hang"
    return OUTCOMES[process.exitcode] if 0 <= process.exitcode < len(OUTCOMES) else "crash"


def _read(read: Callable[[], str], path: Path, log: Path) -> None:
    with log.open("wb") as file:
        os.dup2(file.fileno(), 2)
    sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115
    try:
        outcome = read()
    except UserError as error:
        print(error, file=sys.stderr, flush=True)
        is_named = any(name in str(error) for name in (path.stem, path.parent.name, "base_config/"))
        outcome = "refused" if is_named and "\n" not in str(error) else "unnamed"
    sys.exit(OUTCOMES.index(outcome))
