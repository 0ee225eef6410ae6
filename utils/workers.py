"""Pools of worker processes: how many, how they start and how they end. No torch."""

import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager

from utils import stopping
from utils.errors import UserError


class WorkerError(UserError):
    """A worker process was killed from outside."""


def usable_cores() -> int:
    """Return the number of CPU cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cpu_threads(processes: int, cores: int) -> int:
    """Return the number of threads for each process on a CPU: its part of the cores, less one for its loader.

    OpenMP threads wait for each other by spinning, so one thread more than there are free cores costs many times what
    it gains.
    """
    return max(1, cores // processes - 1)


@contextmanager
def process_pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    """Yield a pool of processes with one thread each, which end with this process.

    They are spawned, not forked: the caller may have threads or a GPU context that do not survive a fork. All of them
    start here, while signals are blocked: a signal during its set-up would end a process with a traceback.

    Args:
        workers: Number of processes.

    Raises:
        WorkerError: A process was killed.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_init_process) as pool:
        with stopping.block_signals():
            for _ in range(workers):  # each call starts a process: set-up takes longer than this loop, so none is idle
                pool.submit(int)
        try:
            yield pool
        except BrokenProcessPool:
            stopping.kill_pools()  # the pool would send the others a SIGTERM, which they ignore, and wait for them
            raise WorkerError(
                "a process was killed (out of memory?); the same command goes on, with fewer --workers if need be"
            ) from None
        finally:
            pool.shutdown(cancel_futures=True)


def _init_process() -> None:
    stopping.init_worker()
    import cv2  # takes 0.1 s, which a caller of `usable_cores` alone, such as the launcher, does not need

    os.environ["OMP_NUM_THREADS"] = "1"  # torch, where it is needed, is imported after this
    cv2.setNumThreads(0)
