"""Early termination: SIGTERM, Ctrl-C, and processes whose parent has died. No torch.

A stop request raises `Stopped` at once, because the files on disk are valid at any moment. A loop that should finish
and save its current step first runs inside `deferred` and polls `requested` between steps.
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

# Seconds between checks for the parent, and seconds that an orphaned process has to save and exit.
_POLL_SECONDS, _GRACE_SECONDS = 0.5, 30.0
# One Ctrl-C may arrive twice, from the terminal and from a launcher: a signal within this time is a duplicate.
_DUPLICATE_SECONDS = 1.0
_RETRY_SECONDS = 0.02  # until the signal of a postponed stop is sent again
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Stopped(KeyboardInterrupt):
    """A stop requested by the signal `signum`; not an error."""

    def __init__(self, signum: int, saved: str = "", advice: str = "the same command continues") -> None:
        """Initialize the stop.

        Args:
            signum: The signal, SIGTERM or SIGINT.
            saved: What has been saved, for the message; "": nothing.
            advice: How to continue, for the message.
        """
        super().__init__(signum, saved, advice)
        self.signum, self.saved, self.advice = signum, saved, advice

    @property
    def exit_code(self) -> int:
        """Exit code by the shells' convention: 143 after SIGTERM, 130 after Ctrl-C."""
        return 128 + self.signum


@dataclass
class _State:
    """Signal state of this process.

    Attributes:
        owner: Id of the process that handles signals; 0: none does.
        signum: The signal received; 0: none.
        asked_at: When it was received, `time.monotonic` seconds.
        deferring: Number of open `deferred` blocks.
        postponed: Whether the stop waits for its signal to be sent again, because an exception would be lost.
    """

    owner: int = 0
    signum: int = 0
    asked_at: float = 0.0
    deferring: int = 0
    postponed: bool = False


_state = _State()


def listen() -> None:
    """Handle SIGTERM, Ctrl-C and the death of the launcher that started this process as requests to stop."""
    _state.owner, _state.signum, _state.postponed = os.getpid(), 0, False
    for number in _SIGNALS:
        signal.signal(number, _handle_signal)
    if "TORCHELASTIC_RUN_ID" in os.environ and "RANK" in os.environ:
        when_orphaned(lambda: os.kill(os.getpid(), signal.SIGTERM))


def _end_workers() -> None:
    """Kill the remaining workers: they ignore the SIGTERM of multiprocessing, which would wait for them."""
    # torch's SIGCHLD handler raises when a loader's worker dies, here in the middle of multiprocessing's exit hook.
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for child in active_children():
        child.kill()


@functools.cache
def _end_workers_at_exit(_pid: int) -> None:
    util.Finalize(None, _end_workers, exitpriority=0)


def ignore_signals() -> None:
    """Ignore further stop requests: the script is exiting, and its exit code must not change."""
    _state.owner = 0
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # Python removes its own handlers before the process has exited


def _handle_signal(number: int, frame: FrameType | None) -> None:
    if os.getpid() != _state.owner:  # a child that has just been forked: its parent decides
        return
    if _state.signum and not _state.postponed:
        if _state.signum == signal.SIGINT and time.monotonic() - _state.asked_at > _DUPLICATE_SECONDS:
            os._exit(128 + number)  # a second Ctrl-C; children notice that they are orphans
        return
    if not _state.postponed:
        _state.signum, _state.asked_at = number, time.monotonic()
    # Imports run a weak reference's callback, where an exception is printed and lost: the signal is sent again later.
    _state.postponed = _is_in_callback(frame) and not _state.deferring
    if _state.postponed:
        again = threading.Timer(_RETRY_SECONDS, os.kill, (os.getpid(), _state.signum))
        again.daemon = True
        again.start()
    elif not _state.deferring:
        stop()


def _is_in_callback(frame: FrameType | None) -> bool:
    """Return whether a frame is in the callback with which `importlib._bootstrap._get_module_lock` drops a lock."""
    while frame is not None and "importlib._bootstrap" in frame.f_code.co_filename:
        if frame.f_code.co_name == "cb":
            return True
        frame = frame.f_back
    return False


def requested() -> bool:
    """Return whether this process has been asked to stop."""
    return _state.signum != 0


def stopped(saved: str = "") -> Stopped:
    """Return the stop to raise in this process: by its own signal, or by SIGTERM where only another process got one."""
    return Stopped(_state.signum or signal.SIGTERM, saved)


def stop() -> NoReturn:
    """Kill the processes of pools and raise `Stopped`."""
    kill_pools()
    raise stopped()


def kill_pools() -> None:
    """Kill the processes of pools: waiting for the videos they are working on may take minutes.

    Loader workers are daemons, which the loaders end themselves.
    """
    for child in active_children():
        if not child.daemon:
            child.kill()


@contextlib.contextmanager
def deferred() -> Iterator[None]:
    """Defer a stop to the end of the block, which may poll `requested` to leave early."""
    _state.deferring += 1
    try:
        yield
    finally:
        _state.deferring -= 1
    if requested() and not _state.deferring:
        stop()


def when_orphaned(act: Callable[[], object]) -> None:
    """Call `act` when the parent of this process dies first, and exit 30 s later.

    A thread polls for the parent, which works on every system: Linux's PR_SET_PDEATHSIG is bound to the thread that
    started the process, and other systems have no equivalent. A worker takes its parent's process id from
    multiprocessing, since the parent may have died before this call.
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
    """Set up a worker process that ignores signals: it exits when its parent says so or dies.

    Ctrl-C and SIGTERM often reach all processes of a group, SIGTERM even more than once, but the parent needs its
    workers until its step is done.
    """
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    sys.excepthook = _print_uncaught
    when_orphaned(lambda: os._exit(1))


def init_saving_worker() -> None:
    """Set up a worker process that saves before it exits, on SIGTERM from its parent or when the parent dies.

    It ignores Ctrl-C, which the parent handles. Start it inside `block_signals`.
    """
    listen()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    when_orphaned(lambda: os.kill(os.getpid(), signal.SIGTERM))


def _print_uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print an uncaught exception, unless it only says that the process which requested shared memory has ended."""
    if not issubclass(kind, ConnectionError | EOFError):
        sys.__excepthook__(kind, error, trace)


@contextlib.contextmanager
def block_signals() -> Iterator[None]:
    """Block SIGTERM and SIGINT in this process, and in processes started in the block until they call `init_worker`.

    Workers that are still alive when this process exits, be it a script, a test or a notebook, are killed.
    """
    _end_workers_at_exit(os.getpid())
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
