"""A process forked by tests.forked behaves like a new interpreter."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests import forked

CODE = """
import os, signal, sys
signal.signal(signal.SIGTERM, lambda number, frame: sys.exit("stopped"))
print(os.getcwd(), os.environ["OWN"], "HOME" in os.environ, sys.argv, sys.stdin.read())
if sys.argv[1] == "fail":
    raise ValueError("as requested")
if sys.argv[1] == "wait":
    open(sys.argv[2], "w").close()
    signal.pause()
"""


@pytest.mark.parametrize("word", ["end", "fail"])
def test_it_ends_like_an_interpreter(tmp_path: Path, word: str) -> None:
    words, env = [sys.executable, "-c", CODE, word], {"OWN": "value"}
    found = forked.run(words, cwd=tmp_path, env=env)
    expected = subprocess.run(words, cwd=tmp_path, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    ends = [
        (ended.returncode, ended.stdout, ended.stderr and ended.stderr.splitlines()[-1]) for ended in (found, expected)
    ]
    assert ends[0] == ends[1]
    assert ends[0][2] == ("ValueError: as requested" if word == "fail" else "")


def test_it_gets_its_own_signals(tmp_path: Path) -> None:
    files = [tmp_path / name for name in "ab"]
    processes = [forked.Process([sys.executable, "-c", CODE, "wait", file], env={"OWN": ""}) for file in files]
    while not all(file.exists() for file in files):
        time.sleep(0.01)
    processes[0].send_signal(signal.SIGTERM)
    stopped = processes[0].complete()
    assert (stopped.returncode, stopped.stderr) == (1, "stopped\n")
    assert processes[1].poll() is None
    processes[1].kill()
    assert processes[1].complete().returncode == -signal.SIGKILL
