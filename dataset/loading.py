"""A loader whose workers' errors arrive as they were raised, and whose dead workers are named with their videos."""

import functools
import multiprocessing.connection
import re
import shutil
import signal
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from dataset.now_reading import Board
from utils import stopping
from utils.errors import UserError

_LITTLE_SHARED_MEMORY = 1 << 26  # bytes left that a batch may well not fit in


class WorkerError(UserError):
    """A loader's worker was ended from outside, or by a fault of the machine."""

    on_every_rank = False


class VideoLoader(DataLoader):
    """A DataLoader that raises a worker's UserError as it is: torch itself would raise one whose text is a traceback.

    The error travels in place of the batch and is raised where the batch would have come. Anything else that goes wrong
    in a worker is a bug, and keeps torch's traceback. A worker that dies is a WorkerError with the video it read.
    """

    def __init__(
        self,
        dataset: Dataset,
        *,
        collate_fn: Callable[[Any], Any],
        worker_init_fn: Callable[[int], None] | None = None,
        num_workers: int = 0,
        **options: Any,
    ) -> None:
        """Make the loader; arguments are those of DataLoader.

        It draws its seeds from a generator of its own: how many it draws depends on the workers, and the global
        generator is the training's.
        """
        self._board = Board(num_workers)
        super().__init__(
            _Guarded(dataset),
            collate_fn=functools.partial(_collate, collate_fn),
            worker_init_fn=functools.partial(_begin_worker, self._board, worker_init_fn),
            generator=torch.Generator(),
            num_workers=num_workers,
            **options,
        )

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]  # torch names its own iterator class
        """Give the batches of an epoch.

        Raises:
            WorkerError: A worker has died. Torch's handler of SIGCHLD may raise it anywhere in the main thread.
        """
        with stopping.block_signals():  # until the workers it starts leave signals to this process
            batches = super().__iter__()
        processes: Sequence[BaseProcess] = getattr(batches, "_workers", ())
        _queues[batches] = getattr(batches, "_index_queues", ())
        workers = {process.pid or 0: (process, self._board, row) for row, process in enumerate(processes)}
        _workers.update(workers)
        _listen()
        try:
            for batch in batches:
                if isinstance(batch, _Failure):
                    raise batch.error
                yield batch
        except RuntimeError as error:
            _require_no_dead(error)
            raise
        except (ConnectionError, EOFError):  # one died while a batch was on its way, before torch looked
            ending = multiprocessing.connection.wait([process.sentinel for process in processes], 1)
            _explain([worker for worker in workers.values() if worker[0].sentinel in ending])
            raise
        finally:
            # Now, not when the iterator goes: an error's frames may keep it until the garbage collector closes its
            # queues before it, and it would wait 5 s for each worker.
            try:
                if not self.persistent_workers:
                    getattr(batches, "_shutdown_workers", lambda: None)()
            finally:  # torch's handler may raise there, too
                for pid in workers:
                    _workers.pop(pid, None)


# Of iterators, held until these go: the garbage collector closes the queues of a cycle before an iterator in it tells
# its workers to end, for each of which it would then wait 10 s.
_queues: weakref.WeakKeyDictionary[Any, Sequence[Any]] = weakref.WeakKeyDictionary()
# The workers of loaders that are being run through, by process id, each with its row of a board.
_workers: dict[int, tuple[BaseProcess, Board, int]] = {}


def _listen() -> None:
    """Have the errors of torch's handler of SIGCHLD explained; signals can be handled in the main thread only."""
    handler = signal.getsignal(signal.SIGCHLD)
    is_ours = isinstance(handler, functools.partial) and handler.func is _handle
    if _workers and callable(handler) and not is_ours and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGCHLD, functools.partial(_handle, handler))


def _handle(handler: Callable[[int, FrameType | None], Any], signum: int, frame: FrameType | None) -> None:
    try:
        handler(signum, frame)
    except RuntimeError as error:
        _require_no_dead(error)
        raise


def _require_no_dead(error: RuntimeError) -> None:
    """Raise a WorkerError in place of torch's error about dead workers."""
    match = re.search(r"DataLoader worker \(pid(?:\(s\))? ([\d, ]+)\)", str(error))
    _explain([_workers[pid] for pid in map(int, re.findall(r"\d+", match[1])) if pid in _workers] if match else [])


def _explain(dead: Sequence[tuple[BaseProcess, Board, int]]) -> None:
    """Raise a WorkerError about the first of workers that have died, if any."""
    if not dead or stopping.requested():  # whose workers end with it
        return
    process, board, row = dead[0]
    process.join(1)  # its exit code is known in a moment
    video = board.video_of(row)
    last = f"the video it read last is {video}" if video else "it had read no video yet"
    raise WorkerError(f"a worker of the loader {_describe_end(process.exitcode)}; {last}") from None


def _describe_end(exit_code: int | None) -> str:
    """Return how a worker ended, and what that usually means."""
    if exit_code is None or exit_code >= 0:
        return f"exited with code {exit_code}"
    name = signal.Signals(-exit_code).name
    if -exit_code == signal.SIGKILL:
        cause = "which a machine short of memory does: lower dataset.num_workers or sampler.batch_size"
    elif -exit_code != signal.SIGBUS:
        cause = "a fault of a decoder or of the machine"
    elif _shared_memory_left() < _LITTLE_SHARED_MEMORY:
        cause = (
            "as shared memory is full: make /dev/shm larger (docker run --shm-size=16g), or lower dataset.num_workers"
        )
    else:
        cause = "as a file is shorter than it says, or its disk fails: python -m dataset.prepare check finds it"
    return f"was ended by {name}, {cause}"


def _shared_memory_left() -> int:
    """Return the free bytes of shared memory; without limit where the system has no such place."""
    place = Path("/dev/shm")
    return shutil.disk_usage(place).free if place.is_dir() else 1 << 62


def _begin_worker(board: Board, inside: Callable[[int], None] | None, worker: int) -> None:
    """Set up a worker: its row of the board, and what the user of the loader wants."""
    board.take_row(worker)
    if inside is not None:
        inside(worker)


@dataclass(frozen=True, slots=True)
class _Failure:
    """An error on its way to the parent process."""

    error: UserError


class _Guarded(Dataset):
    """A data set that gives a _Failure where the one inside raises a UserError."""

    def __init__(self, inside: Any) -> None:
        self._inside = inside

    def __len__(self) -> int:
        return len(self._inside)

    def __getitem__(self, key: Any) -> Any:
        try:
            return self._inside[key]
        except UserError as error:
            return _Failure(error)


def _collate(inside: Callable[[Any], Any], fetched: Any) -> Any:
    """Put samples together, or pass on the first _Failure among them."""
    samples = fetched if isinstance(fetched, list) else [fetched]
    failure = next((sample for sample in samples if isinstance(sample, _Failure)), None)
    return inside(fetched) if failure is None else failure
