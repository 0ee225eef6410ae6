"""What of a search can be trained at the same time: jobs, who performs them, and what they have shown until their turn.

Events enter the journal in the order in which one worker would see them, job after job. What a job shows while another
one is due is kept in a file of its own, so that neither the plan nor the journal says who was first, and a kill costs a
job no more than what it has trained since its last checkpoint.
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

AHEAD_FOLDER = "ahead"  # of the files of jobs
ANEW = "use --force (FORCE=1 with run.sh) to move the search aside and start anew"

Note = Callable[[Any], None]  # takes an event; the disk has it when it returns


@dataclass(frozen=True)
class Job:
    """Something to train whose result hangs on nothing that is not in it.

    Attributes:
        name: Of its file.
        task: What is trained, as those who perform it know it.
        known: Its events that the journal has, as lines are read.
    """

    name: str
    task: Any
    known: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True)
class Work:
    """What jobs are made of; it travels to other processes.

    Attributes:
        config: The search record.
        make_parts: Returns what the search is made of, on a device; a function of a module.
        perform: Trains what of a job its known events do not say, given the record, the parts, the job, what takes its
            events, and the log; a function of a module.
        identify: Returns what is searched; a function of a module.
    """

    config: RunConfig
    make_parts: Callable[[RunConfig, torch.device], Any]
    perform: Callable[..., None]
    identify: Callable[[RunConfig, Any], dict[str, Any]]


class Executor(Protocol):
    """Who performs jobs, so many at the same time."""

    workers: int

    @property
    def running(self) -> Collection[str]:
        """Names of the jobs that are being performed."""

    def submit(self, job: Job) -> None:
        """Begin a job; there are fewer than `workers` running."""

    def cancel(self, name: str) -> None:
        """Give a running job up."""

    def wait(self) -> None:
        """Return when something has happened, or after a second."""


class InProcessExecutor:
    """This process, and those it trains together with: one job after the other."""

    workers = 1

    def __init__(self, perform: Callable[[Job], None]) -> None:
        """Take what performs a job and notes its events."""
        self._perform = perform
        self.running: set[str] = set()

    def submit(self, job: Job) -> None:
        """Perform a job."""
        self._perform(job)
        self.running.add(job.name)

    def cancel(self, name: str) -> None:
        """Never: a job has ended when `submit` returns."""
        raise AssertionError(name)

    def wait(self) -> None:
        """Let the next job begin."""
        self.running.clear()


class Dispatcher:
    """Gives jobs out, and hands on what they have shown."""

    def __init__(self, folder: Path, executor: Executor) -> None:
        """Take the folder of a search, and who performs its jobs."""
        self._folder, self._executor = folder, executor
        self.workers, self.wait = executor.workers, executor.wait

    def start(self, jobs: Sequence[Job]) -> None:
        """Begin the first jobs that there are workers for, and give up those that are none of these."""
        wanted = {job.name for job in jobs}
        for name in [name for name in self._executor.running if name not in wanted]:
            self._executor.cancel(name)
        for job in jobs:
            if job.name not in self._executor.running and len(self._executor.running) < self.workers:
                self._executor.submit(job)

    def run(self, job: Job) -> None:
        """Have one job performed to its end."""
        self.start([job])
        while self.is_running(job.name):
            self.wait()

    def is_running(self, name: str) -> bool:
        """Return whether a job is being performed."""
        return name in self._executor.running

    def read_events(self, name: str) -> list[dict[str, Any]]:
        """Return the events in the file of a job as lines, none where it has no file: they were noted at once."""
        return distributed.decide_on_main(lambda: read_lines(job_file(self._folder, name), anew=ANEW)[1:])

    def forget(self, name: str) -> None:
        """Remove the file of a job, and the folder of these files with the last one."""
        if distributed.is_main():
            file = job_file(self._folder, name)
            file.unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # others are left, or there was none
                file.parent.rmdir()

    def forget_all(self) -> None:
        """Remove what is left of jobs that were begun and not needed."""
        for file in sorted((self._folder / AHEAD_FOLDER).glob("*.jsonl")) if distributed.is_main() else ():
            self.forget(file.stem)


def job_file(folder: Path, name: str) -> Path:
    """Return the file of a job of a search in a folder."""
    return folder / AHEAD_FOLDER / f"{name}.jsonl"


def open_job(work: Work, parts: Any, job: Job) -> tuple[Job, Note]:
    """Open the file of a job; return the job with all its events so far, and what notes one more.

    Raises:
        LineFileError: The file is of another search, it is damaged, or the disk refused.
    """
    identity = {"job": job.name, **work.identify(work.config, parts)}
    files: list[LineFile] = []

    def read() -> list[dict[str, Any]]:
        path = job_file(work.config.run_dir / SEARCH_FOLDER, job.name)
        file, lines = open_identified(path, identity, work="search", anew=ANEW)
        files.append(file)
        for line in job.known[len(lines) :]:
            file.append(line)
        return file.lines[1:]

    def note(event: Any) -> None:
        distributed.decide_on_main(lambda: files[0].append(write_event(event)))

    return replace(job, known=distributed.decide_on_main(read)), note
