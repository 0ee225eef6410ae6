"""Choose who trains the jobs of a search: this process and its peers, or separate workers."""

import contextlib
import logging
import os
from collections.abc import Iterator
from typing import Any

from utils import stopping
from utils.config import RunConfig
from utils.errors import UserError
from utils.search.jobs import Dispatcher, InProcessExecutor, Note, Work
from utils.search.local_workers import LocalWorkers
from utils.search.ray_workers import RayWorkers
from utils.search.result import SEARCH_FOLDER


class DispatchError(UserError):
    """Processes that cannot be divided among workers."""


def is_coordinator(config: RunConfig) -> bool:
    """Return whether this process runs the search; where there are workers, only rank 0 does, and leaves its group.

    Raises:
        DispatchError: Processes were started on several nodes, but workers run on one.
    """
    if (config.search.workers == 1 and config.search.executor == "local") or "RANK" not in os.environ:
        return True
    if os.environ["WORLD_SIZE"] != os.environ.get("LOCAL_WORLD_SIZE"):
        raise DispatchError(
            f"{config.sources['search.workers']}: search.workers: {config.search.workers} workers are led by one node; "
            "set it to 1, or start on one node (NNODES=1)"
        )
    return os.environ.pop("RANK") == "0"


@contextlib.contextmanager
def open_dispatcher(work: Work, parts: Any, *, workers: int, note: Note, log: logging.Logger) -> Iterator[Dispatcher]:
    """Yield the dispatcher of a search's jobs.

    Args:
        work: What the jobs are made of; sent to workers.
        parts: What this process has made of `work`.
        workers: Number of workers. With one, jobs run in this process and its peers, unless `is_coordinator` has
            removed it from their group or the executor is ray.
        note: Receives the events of jobs that run in this process.
        log: The log of jobs that run in this process.
    """
    config = work.config
    folder = config.run_dir / SEARCH_FOLDER
    leads_workers = config.search.workers > 1 and int(os.environ.get("WORLD_SIZE", "1")) > 1
    on_cluster = config.search.executor == "ray"
    if workers == 1 and not leads_workers and not on_cluster:
        yield Dispatcher(folder, InProcessExecutor(lambda job: work.run_job(config, parts, job, note, log)))
        return
    with stopping.deferred():
        group = RayWorkers(work, workers=workers) if on_cluster else LocalWorkers(work, workers=workers)
        try:
            yield Dispatcher(folder, group)
        finally:
            group.close()
