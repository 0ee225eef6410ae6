"""Jobs of a search that can be trained in parallel, their executors, and the files with their events.

Events enter the journal job after job, in the order in which a single worker would produce them. A job that runs ahead
of its turn keeps its events in a file of its own, so neither the plan nor the journal depends on which job finishes
first, and a killed job loses only what it has trained since its last checkpoint.
"""

import contextlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import torch

from utils import distributed
from utils.config import RunConfig
from utils.jsonl import LineFile, open_identified, read_lines
from utils.search.events import write_event
from utils.search.result import SEARCH_FOLDER

AHEAD_FOLDER = "ahead"  # folder of the jobs' files
START_OVER = "use --force (FORCE=1 with run.sh) to move the search aside and start anew"

Note = Callable[[Any], None]  # takes an event, which is on the disk when it returns


@dataclass(frozen=True)
class Job:
    """A training task whose result depends only on its own content.

    Attributes:
        name: Name of the job and of its file.
        task: What to train, as `Work.run_job` understands it.
        known: The job's events that are in the journal, as parsed lines.
    """

    name: str
    task: Any
    known: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True)
class Work:
    """What a process needs to run the jobs of a search; it is pickled, so its functions are module-level ones.

    Attributes:
        config: The search record.
        make_parts: Returns the parts of the search, given the record and a device.
        run_job: Trains the rest of a job beyond its known events, given the record, the parts, the job, a `Note` for
            new events, and the log.
        identify: Returns the identity of the search, given the record and the parts.
    """

    config: RunConfig
    make_parts: Callable[[RunConfig, torch.device], Any]
    run_job: Callable[..., None]
    identify: Callable[[RunConfig, Any], dict[str, Any]]


class Executor(Protocol):
    """Runs up to `workers` jobs at the same time."""

    workers: int

    @property
    def running(self) -> Collection[str]:
        """Names of the running jobs."""

    def submit(self, job: Job) -> None:
        """Start a job; fewer than `workers` must be running."""

    def cancel(self, name: str) -> None:
        """Abort a running job."""

    def wait(self) -> None:
        """Return when a job has made progress, or after a second."""


class InProcessExecutor:
    """An `Executor` that runs jobs one after another in this process and its peers."""

    workers = 1

    def __init__(self, run_job: Callable[[Job], None]) -> None:
        """Initialize the executor with the function that runs a job to its end."""
        self._run_job = run_job
        self.running: set[str] = set()

    def submit(self, job: Job) -> None:
        """Run a job to its end."""
        self._run_job(job)
        self.running.add(job.name)

    def cancel(self, name: str) -> None:
        """Fail: a job has ended when `submit` returns, so there is nothing to abort."""
        raise AssertionError(name)

    def wait(self) -> None:
        """Mark the job as ended."""
        self.running.clear()


class Dispatcher:
    """Starts the jobs of a search on an executor, and reads their events."""

    def __init__(self, folder: Path, executor: Executor) -> None:
        """Initialize the dispatcher.

        Args:
            folder: Folder of the search.
            executor: Runs the jobs.
        """
        self._folder, self._executor = folder, executor
        self.workers, self.wait = executor.workers, executor.wait

    def start(self, jobs: Sequence[Job]) -> None:
        """Start as many of these jobs as there are free workers, in order, and abort running jobs not among them."""
        wanted = {job.name for job in jobs}
        for name in [name for name in self._executor.running if name not in wanted]:
            self._executor.cancel(name)
        for job in jobs:
            if job.name not in self._executor.running and len(self._executor.running) < self.workers:
                self._executor.submit(job)

    def run(self, job: Job) -> None:
        """Run one job to its end."""
        self.start([job])
        while self.is_running(job.name):
            self.wait()

    def is_running(self, name: str) -> bool:
        """Return whether a job is running."""
        return name in self._executor.running

    def read_events(self, name: str) -> list[dict[str, Any]]:
        """Return the events in a job's file as parsed lines; none without a file (in-process jobs note their own)."""
        return distributed.decide_on_main(lambda: read_lines(job_file(self._folder, name), remedy=START_OVER)[1:])

    def forget(self, name: str) -> None:
        """Remove the file of a job, and with the last file its folder."""
        if distributed.is_main():
            file = job_file(self._folder, name)
            file.unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # other files remain, or there is no folder
                file.parent.rmdir()

    def forget_all(self) -> None:
        """Remove the files of all jobs, such as those that were started but not needed."""
        for file in sorted((self._folder / AHEAD_FOLDER).glob("*.jsonl")) if distributed.is_main() else ():
            self.forget(file.stem)


def job_file(folder: Path, name: str) -> Path:
    """Return the file of a job.

    Args:
        folder: Folder of the search.
        name: Name of the job.
    """
    return folder / AHEAD_FOLDER / f"{name}.jsonl"


def open_job(work: Work, parts: Any, job: Job) -> tuple[Job, Note]:
    """Open the file of a job; return the job with all its events so far, and the function that appends an event.

    Raises:
        LineFileError: The file belongs to another search, it is corrupt, or it could not be written.
    """
    identity = {"job": job.name, **work.identify(work.config, parts)}
    files: list[LineFile] = []

    def read() -> list[dict[str, Any]]:
        path = job_file(work.config.run_dir / SEARCH_FOLDER, job.name)
        file, lines = open_identified(path, identity, work="search", remedy=START_OVER)
        files.append(file)
        for line in job.known[len(lines) :]:
            file.append(line)
        return file.lines[1:]

    def note(event: Any) -> None:
        distributed.decide_on_main(lambda: files[0].append(write_event(event)))

    return replace(job, known=distributed.decide_on_main(read)), note
