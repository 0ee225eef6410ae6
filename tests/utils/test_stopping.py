"""What is left of worker processes when a process ends; stops of whole scripts are in tests/scripts/test_stops.py."""

import importlib
import multiprocessing
import signal
import sys
import time
from pathlib import Path
from types import FrameType

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


def test_a_stop_within_an_import_comes_right_after_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a handler raises in a callback of the import's own locks is printed and lost."""
    (tmp_path / "stopped_inside.py").write_text(
        "import os, signal\nos.kill(os.getpid(), signal.SIGTERM)\nis_complete = True\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    stopping.listen()
    try:
        assert importlib.import_module("stopped_inside").is_complete
        with pytest.raises(stopping.Stopped) as stopped:
            time.sleep(10)
        assert stopped.value.exit_code == 143
    finally:
        stopping.close_ears()
        for number, handler in zip((signal.SIGTERM, signal.SIGINT), before, strict=True):
            signal.signal(number, handler)
        del sys.modules["stopped_inside"]
