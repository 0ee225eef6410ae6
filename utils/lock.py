"""One process at a time in a folder."""

import contextlib
import errno
import fcntl
import os
import shlex
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from utils.errors import UserError
from utils.files import FileError, remove_temporaries
from utils.text import say

LOCK_FILE, WORKERS_FILE = ".lock", ".workers.lock"
_LEAVING = 40.0  # seconds for workers whose parent was killed: they save and end
_TAKEN = (errno.EACCES, errno.EAGAIN)


class LockError(UserError):
    """A folder in which another process is at work."""


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Keep other processes out of a folder for the block, and remove half-written files that killed ones left in it.

    The lock is one of `fcntl.lockf`: it ends with the process that holds it, however that ends. Those of `flock` would
    live on in loader workers that it has forked.

    Args:
        folder: The folder; it is made when absent.

    Raises:
        LockError: Another process holds it; says which.
        FileError: The folder cannot be made or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = _open_locked(folder)
        file.truncate()
        file.write(f"process {os.getpid()} on {socket.gethostname()}, since {time.strftime('%Y-%m-%d %H:%M:%S')}")
        file.write(f": {shlex.join(sys.argv)}\n")
        file.flush()
    except OSError as error:
        raise FileError(f"{folder}: cannot be written ({error.strerror or error})") from None
    with file:
        try:
            _wait_for_workers(folder)
            remove_temporaries(folder)
            yield
            (folder / WORKERS_FILE).unlink(missing_ok=True)
        finally:
            (folder / LOCK_FILE).unlink(missing_ok=True)


@contextmanager
def join_folder(folder: Path) -> Iterator[None]:
    """Say for the block that this process works in a folder for the one that has locked it, and after its death."""
    with (folder / WORKERS_FILE).open("a+") as file:
        with contextlib.suppress(OSError):  # no locks here, as the one that has the folder has said
            fcntl.lockf(file, fcntl.LOCK_SH)
        yield


def _wait_for_workers(folder: Path) -> None:
    """Wait until the workers of a process that was killed have ended.

    Raises:
        LockError: They have not in time.
    """
    path, end = folder / WORKERS_FILE, time.monotonic() + _LEAVING
    while path.exists():
        with path.open("a+") as file:
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno in _TAKEN and time.monotonic() < end:
                    time.sleep(0.2)
                    continue
                if error.errno in _TAKEN:
                    cause = "is in use by workers of an earlier process"
                    raise LockError(f"{folder} {cause}; wait until they end, or end them") from None
            path.unlink(missing_ok=True)


def _open_locked(folder: Path) -> IO[str]:
    path = folder / LOCK_FILE
    while True:
        file = path.open("a+", encoding="utf-8")
        file.seek(0)
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in _TAKEN:
                with file:
                    holder = file.read().strip() or "an unknown process"
                raise LockError(f"{folder} is in use by {holder}; wait until it ends, or end it") from None
            say(f"{folder}: its file system has no locks ({error.strerror}); start nothing else that works in it")
            return file
        if path.exists() and os.path.samestat(path.stat(), os.fstat(file.fileno())):
            return file
        file.close()  # its holder has just removed it
