"""What is left of worker processes when a process ends; stops of whole scripts are in tests/scripts/test_stops.py."""

import multiprocessing
import signal
import time
import weakref
from types import FrameType
from typing import Any

import pytest

from utils import stopping


def refuse(_number: int, _frame: FrameType | None) -> None:
    raise RuntimeError("a worker is killed, as torch's handler says it")


def test_workers_are_killed_at_the_end_without_their_loaders_complaint() -> None:
    before = signal.signal(signal.SIGCHLD, refuse)
    try:
        worker = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,), daemon=True)
        worker.start()
        stopping._end_workers()
        worker.join(10)
        assert worker.exitcode == -signal.SIGKILL
    finally:
        signal.signal(signal.SIGCHLD, before)


def test_a_worker_says_nothing_of_a_parent_that_is_gone(capsys: pytest.CaptureFixture[str]) -> None:
    for kind in (ConnectionResetError, BrokenPipeError, EOFError):
        stopping._report(kind, kind("gone"), None)
    assert capsys.readouterr().err == ""
    stopping._report(ZeroDivisionError, ZeroDivisionError("a bug"), None)
    assert "ZeroDivisionError: a bug" in capsys.readouterr().err


def test_a_stop_within_the_callback_of_an_import_comes_right_after_it() -> None:
    """What a handler raises there is printed and lost: `cb` is called as a weak reference goes."""
    source = "import os\ndef cb(_):\n    os.kill(os.getpid(), number)\n    done.append(number)\n"
    space: dict[str, Any] = {"number": signal.SIGTERM, "done": []}
    exec(compile(source, "<frozen importlib._bootstrap>", "exec"), space)
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    stopping.listen()
    try:
        kept = weakref.ref(locked := Lock(), space["cb"])
        with pytest.raises(stopping.Stopped) as stopped:
            del locked
            time.sleep(10)
        assert stopped.value.exit_code == 143
        assert (kept(), space["done"]) == (None, [signal.SIGTERM])
    finally:
        stopping.close_ears()
        for number, handler in zip((signal.SIGTERM, signal.SIGINT), before, strict=True):
            signal.signal(number, handler)


class Lock:
    """Something that a weak reference may point to."""
