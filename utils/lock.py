"""One process at a time in a folder."""

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

LOCK_FILE = ".lock"
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
            remove_temporaries(folder)
            yield
        finally:
            (folder / LOCK_FILE).unlink(missing_ok=True)


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
