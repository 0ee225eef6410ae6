"""A folder's lock: one process at a time, named to the others; released when it ends, whatever its children do."""

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import ROOT
from utils import lock
from utils.files import FileError
from utils.lock import LOCK_FILE, LockError, lock_folder

HOLD = """
import os, sys, time
from pathlib import Path
from utils.lock import lock_folder
with lock_folder(Path(sys.argv[1])):
    if os.fork() == 0:  # as a loader worker
        time.sleep(60)
        os._exit(0)
    print("held", flush=True)
    time.sleep(60)
"""


@contextmanager
def holder(folder: Path) -> Iterator[subprocess.Popen[str]]:
    words = [sys.executable, "-c", HOLD, str(folder)]
    with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            os.killpg(process.pid, signal.SIGKILL)


def test_a_held_folder_is_refused_until_its_holder_is_killed(tmp_path: Path) -> None:
    folder = tmp_path / "output" / "tiny"
    with holder(folder) as process:
        with pytest.raises(LockError) as caught, lock_folder(folder):
            pass
        assert str(caught.value).startswith(f"{folder} is in use by process {process.pid} on {socket.gethostname()}")
        assert "\n" not in str(caught.value)
        process.kill()
        process.wait()
        with lock_folder(folder):  # although the child it has forked lives
            assert f"process {os.getpid()} on" in (folder / LOCK_FILE).read_text()
    assert list(folder.iterdir()) == []


def test_temporary_files_of_killed_processes_are_removed_and_nothing_else(tmp_path: Path) -> None:
    stale = [".current.pth.0123abcd.tmp", "search/.journal.jsonl.ffffffff.tmp", "scores/.part-0.npz.00000000.tmp"]
    others = ["current.pth", ".notes.tmp", "x.0123abcd.tmp", "search/own.tmp"]
    for name in (*stale, *others):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    with lock_folder(tmp_path):
        pass
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()) == sorted(others)


def test_a_file_system_without_locks_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(lock.errno.ENOLCK, os.strerror(lock.errno.ENOLCK))

    monkeypatch.setattr(lock.fcntl, "lockf", refuse)
    with lock_folder(tmp_path):
        pass
    assert "its file system has no locks" in capsys.readouterr().out


def test_a_folder_that_cannot_be_created_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FileError, match="file/run: cannot be written"), lock_folder(tmp_path / "file" / "run"):
        pass


def test_an_error_in_the_block_propagates_and_releases_the_lock(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="of the work"), lock_folder(tmp_path):
        raise OSError("of the work")
    assert not (tmp_path / LOCK_FILE).exists()


JOIN = """
import sys
import threading
from pathlib import Path
from utils.lock import join_folder
with join_folder(Path(sys.argv[1])):
    print("joined", flush=True)
    sys.stdin.readline()
"""


def test_workers_of_a_killed_holder_are_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words, pipe = [sys.executable, "-c", JOIN, str(tmp_path)], subprocess.PIPE
    with subprocess.Popen(words, cwd=ROOT, stdin=pipe, stdout=pipe, text=True) as worker:
        assert worker.stdout is not None and worker.stdin is not None
        assert worker.stdout.readline() == "joined\n"
        with monkeypatch.context() as patch:
            patch.setattr(lock, "_WORKER_EXIT_SECONDS", 0.0)
            with pytest.raises(LockError, match="in use by workers of an earlier process"), lock_folder(tmp_path):
                pass
        ending = threading.Timer(0.3, worker.terminate)
        ending.start()
        with lock_folder(tmp_path):
            assert ending.finished.is_set(), "the folder was taken while a worker was in it"
            assert not (tmp_path / lock.WORKERS_FILE).exists()
        ending.join()
    assert list(tmp_path.iterdir()) == []
