"""Processes that share out the same work: how many, how they start, and how they end. No torch."""

import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager

from utils import stopping
from utils.errors import UserError


class WorkerError(UserError):
    """A process of a pool that was ended from outside."""


def usable_cores() -> int:
    """Return how many processors this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cpu_threads(processes: int, cores: int) -> int:
    """Return the threads of one process on a CPU: its part of the cores, less one for its loader.

    OpenMP threads wait for each other by spinning: one thread more than there are free cores costs many times its gain.
    """
    return max(1, cores // processes - 1)


@contextmanager
def process_pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    """Give processes that have one thread each, as they share the cores, and end with this one.

    Spawned, not forked: the caller may have threads or a GPU context that do not survive a fork. All of them start
    here, while signals are held back: one that came before a process is set up would end it with a traceback.

    Raises:
        WorkerError: One of them was killed.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_init_process) as pool:
        with stopping.block_signals():
            for _ in range(workers):  # each starts one, as long as none of them, which take longer, has done its own
                pool.submit(int)
        try:
            yield pool
        except BrokenProcessPool:
            stopping.kill_pools()  # the pool asks the others by a SIGTERM, which they do not heed, and waits for them
            raise WorkerError(
                "a process was killed (out of memory?); the same command goes on, with fewer --workers if need be"
            ) from None
        finally:
            pool.shutdown(cancel_futures=True)


def _init_process() -> None:
    stopping.init_worker()
    import cv2  # 0.1 s that whoever asks for the cores alone, such as the launcher, is spared

    os.environ["OMP_NUM_THREADS"] = "1"  # torch, where it is needed, is imported after this
    cv2.setNumThreads(0)
