"""Ending early: SIGTERM, Ctrl-C, and processes whose parent is gone. No torch.

A script that is asked to stop raises `Stopped` where it stands: what is on the disk is whole at any moment. Where a
step should be completed and saved first, the stop is `deferred`, and the loop asks between steps whether it is
`requested`.
"""

import contextlib
import functools
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing import active_children, parent_process, util
from types import FrameType, TracebackType
from typing import NoReturn

# Seconds between looks for the parent, and those that a process whose parent is gone has to save and end.
_POLL_SECONDS, _GRACE_SECONDS = 0.5, 30.0
# One Ctrl-C may arrive twice, from the terminal and from a launcher: what comes sooner is no second one, seconds.
_DUPLICATE_SECONDS = 1.0
_RETRY_SECONDS = 0.02  # seconds to the next try of a stop that would be lost
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Stopped(KeyboardInterrupt):
    """A stop that was asked for by `signum`: nothing to be mended."""

    def __init__(self, signum: int, saved: str = "", advice: str = "the same command continues") -> None:
        """Keep what was asked for, and what was saved and how to go on, in words."""
        super().__init__(signum, saved, advice)
        self.signum, self.saved, self.advice = signum, saved, advice

    @property
    def exit_code(self) -> int:
        """143 after SIGTERM, 130 after Ctrl-C, as shells have it."""
        return 128 + self.signum


@dataclass
class _State:
    """Of this process: which process it is (0: nobody listens), what was asked for and when, who wants it deferred.

    A stop is `postponed` where it would be lost.
    """

    owner: int = 0
    signum: int = 0
    asked_at: float = 0.0
    deferring: int = 0
    postponed: bool = False


_state = _State()


def listen() -> None:
    """Take SIGTERM and Ctrl-C as requests to stop, and the end of the launcher that started this process as well."""
    _state.owner, _state.signum, _state.postponed = os.getpid(), 0, False
    for number in _SIGNALS:
        signal.signal(number, _handle_signal)
    if "TORCHELASTIC_RUN_ID" in os.environ and "RANK" in os.environ:
        when_orphaned(lambda: os.kill(os.getpid(), signal.SIGTERM))


def _end_workers() -> None:
    """Kill what is left: multiprocessing would wait for workers, as they do not heed its SIGTERM."""
    # torch's handler raises where a loader's worker dies, here in the middle of what multiprocessing does at the end.
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for child in active_children():
        child.kill()


@functools.cache
def _end_workers_at_exit(_pid: int) -> None:
    util.Finalize(None, _end_workers, exitpriority=0)


def ignore_signals() -> None:
    """Take no more requests: the script has ended and says why, and its exit code is to stay what it is."""
    _state.owner = 0
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # Python's own handlers go before it has ended


def _handle_signal(number: int, frame: FrameType | None) -> None:
    if os.getpid() != _state.owner:  # a child that was forked a moment ago: its parent decides
        return
    if _state.signum and not _state.postponed:
        if _state.signum == signal.SIGINT and time.monotonic() - _state.asked_at > _DUPLICATE_SECONDS:
            os._exit(128 + number)  # a second Ctrl-C; children see that they are orphans
        return
    if not _state.postponed:
        _state.signum, _state.asked_at = number, time.monotonic()
    # Imports run a callback of a weak reference, where what is raised is printed and lost: the signal comes once more.
    _state.postponed = _is_in_callback(frame) and not _state.deferring
    if _state.postponed:
        again = threading.Timer(_RETRY_SECONDS, os.kill, (os.getpid(), _state.signum))
        again.daemon = True
        again.start()
    elif not _state.deferring:
        stop()


def _is_in_callback(frame: FrameType | None) -> bool:
    """Return whether a frame is in the callback by which `importlib._bootstrap._get_module_lock` forgets a lock."""
    while frame is not None and "importlib._bootstrap" in frame.f_code.co_filename:
        if frame.f_code.co_name == "cb":
            return True
        frame = frame.f_back
    return False


def requested() -> bool:
    """Return whether this process was asked to stop."""
    return _state.signum != 0


def stopped(saved: str = "") -> Stopped:
    """Return the stop of this process; as if by SIGTERM, if another one was asked."""
    return Stopped(_state.signum or signal.SIGTERM, saved)


def stop() -> NoReturn:
    """End the processes of pools and raise the stop of this process."""
    kill_pools()
    raise stopped()


def kill_pools() -> None:
    """Kill the processes of pools, which would be waited for: the videos they are at may take minutes.

    Loaders, whose processes are daemons, end theirs by themselves.
    """
    for child in active_children():
        if not child.daemon:
            child.kill()


@contextlib.contextmanager
def deferred() -> Iterator[None]:
    """Let what is inside end by itself when it sees that a stop is `requested`; at its end the stop is raised."""
    _state.deferring += 1
    try:
        yield
    finally:
        _state.deferring -= 1
    if requested() and not _state.deferring:
        stop()


def when_orphaned(act: Callable[[], object]) -> None:
    """Act, and soon after end, when the parent of this process ends before it.

    A thread looks for it, on every system alike: Linux' own way (PR_SET_PDEATHSIG) is bound to the thread that started
    the process, and nobody else has one. A worker knows its parent by number: it may have ended before this is called.
    """
    starter = parent_process()
    parent = os.getppid() if starter is None else starter.pid

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_POLL_SECONDS)
        act()
        time.sleep(_GRACE_SECONDS)
        os._exit(128 + signal.SIGTERM)

    threading.Thread(target=watch, name="watch-parent", daemon=True).start()


def init_worker() -> None:
    """Set up a worker process: the parent decides when it ends, and it ends with the parent.

    Ctrl-C and SIGTERM often reach all processes of a group, SIGTERM even more than once. The parent needs its workers
    until its step is done.
    """
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    sys.excepthook = _print_uncaught
    when_orphaned(lambda: os._exit(1))


def init_saving_worker() -> None:
    """Set up a worker process that saves what it is at before it ends: on its parent's SIGTERM, or with its parent.

    Ctrl-C is the parent's to hear; started while signals are blocked (`block_signals`).
    """
    listen()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    when_orphaned(lambda: os.kill(os.getpid(), signal.SIGTERM))


def _print_uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print an uncaught error of a worker's threads, but not that whoever asked for shared memory has ended."""
    if not issubclass(kind, ConnectionError | EOFError):
        sys.__excepthook__(kind, error, trace)


@contextlib.contextmanager
def block_signals() -> Iterator[None]:
    """Hold signals back from processes that are started inside, until they call `init_worker`, and from this one.

    What is left of them ends with this process, whoever it is that started them: a script, a test or a notebook.
    """
    _end_workers_at_exit(os.getpid())
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
