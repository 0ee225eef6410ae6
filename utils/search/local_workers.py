"""Workers on this node: groups of processes that divide its GPUs and cores and train jobs of a search.

A worker that is killed is restarted and continues its job from the last checkpoint. On a stop request all workers save
first.
"""

import contextlib
import multiprocessing
import os
import signal
import socket
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any

import torch

from utils import distributed, stopping
from utils.errors import UserError
from utils.lock import join_folder
from utils.logs import open_log
from utils.search.jobs import Job, Work, open_job
from utils.shortage import describe_shortage
from utils.stopping import Stopped
from utils.text import say
from utils.workers import WorkerError, cpu_threads, usable_cores

MAX_DEATHS = 3  # deaths of a job's workers after which the search fails
_POLL_SECONDS = 1.0  # between checks of workers that send nothing
_EXIT_SECONDS = 60.0  # that a worker may take to save


@dataclass
class _Group:
    """A worker: processes that train one job together.

    Attributes:
        number: Index of the worker, from 0.
        processes: Its processes, by rank.
        pipes: Pipes to the processes, by rank.
        job: The job in training, None if idle.
        answers: Number of processes that have finished the job.
    """

    number: int
    processes: list[SpawnProcess] = field(default_factory=list)
    pipes: list[Connection] = field(default_factory=list)
    job: Job | None = None
    answers: int = 0

    def send(self, job: Job) -> None:
        """Send a job to all processes."""
        self.job, self.answers = job, 0
        for pipe in self.pipes:
            with contextlib.suppress(ConnectionError):  # the process has just died, which `wait` notices
                pipe.send(job)


class LocalWorkers:
    """An `Executor` that runs jobs in groups of processes on this node."""

    def __init__(self, work: Work, *, workers: int) -> None:
        """Divide this node among the workers; processes start with their first job."""
        self.workers, self._work = workers, work
        self._groups = [_Group(number) for number in range(workers)]
        self._deaths: Counter[str] = Counter()
        processes = int(os.environ.get("WORLD_SIZE", "1"))
        self._each = max(1, processes // workers)
        self._places = max(processes, torch.cuda.device_count())

    @property
    def running(self) -> set[str]:
        """Names of the running jobs."""
        return {group.job.name for group in self._groups if group.job is not None}

    def submit(self, job: Job) -> None:
        """Give a job to an idle worker."""
        group = next(group for group in self._groups if group.job is None)
        if not group.processes:
            self._start(group)
        group.send(job)

    def cancel(self, name: str) -> None:
        """Kill the worker of a job."""
        for group in self._groups:
            if group.job is not None and group.job.name == name:
                _end(group, signal.SIGKILL)

    def wait(self) -> None:
        """Return when a worker has sent something or has died, or after a second.

        Raises:
            Stopped: This process was asked to stop.
            UserError: A worker raised it, or the workers of a job died repeatedly.
        """
        pipes = [(pipe, group) for group in self._groups for pipe in group.pipes]
        heard = wait([pipe for pipe, _ in pipes], _POLL_SECONDS)
        for pipe, group in pipes:
            if pipe in heard:
                with contextlib.suppress(EOFError, ConnectionError):  # the process has died
                    answer = pipe.recv()
                    if isinstance(answer, UserError):
                        raise answer
                    group.answers += 1
        if stopping.requested():
            raise stopping.stopped("the progress of the workers is saved")
        for group in self._groups:
            if group.answers == len(group.processes):
                group.job = None
            if any(process.exitcode is not None for process in group.processes):
                self._replace(group)

    def close(self) -> None:
        """End all workers; running jobs are saved first."""
        for group in self._groups:
            for process in group.processes:
                process.terminate()
        for group in self._groups:
            _end(group, signal.SIGTERM)

    def _replace(self, group: _Group) -> None:
        """Restart a worker that has died, with its job."""
        job, codes = group.job, [process.exitcode for process in group.processes]
        code = next(code for code in codes if code is not None)
        _end(group, signal.SIGKILL)
        if job is None:
            return
        self._deaths[job.name] += 1
        if code > 0 and code != 128 + signal.SIGTERM:
            raise WorkerError(f"worker {group.number + 1} failed at {job.name}; its error is printed above")
        cause = signal.Signals(-code).name if code < 0 else "SIGTERM"
        if self._deaths[job.name] >= MAX_DEATHS:
            raise WorkerError(
                f"worker {group.number + 1} was ended by {cause} {MAX_DEATHS} times at {job.name} (out of memory?); "
                "the same command goes on, with fewer search.workers if need be"
            )
        say(f"worker {group.number + 1} was ended by {cause}: it continues {job.name} from its last checkpoint")
        self._start(group)
        group.send(job)

    def _start(self, group: _Group) -> None:
        context = multiprocessing.get_context("spawn")
        port = _free_port() if self._each > 1 else 0
        for rank in range(self._each):
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(self._work, theirs, group.number + 1, os.getpid()))
            with _environment(self._variables(group, rank=rank, port=port)), stopping.block_signals():
                process.start()
            theirs.close()
            group.processes.append(process)
            group.pipes.append(ours)

    def _variables(self, group: _Group, *, rank: int, port: int) -> Mapping[str, str | None]:
        """Return the environment variables that place a process in its group; None: unset."""
        cores, processes = usable_cores(), self.workers * self._each
        threads = min(int(os.environ.get("OMP_NUM_THREADS") or cores), cpu_threads(processes, cores))
        variables: dict[str, str | None] = {
            "LOCAL_RANK": str((group.number * self._each + rank) % self._places),
            "OMP_NUM_THREADS": str(threads),
            **{name: None for name in os.environ if name.startswith("TORCHELASTIC_")},  # the launcher's
            "TQDM_POSITION": str(group.number),  # each worker's progress bar has its own line
            "RANK": None,
        }
        if self._each > 1:
            place = {"RANK": rank, "WORLD_SIZE": self._each, "LOCAL_WORLD_SIZE": self._each, "MASTER_PORT": port}
            variables |= {name: str(value) for name, value in place.items()} | {"MASTER_ADDR": "127.0.0.1"}
        return variables


def _end(group: _Group, signum: signal.Signals) -> None:
    """Send a signal to the processes of a group, wait for them, and kill those that do not exit in time."""
    for process in group.processes:
        if process.exitcode is None:
            os.kill(process.pid or 0, signum)
    for process in group.processes:
        process.join(_EXIT_SECONDS)
        process.kill()
        process.join()
    for pipe in group.pipes:
        pipe.close()
    group.processes, group.pipes, group.job = [], [], None


@contextlib.contextmanager
def _environment(variables: Mapping[str, str | None]) -> Iterator[None]:
    """Change environment variables for processes that are started in the block; None: unset."""
    before = dict(os.environ)
    os.environ.update({name: value for name, value in variables.items() if value is not None})
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _serve(work: Work, pipe: Connection, number: int, parent: int) -> None:
    """Run a process of a worker: train each job from the pipe, and answer with None or with a UserError."""
    stopping.init_saving_worker()
    multiprocessing.set_start_method(None, force=True)  # reset, so that loaders start workers as they do elsewhere
    with join_folder(work.config.run_dir):
        if os.getppid() != parent:  # the parent was killed before this process had registered in the folder
            return
        try:
            _train_jobs(work, pipe, number)
        except Stopped as request:
            stopping.ignore_signals()
            sys.exit(request.exit_code)
        except (EOFError, ConnectionError):  # the parent has ended
            return
        except UserError as error:
            pipe.send(error)
        except (MemoryError, OSError, RuntimeError) as error:
            if not (problem := describe_shortage(error)):
                raise
            pipe.send(WorkerError(problem))


def _train_jobs(work: Work, pipe: Connection, number: int) -> None:
    with distributed.session() as device:
        parts: Any = work.make_parts(work.config, device)
        log = open_log(work.config.run_dir, f"search worker {number}")
        while True:
            job, note = open_job(work, parts, pipe.recv())
            work.run_job(work.config, parts, job, note, log)
            pipe.send(None)
