"""Worker processes when their parent exits or dies; stops of whole scripts are in tests/scripts/test_stops.py."""

import signal
import subprocess
import sys
import time
import weakref
from typing import Any

import pytest

from utils import stopping

END = """
import multiprocessing, signal, time
from utils import stopping

def refuse(number, frame):
    raise RuntimeError("a worker is killed, as torch's handler reports it")

signal.signal(signal.SIGCHLD, refuse)
worker = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,), daemon=True)
worker.start()
stopping._end_workers()
worker.join(10)
print(worker.exitcode)
"""

ORPHAN = """
import multiprocessing, os, time
from utils import stopping

def work():
    while os.getppid() == multiprocessing.parent_process().pid:
        time.sleep(0.01)
    stopping.init_worker()
    time.sleep(60)

multiprocessing.get_context("fork").Process(target=work).start()
os._exit(0)
"""


def test_a_worker_whose_parent_ended_before_it_was_set_up_ends_as_well() -> None:
    """The pipe of its output is closed only when no process holds it any more."""
    subprocess.run([sys.executable, "-c", ORPHAN], stdout=subprocess.PIPE, timeout=30, check=True)


def test_workers_are_killed_at_exit_without_an_error_of_their_loader() -> None:
    """Runs in a process of its own, since all children are killed and loaders of other tests would raise later."""
    done = subprocess.run([sys.executable, "-c", END], capture_output=True, text=True, timeout=60, check=True)
    assert (done.stdout, done.stderr) == (f"{-signal.SIGKILL}\n", "")


def test_a_worker_prints_nothing_about_a_parent_that_has_ended(capsys: pytest.CaptureFixture[str]) -> None:
    for kind in (ConnectionResetError, BrokenPipeError, EOFError):
        stopping._print_uncaught(kind, kind("gone"), None)
    assert capsys.readouterr().err == ""
    stopping._print_uncaught(ZeroDivisionError, ZeroDivisionError("a bug"), None)
    assert "ZeroDivisionError: a bug" in capsys.readouterr().err


def test_a_stop_during_the_callback_of_an_import_is_raised_right_after_it() -> None:
    """An exception of a handler there is printed and lost, since `cb` is a callback of a weak reference."""
    source = "import os\ndef cb(_):\n    os.kill(os.getpid(), number)\n    done.append(number)\n"
    space: dict[str, Any] = {"number": signal.SIGTERM, "done": []}
    exec(compile(source, "<frozen importlib._bootstrap>", "exec"), space)
    stopping.listen()
    kept = weakref.ref(locked := Lock(), space["cb"])
    with pytest.raises(stopping.Stopped) as stopped:
        del locked
        time.sleep(10)
    assert stopped.value.exit_code == 143
    assert (kept(), space["done"]) == (None, [signal.SIGTERM])


class Lock:
    """An object that supports weak references."""
