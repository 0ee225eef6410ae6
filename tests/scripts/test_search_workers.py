"""train_3d_op.py with search.workers: the same plan, journal and weights as with one, despite kills and stops."""

import contextlib
import errno
import functools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests import forked
from tests.conftest import ROOT, write_record
from tests.scripts.searches import command, decisions, read_result, run, weights_of, write_search
from tests.scripts.searches import make_search as make_search
from tests.scripts.test_train import assert_equal
from utils.config import RunConfig, load_config
from utils.search.jobs import Job, Work
from utils.search.ray_workers import RayError, _train

# One transition, for which one worker is started, then three that can be trained at the same time.
SPACE: dict[str, Any] = {
    "inputs": [{"clip_length": 4}, {"clip_length": 8, "batch_size": 2, "iter_size": 2}],
    "graph": ["initial -> (0,0)", "(0,0) -> (1,0)", "(0,0) -> (0,1)", "(0,0) -> (1,1)"],
}
CLOCKS = ("crc32", "seconds", "scoring_seconds", "clips_per_second", "data_wait_share")


def journal_of(config: RunConfig) -> list[dict[str, Any]]:
    """Return the lines of a journal without the fields that depend on the clock."""
    lines = map(json.loads, (config.run_dir / "search/journal.jsonl").read_text().splitlines())
    return [{key: value for key, value in line.items() if key not in CLOCKS} for line in lines]


@pytest.fixture(scope="module")
def alone(tiny_set: Path, tmp_path_factory: pytest.TempPathFactory) -> RunConfig:
    """Return a search with one worker."""
    make = functools.partial(write_record, tiny_set, tmp_path_factory.mktemp("alone"))
    return run(write_search(make, search=SPACE))[0]


def wait_for(found: Callable[[], Any]) -> Any:
    """Poll a function until its result is true, and return it."""
    end = time.monotonic() + 120
    while not (result := found()):
        assert time.monotonic() < end
        time.sleep(0.02)
    return result


def workers_of(pid: int) -> list[int]:
    """Return the process ids of the workers of a process."""
    own = []
    for path in Path("/proc").glob("[0-9]*/status"):
        with contextlib.suppress(OSError):  # it has ended
            if f"\nPPid:\t{pid}\n" in path.read_text() and b"spawn_main" in (path.parent / "cmdline").read_bytes():
                own.append(int(path.parent.name))
    return own


def test_two_workers_give_the_results_of_one_despite_kills_and_stops(alone: RunConfig, make_search: Any) -> None:
    record = make_search(search=SPACE | {"workers": 2})
    config = load_config(record)
    folder = config.run_dir / "search"
    search = forked.Process(command(record))
    wait_for(lambda: list(folder.glob("*/current.pth")))
    (killed,) = workers_of(search.pid)  # processes start with their first job
    os.kill(killed, signal.SIGKILL)
    wait_for(lambda: {*workers_of(search.pid)} - {killed})  # it was restarted
    search.send_signal(signal.SIGTERM)
    stopped = search.complete()
    assert (stopped.returncode, stopped.stderr.splitlines()[-1]) == (
        143,
        "stopped by SIGTERM, the progress of the workers is saved: the same command continues",
    )
    assert "was ended by SIGKILL: it continues" in stopped.stdout
    search = forked.Process(command(record))
    wait_for(lambda: workers_of(search.pid))
    wait_for(lambda: (config.run_dir / ".workers.lock").exists())
    search.kill()
    search.complete()
    _, result = run(record)  # it waits for the workers of the killed search
    assert journal_of(config)[1:] == journal_of(alone)[1:]
    assert decisions(result) == decisions(read_result(alone))
    assert_equal(weights_of(config), weights_of(alone))
    left = {path.name for path in folder.rglob("*")}
    assert left == {path.name for path in (alone.run_dir / "search").rglob("*")}


def kill_one_of_ray() -> bool:
    """Kill a Ray worker, if one is training; return whether one was."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it has ended
            if path.read_bytes().startswith(b"ray::_train"):
                os.kill(int(path.parent.name), signal.SIGKILL)
                return True
    return False


def test_a_cluster_gives_the_results_of_one_worker(alone: RunConfig, make_search: Any) -> None:
    """The cluster is local, and one of its workers is killed."""
    pytest.importorskip("ray", reason="Ray is optional: pip install 'ray>=2.40'")
    record = make_search(search=SPACE | {"workers": 2, "executor": "ray"})
    config = load_config(record)
    trained = lambda: list(config.run_dir.glob("search/*/current.pth"))  # noqa: E731
    home, pipe = {**os.environ, "HOME": str(record.parent)}, subprocess.PIPE  # Ray stores a token there
    with subprocess.Popen(command(record), cwd=ROOT, env=home, stdout=pipe, stderr=pipe, text=True) as search:
        wait_for(lambda: (trained() and kill_one_of_ray()) or search.poll() is not None)
        is_running, (_, errors) = search.poll() is None, search.communicate()
        assert is_running, errors[-3000:]
    assert search.returncode == 0, errors[-3000:]
    assert journal_of(config)[1:] == journal_of(alone)[1:]
    assert_equal(weights_of(config), weights_of(alone))


def test_a_full_disk_of_a_cluster_node_is_reported_to_the_search(make_search: Any) -> None:
    def lack(_config: RunConfig, _device: torch.device) -> Any:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/data/x")

    config = load_config(make_search(search=SPACE))
    config.run_dir.mkdir(parents=True)
    unused: Any = None
    work = Work(config, lack, unused, unused)
    with contextlib.chdir(ROOT):
        error = _train(work, Job("first", None), str(ROOT))
    assert str(error).startswith("/data/x: No space left on device; use another folder")


def test_a_cluster_needs_ray(make_search: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(RayError, match=r"search.executor ray: .*; pip install"):
        run(make_search(search=SPACE | {"executor": "ray"}))
