"""What is left of worker processes when a process ends; stops of whole scripts are in tests/scripts/test_stops.py."""

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
    raise RuntimeError("a worker is killed, as torch's handler says it")

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
    """Its output is at its end when no process has it any more."""
    subprocess.run([sys.executable, "-c", ORPHAN], stdout=subprocess.PIPE, timeout=30, check=True)


def test_workers_are_killed_at_the_end_without_their_loaders_complaint() -> None:
    """In a process of its own: every child is killed, and loaders that other tests left would complain later."""
    done = subprocess.run([sys.executable, "-c", END], capture_output=True, text=True, timeout=60, check=True)
    assert (done.stdout, done.stderr) == (f"{-signal.SIGKILL}\n", "")


def test_a_worker_says_nothing_of_a_parent_that_is_gone(capsys: pytest.CaptureFixture[str]) -> None:
    for kind in (ConnectionResetError, BrokenPipeError, EOFError):
        stopping._print_uncaught(kind, kind("gone"), None)
    assert capsys.readouterr().err == ""
    stopping._print_uncaught(ZeroDivisionError, ZeroDivisionError("a bug"), None)
    assert "ZeroDivisionError: a bug" in capsys.readouterr().err


def test_a_stop_within_the_callback_of_an_import_comes_right_after_it() -> None:
    """What a handler raises there is printed and lost: `cb` is called as a weak reference goes."""
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
    """Something that a weak reference may point to."""
