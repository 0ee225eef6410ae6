"""Lock a folder, so that one process at a time works in it."""

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
_WORKER_EXIT_SECONDS = 40.0  # for workers whose parent was killed to save and exit
_LOCKED = (errno.EACCES, errno.EAGAIN)


class LockError(UserError):
    """Another process works in the folder."""


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Lock a folder for the block, and remove temporary files that killed processes left in it.

    The lock is one of `fcntl.lockf`, which the kernel releases when its process ends, whatever the cause. A `flock`
    would survive in forked loader workers.

    Args:
        folder: The folder; it is created if absent.

    Raises:
        LockError: Another process holds the lock; the message names it.
        FileError: The folder cannot be created or written.
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
    """Mark this process for the block as a worker of the one that has locked the folder, even after that one died."""
    with (folder / WORKERS_FILE).open("a+") as file:
        with contextlib.suppress(OSError):  # a file system without locks, which lock_folder has reported
            fcntl.lockf(file, fcntl.LOCK_SH)
        yield


def _wait_for_workers(folder: Path) -> None:
    """Wait until the workers of a killed process have ended.

    Raises:
        LockError: They have not within _WORKER_EXIT_SECONDS.
    """
    path, end = folder / WORKERS_FILE, time.monotonic() + _WORKER_EXIT_SECONDS
    while path.exists():
        with path.open("a+") as file:
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno in _LOCKED and time.monotonic() < end:
                    time.sleep(0.2)
                    continue
                if error.errno in _LOCKED:
                    cause = "is in use by workers of an earlier process"
                    raise LockError(f"{folder} {cause}; wait until they end, or stop them") from None
            path.unlink(missing_ok=True)


def _open_locked(folder: Path) -> IO[str]:
    path = folder / LOCK_FILE
    while True:
        file = path.open("a+", encoding="utf-8")
        file.seek(0)
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in _LOCKED:
                with file:
                    holder = file.read().strip() or "an unknown process"
                raise LockError(f"{folder} is in use by {holder}; wait until it ends, or stop it") from None
            say(f"{folder}: its file system has no locks ({error.strerror}); run no other process in this folder")
            return file
        if path.exists() and os.path.samestat(path.stat(), os.fstat(file.fileno())):
            return file
        file.close()  # removed by its holder in the meantime
