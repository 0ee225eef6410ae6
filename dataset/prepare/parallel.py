"""Parallel work on many videos, and the journal from which a killed command continues."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from pathlib import Path
from typing import Any, TypeVar

from tqdm import tqdm

from dataset.prepare.annotations import PrepareError
from utils.jsonl import open_identified
from utils.text import printable
from utils.workers import process_pool

Task = TypeVar("Task")
Result = TypeVar("Result")
_AHEAD = 4  # submitted tasks per worker; bounded, as results may be megabytes


def run_parallel(
    work: Callable[[Task], Result], tasks: Sequence[Task], *, workers: int, title: str, done: int = 0
) -> Iterator[tuple[Task, Result]]:
    """Call `work` on every task, in parallel, and yield each task with its result as soon as it is done.

    Args:
        work: A module-level function, importable by the processes.
        tasks: The tasks; must be picklable.
        workers: Number of processes; with 1, the work is done in this process.
        title: Title of the progress bar.
        done: Number of tasks done before, for the progress bar.

    Raises:
        PrepareError: `workers` is less than 1.
        WorkerError: A process was killed.
    """
    if workers < 1:
        raise PrepareError(f"--workers {workers}: must be at least 1")
    with tqdm(total=done + len(tasks), initial=done, desc=printable(title), unit="video") as bar:
        for pair in _results(work, tasks, workers=min(workers, len(tasks))):
            bar.update()
            yield pair


def _results(work: Callable[[Task], Result], tasks: Sequence[Task], *, workers: int) -> Iterator[tuple[Task, Result]]:
    if workers <= 1:
        for task in tasks:
            yield task, work(task)
        return
    with process_pool(workers) as pool:
        running: dict[Future[Result], Task] = {}
        for task in tasks:
            running[pool.submit(work, task)] = task
            if len(running) >= _AHEAD * workers:
                yield from _finished(running)
        while running:
            yield from _finished(running)


def _finished(running: dict[Future[Result], Task]) -> Iterator[tuple[Task, Result]]:
    finished, _ = wait(running, return_when=FIRST_COMPLETED)
    for future in finished:
        yield running.pop(future), future.result()


class Journal:
    """The finished work of a command, one line of key and value each; a truncated last line is dropped and redone."""

    def __init__(self, path: Path, *, header: Mapping[str, Any]) -> None:
        """Open a journal, or create it.

        Args:
            path: Path of the file; its folder is created.
            header: The parameters of the work; a journal with another header is an error.

        Raises:
            LineFileError: The journal has another header or is damaged, or the disk is full.
        """
        remedy = "move it away to do all anew, or take another folder"
        self._file, lines = open_identified(path, header, work="command", remedy=remedy, sync_seconds=5.0)
        self._values = {line["key"]: line["value"] for line in lines}

    def __contains__(self, key: str) -> bool:
        """Return whether a key is recorded."""
        return key in self._values

    def __getitem__(self, key: str) -> Any:
        """Return the value of a key."""
        return self._values[key]

    def put(self, key: str, value: Any) -> None:
        """Record a key and its value.

        Raises:
            LineFileError: The disk is full.
        """
        self._file.append({"key": key, "value": value})
        self._values[key] = value
