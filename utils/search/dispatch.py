"""Who trains the jobs of a search: this process with those it was started with, or workers beside it."""

import contextlib
import logging
import os
from collections.abc import Iterator
from typing import Any

from utils import stopping
from utils.config import RunConfig
from utils.errors import UserError
from utils.search.jobs import Desk, Here, Note, Work
from utils.search.local_workers import LocalWorkers
from utils.search.ray_workers import RayWorkers
from utils.search.result import SEARCH_FOLDER


class CrewError(UserError):
    """Processes that cannot be shared out among workers."""


def leads(config: RunConfig) -> bool:
    """Return whether this process has something to do; where there are workers, one of a node leads them.

    Raises:
        CrewError: The processes of several nodes were started, and workers are of one.
    """
    if (config.search.workers == 1 and config.search.executor == "local") or "RANK" not in os.environ:
        return True
    if os.environ["WORLD_SIZE"] != os.environ.get("LOCAL_WORLD_SIZE"):
        raise CrewError(
            f"{config.sources['search.workers']}: search.workers: {config.search.workers} workers are led by one node; "
            "set it to 1, or start on one node (NNODES=1)"
        )
    return os.environ.pop("RANK") == "0"


@contextlib.contextmanager
def open_desk(work: Work, parts: Any, *, workers: int, note: Note, log: logging.Logger) -> Iterator[Desk]:
    """Give the desk of jobs of a search, for so many workers.

    One is this process with those it was started with, and `note` takes the events of its jobs at once; but where this
    process leads workers, all of them are others.
    """
    config = work.config
    folder = config.run_dir / SEARCH_FOLDER
    is_shared_out = config.search.workers > 1 and int(os.environ.get("WORLD_SIZE", "1")) > 1
    on_cluster = config.search.executor == "ray"
    if workers == 1 and not is_shared_out and not on_cluster:
        yield Desk(folder, Here(lambda job: work.perform(config, parts, job, note, log)))
        return
    with stopping.deferred():
        group = RayWorkers(work, workers=workers) if on_cluster else LocalWorkers(work, workers=workers)
        try:
            yield Desk(folder, group)
        finally:
            group.close()
