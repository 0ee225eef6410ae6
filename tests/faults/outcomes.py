"""What reading a damaged file comes to, found out in a process of its own, which may crash or hang."""

import multiprocessing
import os
import sys
from collections.abc import Callable
from pathlib import Path

from utils.errors import UserError

PATIENCE = 60.0  # seconds
# Exit codes are places in this list; Python ends a process with 1 after a traceback.
OUTCOMES = (
    "as it was",  # what is read is what was written, or as near as a lossy codec comes to it
    "traceback",
    "refused",  # an error that names the file
    "reported",  # read, with a note of the damage
    "unmarked",  # something else is read, which nothing in the file contradicts: any program reads it like that
    "silently wrong",
    "unnamed",  # an error that does not name the file
)
GOOD = ("as it was", "refused", "reported", "unmarked")
BAD = ("silently wrong", "traceback", "unnamed", "crash", "hang")


def find_outcome(read: Callable[[], str], path: Path, *, log: Path) -> str:
    """Return the outcome of reading a file: what `read` says, "refused" for an error, "crash" or "hang".

    Args:
        read: Reads it and returns one of OUTCOMES.
        path: The file, whose name or folder an error has to say (of a record, the file it builds on will do).
        log: A file for what is printed and raised.
    """
    process = multiprocessing.get_context("fork").Process(target=_read, args=(read, path, log))
    process.start()
    process.join(PATIENCE)
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
