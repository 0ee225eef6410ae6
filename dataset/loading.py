"""A DataLoader that re-raises its workers' errors unchanged and reports which video a dead worker was reading."""

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

from dataset.worker_board import WorkerBoard
from utils import stopping
from utils.errors import UserError

_LITTLE_SHARED_MEMORY = 1 << 26  # free bytes below which a batch may not fit


class WorkerError(UserError):
    """A loader's worker process died: killed from outside, or by a hardware or decoder fault."""

    on_every_rank = False


class VideoLoader(DataLoader):
    """A DataLoader that re-raises a worker's UserError unchanged; torch would put a traceback into its message.

    The error is sent in place of the batch and raised where the batch was expected. Any other exception in a worker is
    a bug and keeps torch's traceback. A worker that dies raises a WorkerError that names the video it was reading.
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
        """Create the loader; arguments are those of DataLoader.

        Seeds come from a generator of its own: their number depends on the workers, and the global generator must
        advance alike for any number of workers.
        """
        self._board = WorkerBoard(num_workers)
        super().__init__(
            _CatchErrors(dataset),
            collate_fn=functools.partial(_collate, collate_fn),
            worker_init_fn=functools.partial(_begin_worker, self._board, worker_init_fn),
            generator=torch.Generator(),
            num_workers=num_workers,
            **options,
        )

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]  # torch names its own iterator class
        """Yield the batches of an epoch.

        Raises:
            WorkerError: A worker has died. Torch's SIGCHLD handler may raise it anywhere in the main thread.
        """
        with stopping.block_signals():  # until the new workers ignore stop signals
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
        except (ConnectionError, EOFError):  # a worker died while sending a batch, before torch noticed
            ending = multiprocessing.connection.wait([process.sentinel for process in processes], 1)
            _explain([worker for worker in workers.values() if worker[0].sentinel in ending])
            raise
        finally:
            # Now, not in the iterator's destructor: the frames of an error may keep the iterator alive until the
            # garbage collector closes its queues first, and it would then wait 5 s for each worker.
            try:
                if not self.persistent_workers:
                    getattr(batches, "_shutdown_workers", lambda: None)()
            finally:  # torch's SIGCHLD handler may raise in the shutdown, too
                for pid in workers:
                    _workers.pop(pid, None)


# Index queues, kept alive as long as their iterator: the garbage collector may close the queues of a reference cycle
# before the iterator in it shuts its workers down, and that would then wait 10 s for each worker.
_queues: weakref.WeakKeyDictionary[Any, Sequence[Any]] = weakref.WeakKeyDictionary()
# The workers of all loaders in iteration, by process id, each with its board and row.
_workers: dict[int, tuple[BaseProcess, WorkerBoard, int]] = {}


def _listen() -> None:
    """Wrap torch's SIGCHLD handler to explain its errors; only the main thread may set signal handlers."""
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
    """Raise a WorkerError if torch's error is about dead workers."""
    match = re.search(r"DataLoader worker \(pid(?:\(s\))? ([\d, ]+)\)", str(error))
    _explain([_workers[pid] for pid in map(int, re.findall(r"\d+", match[1])) if pid in _workers] if match else [])


def _explain(dead: Sequence[tuple[BaseProcess, WorkerBoard, int]]) -> None:
    """Raise a WorkerError about the first of the dead workers, if any."""
    if not dead or stopping.requested():  # a stop ends the workers, too
        return
    process, board, row = dead[0]
    process.join(1)  # its exit code is about to be known
    video = board.video_of(row)
    last = f"the video it read last is {video}" if video else "it had read no video yet"
    raise WorkerError(f"a worker of the loader {_describe_end(process.exitcode)}; {last}") from None


def _describe_end(exit_code: int | None) -> str:
    """Return how a worker ended, and the usual cause."""
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
    """Return the free bytes of shared memory; a huge number on systems without /dev/shm."""
    place = Path("/dev/shm")
    return shutil.disk_usage(place).free if place.is_dir() else 1 << 62


def _begin_worker(board: WorkerBoard, worker_init_fn: Callable[[int], None] | None, worker: int) -> None:
    """Set up a worker: take its row of the board, then call the loader's worker_init_fn."""
    board.take_row(worker)
    if worker_init_fn is not None:
        worker_init_fn(worker)


@dataclass(frozen=True, slots=True)
class _Failure:
    """A worker's error, sent to the parent process in place of a sample."""

    error: UserError


class _CatchErrors(Dataset):
    """Wraps a dataset and returns a _Failure where it raises a UserError."""

    def __init__(self, dataset: Any) -> None:
        self._dataset = dataset

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, key: Any) -> Any:
        try:
            return self._dataset[key]
        except UserError as error:
            return _Failure(error)


def _collate(collate_fn: Callable[[Any], Any], fetched: Any) -> Any:
    """Collate the fetched samples, or return the first _Failure among them."""
    samples = fetched if isinstance(fetched, list) else [fetched]
    failure = next((sample for sample in samples if isinstance(sample, _Failure)), None)
    return collate_fn(fetched) if failure is None else failure
