"""Work on many videos, in this process or in several, and the journal by which a killed command goes on."""

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
_AHEAD = 4  # tasks a worker has waiting; results may be megabytes, and are not to pile up


def each(
    work: Callable[[Task], Result], tasks: Sequence[Task], *, workers: int, title: str, done: int = 0
) -> Iterator[tuple[Task, Result]]:
    """Do some work on every task, and give each result as it comes.

    Args:
        work: A function of a module; it is imported by the processes.
        tasks: What to do; they can be pickled.
        workers: Processes; with 1 the work is done in this one.
        title: Title of the progress bar.
        done: Tasks that were done before.

    Raises:
        PrepareError: `workers` is no number of processes.
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
    """What is done already, a line of key and value each; a truncated last one is dropped, that work is done again."""

    def __init__(self, path: Path, *, header: Mapping[str, Any]) -> None:
        """Open a journal, or begin it.

        Args:
            path: Of the file; its folder is made.
            header: What the work is done with; a journal of other work is refused.

        Raises:
            LineFileError: It is of other work, damaged, or the disk refused.
        """
        anew = "move it away to do all anew, or take another folder"
        self._file, lines = open_identified(path, header, work="command", anew=anew, sync_seconds=5.0)
        self._values = {line["key"]: line["value"] for line in lines}

    def __contains__(self, key: str) -> bool:
        """Return whether something is done."""
        return key in self._values

    def __getitem__(self, key: str) -> Any:
        """Return the value that was noted."""
        return self._values[key]

    def put(self, key: str, value: Any) -> None:
        """Note that something is done.

        Raises:
            LineFileError: The disk is full.
        """
        self._file.append({"key": key, "value": value})
        self._values[key] = value
