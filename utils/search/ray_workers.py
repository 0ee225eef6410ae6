"""Workers on a cluster: each job of a search is a Ray task, which Ray places on a GPU, or on cores, of some node.

All nodes must see the same folders under the same paths, and have this code and its requirements installed. A worker is
one process; if it is killed, Ray restarts it, on another node if necessary, and it continues its job from the last
checkpoint.
"""

import os
import signal
import sys
from pathlib import Path
from typing import Any

from utils import distributed, stopping
from utils.errors import UserError
from utils.lock import join_folder
from utils.logs import open_log
from utils.search.jobs import Job, Work, open_job
from utils.shortage import describe_shortage
from utils.workers import WorkerError

MAX_RETRIES = 2  # restarts of a job whose worker was killed
_POLL_SECONDS = 1.0  # between checks of the workers
_EXIT_SECONDS = 60.0  # that workers may take to save
ROOT = Path(__file__).resolve().parents[2]


class RayError(UserError):
    """Ray is not installed."""


class RayWorkers:
    """An `Executor` that runs jobs as Ray tasks."""

    def __init__(self, work: Work, *, workers: int) -> None:
        """Join the cluster that RAY_ADDRESS names or that this node is part of, or start one on this node alone.

        Raises:
            RayError: Ray is not installed.
        """
        self.workers, self._work, self._ray = workers, work, _import_ray()
        self._tasks: dict[str, Any] = {}
        ray = self._ray
        variables = {"PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]), "DEVICE": os.environ.get("DEVICE", "")}
        ray.init(log_to_driver=False, include_dashboard=False, runtime_env={"env_vars": variables})
        owned = ray.cluster_resources()
        gpus = 1 if owned.get("GPU", 0) >= 1 and os.environ.get("DEVICE") != "cpu" else 0
        cores = max(1, int(owned.get("CPU", 1) // workers)) if not gpus else 1
        self._train = ray.remote(_train).options(num_cpus=cores, num_gpus=gpus, max_retries=MAX_RETRIES)

    @property
    def running(self) -> set[str]:
        """Names of the jobs that are running or waiting for resources."""
        return set(self._tasks)

    def submit(self, job: Job) -> None:
        """Submit a job to the cluster."""
        self._tasks[job.name] = self._train.remote(self._work, job, str(Path.cwd()))

    def cancel(self, name: str) -> None:
        """Kill the worker of a job."""
        self._ray.cancel(self._tasks.pop(name), force=True)

    def wait(self) -> None:
        """Return when a worker has ended, or after a second.

        Raises:
            Stopped: This process was asked to stop.
            UserError: A worker raised it, or the workers of a job were killed repeatedly.
        """
        ended, _ = self._ray.wait(list(self._tasks.values()), timeout=_POLL_SECONDS)
        if stopping.requested():
            raise stopping.stopped("the progress of the workers is saved")
        for name in [name for name, task in self._tasks.items() if task in ended]:
            errors = self._ray.exceptions
            try:
                error = self._ray.get(self._tasks.pop(name))
            except (errors.WorkerCrashedError, errors.OutOfMemoryError, errors.NodeDiedError):
                raise WorkerError(
                    f"a worker was killed {MAX_RETRIES + 1} times at {name} (out of memory?); the same command goes on"
                ) from None
            if error is not None:
                raise error

    def close(self) -> None:
        """Stop all workers, which save first, and leave the cluster."""
        for task in self._tasks.values():
            self._ray.cancel(task)
        if self._tasks:
            self._ray.wait(list(self._tasks.values()), num_returns=len(self._tasks), timeout=_EXIT_SECONDS)
        self._ray.shutdown()


def _import_ray() -> Any:
    try:
        import ray  # an optional requirement; its import takes a second
    except ImportError as error:
        advice = "pip install 'ray>=2.40', or set search.executor: local"
        raise RayError(f"search.executor ray: {error}; {advice}") from None
    return ray


def _train(work: Work, job: Job, folder: str) -> UserError | None:
    """Train a job in a Ray worker process; return its UserError, if any."""
    os.chdir(folder)
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    stopping.listen()  # Ray requests a stop with SIGINT
    try:
        with join_folder(work.config.run_dir), distributed.session() as device:
            parts = work.make_parts(work.config, device)
            log = open_log(work.config.run_dir, "search worker")
            job, note = open_job(work, parts, job)
            work.run_job(work.config, parts, job, note, log)
    except UserError as error:
        return error
    except (MemoryError, OSError, RuntimeError) as error:
        if not (problem := describe_shortage(error)):
            raise
        return WorkerError(problem)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return None
