"""Run scripts in processes that are forked from a server which has done their imports, to save seconds per process.

`run` and `Process` take the words of a Python command line, like subprocess. The process has its own exit code,
signals, environment, working directory and output; only the start of the interpreter and the imports are shared. Tests
of imports and of launchers start interpreters instead.
"""

import atexit
import contextlib
import functools
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

Request = tuple[list[str], str, dict[str, str]]  # words after "python", working directory, environment
ROOT = Path(__file__).resolve().parent.parent
_TIMEOUT = 240.0  # seconds
# Imports of the scripts up to their first step; torch._dynamo, which an optimizer imports, takes longest.
_PRELOADED = (
    *("torch._dynamo", "torch.distributed", "torch.utils.tensorboard", "helpers", "dataset.readers.open"),
    *("dataset.readers.raw_video", "utils.search.run", "utils.search.budgeted", "utils.search.page.page"),
    *("utils.figures.result", "train_3d", "train_3d_op", "extract_score_3d", "merge_score"),
)


def preload() -> None:
    """Import the modules that forked processes need."""
    for name in _PRELOADED:
        importlib.import_module(name)


class Process:
    """A running process; its output is read after its end."""

    def __init__(self, words: Sequence[str | Path], *, cwd: Path = ROOT, env: Mapping[str, str] | None = None) -> None:
        """Start the process."""
        assert words[0] == sys.executable
        self._words = words
        self._files = (tempfile.TemporaryFile(), tempfile.TemporaryFile())  # noqa: SIM115  closed after its end
        self._status, theirs = socket.socketpair()
        with theirs:
            environment = dict(os.environ if env is None else env)
            request = json.dumps([[str(word) for word in words[1:]], str(cwd), environment]).encode()
            descriptors = [theirs.fileno(), *(file.fileno() for file in self._files)]
            server = _server()
            socket.send_fds(server, [len(request).to_bytes(4, "big")], descriptors)
            server.sendall(request)
        self.pid = self._receive()
        self.returncode: int | None = None

    def _receive(self) -> int:
        number = self._status.recv(4, socket.MSG_WAITALL)
        assert number, "the server of tests.forked has ended"
        return int.from_bytes(number, signed=True)

    def poll(self) -> int | None:
        """Return the exit code, None while the process is running."""
        if self.returncode is None and select.select([self._status], [], [], 0)[0]:
            self.returncode = self._receive()
            self._status.close()
        return self.returncode

    def complete(self) -> subprocess.CompletedProcess[str]:
        """Wait for the end, which is forced after a timeout, and return the result."""
        deadline = time.monotonic() + _TIMEOUT
        while (code := self.poll()) is None:
            if time.monotonic() > deadline:
                self.kill()
            select.select([self._status], [], [], 1)
        texts = []
        for file in self._files:
            file.seek(0)
            texts.append(file.read().decode())
            file.close()
        return subprocess.CompletedProcess(self._words, code, *texts)

    def send_signal(self, number: int) -> None:
        """Send a signal, unless the process has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)


def run(
    words: Sequence[str | Path], *, cwd: Path = ROOT, env: Mapping[str, str] | None = None, check: bool = False
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, like subprocess.run."""
    done = Process(words, cwd=cwd, env=env).complete()
    assert done.returncode == 0 or not check, done.stderr[-3000:]
    return done


@functools.cache
def _server() -> socket.socket:
    """Return the connection to this process's server, which ends with this process."""
    ours, theirs = socket.socketpair()
    with theirs:
        words = [sys.executable, "-m", "tests.forked"]
        server = subprocess.Popen(words, stdin=theirs.fileno(), cwd=ROOT, start_new_session=True)

    def end() -> None:
        ours.close()
        server.wait()

    atexit.register(end)
    return ours


def _serve(control: socket.socket) -> Request | None:
    """Fork for every request; return the request in the new process, and None once the connection is closed."""
    waker, woken = socket.socketpair()
    waker.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
    signal.set_wakeup_fd(waker.fileno())
    running: dict[int, int] = {}  # by process id, the descriptor to report its exit code to
    while True:
        ready = select.select([control, woken], [], [])[0]
        if woken in ready:
            woken.recv(4096)
            _report_ends(running)
        if control in ready:
            size, descriptors, _, _ = socket.recv_fds(control, 4, 3)
            if not size:
                return None
            request = json.loads(control.recv(int.from_bytes(size), socket.MSG_WAITALL))
            if (child := os.fork()) == 0:
                for connection in (control, waker, woken):
                    connection.close()
                _set_up_descriptors(descriptors, running)
                return request
            running[child] = descriptors[0]
            _report(descriptors[0], child)
            for descriptor in descriptors[1:]:
                os.close(descriptor)


def _report_ends(running: dict[int, int]) -> None:
    while running and (ended := os.waitpid(-1, os.WNOHANG))[0]:
        _report(running[ended[0]], os.waitstatus_to_exitcode(ended[1]))
        os.close(running.pop(ended[0]))


def _report(descriptor: int, number: int) -> None:
    with contextlib.suppress(BrokenPipeError):  # the requesting process has ended
        os.write(descriptor, number.to_bytes(4, signed=True))


def _set_up_descriptors(descriptors: list[int], running: dict[int, int]) -> None:
    """Redirect the output of a new process and close the descriptors of the server."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.set_inheritable(os.open(os.devnull, os.O_RDONLY), True)  # descriptor 0, which was the control socket
    for target in (1, 2):
        os.dup2(descriptors[target], target)
    for descriptor in (*descriptors, *running.values()):
        os.close(descriptor)


def _execute(request: Request) -> None:
    """Run a command line as the interpreter does."""
    words, cwd, environment = request
    os.setsid()
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    if words[0] == "-m":
        sys.argv[:] = words[1:]
        sys.path[0] = cwd
        sys.modules.pop(words[1], None)  # runpy warns about modules that are imported already
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    elif words[0] == "-c":
        sys.argv[:] = ["-c", *words[2:]]
        exec(compile(words[1], "<string>", "exec"), {"__name__": "__main__"})
    else:
        sys.argv[:] = words
        sys.path[0] = str(Path(words[0]).resolve().parent)
        runpy.run_path(words[0], run_name="__main__")


def main() -> None:
    """Import, then fork on requests of the parent process."""
    preload()
    gc.freeze()
    if (request := _serve(socket.socket(fileno=0))) is not None:
        _execute(request)


if __name__ == "__main__":
    main()
