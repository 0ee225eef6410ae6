"""train_3d_op.py killed at random moments, on a full disk, without its checkpoint, and with two processes."""

import functools
import logging
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from tests import forked
from tests.conftest import write_record
from tests.killed_search import search_through_kills
from tests.scripts.searches import decisions, read_result, run, weights_of, write_search
from tests.scripts.searches import make_search as make_search
from tests.scripts.test_train import assert_equal
from utils.config import RunConfig, load_config
from utils.files import FileError
from utils.logs import _FileHandler
from utils.training.checkpoint import CheckpointError

SMALL = {"graph": ["initial -> (0,0)", "(0,0) -> (1,1)", "(0,0) -> (0,1)", "(0,1) -> (1,1)"]}


@pytest.fixture(scope="module")
def undisturbed(tiny_set: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[RunConfig, dict[str, Any]]:
    """Return a search that ran without interruption."""
    make = functools.partial(write_record, tiny_set, tmp_path_factory.mktemp("undisturbed"))
    return run(write_search(make, "first", search=SMALL))


def test_killed_at_any_moment_it_continues_to_the_same_plan_and_weights(
    undisturbed: tuple[RunConfig, dict[str, Any]], make_search: Any
) -> None:
    whole, expected = undisturbed
    record = make_search("second", search=SMALL)
    kills = search_through_kills(record, 16, 30)
    assert kills >= 5, "too few kills to mean anything"
    config = load_config(record)
    result = read_result(config)
    assert decisions(result) == decisions(expected)
    assert result["path"] == expected["path"]
    assert result["test"] == expected["test"]
    assert_equal(weights_of(config), weights_of(whole))
    ours, theirs = ((c.run_dir / f"{c.name}-path.yml").read_text() for c in (config, whole))
    folders = (config.logging.output_dir, whole.logging.output_dir)
    assert ours.replace(*folders).replace("second", "first") == theirs


def test_a_missing_checkpoint_is_reported(make_search: Any) -> None:
    record = make_search(search={"graph": ["initial -> (1,1)"], "max_epochs": 3, "attempt_epochs": 3})
    program = (
        "import os, signal, sys\n"
        "import utils.search.progress as s\n"
        "s.describe_epoch = lambda *a, **k: os.kill(os.getpid(), signal.SIGKILL)\n"
        "import helpers\nfrom utils.config import load_config\nfrom utils.search.run import search_path\n"
        "search_path(load_config(sys.argv[1]), helpers.make_search_parts, force=False)\n"
    )
    done = forked.run([sys.executable, "-c", program, record])
    assert done.returncode == -signal.SIGKILL
    config = load_config(record)
    (found,) = config.run_dir.glob("search/*/current.pth")
    found.unlink()
    with pytest.raises(CheckpointError, match=r"current\.pth: missing, or older than the journal.*--force"):
        run(record)


def test_a_full_disk_stops_it_and_it_continues(undisturbed: tuple[RunConfig, dict[str, Any]], make_search: Any) -> None:
    whole, expected = undisturbed
    record = make_search("full", search=SMALL)
    size = whole.weights_path.stat().st_size
    program = (
        "import resource, runpy, signal, sys\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({size + 20_000}, resource.RLIM_INFINITY))\n"  # weights fit
        "runpy.run_path('train_3d_op.py', run_name='__main__')"
    )
    done = forked.run([sys.executable, "-c", program, "--config_file", record])
    assert done.returncode == 2
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert "cannot be written" in errors[0]
    assert "Traceback" not in done.stderr
    config, result = run(record)
    assert decisions(result) == decisions(expected)
    assert_equal(weights_of(config), weights_of(whole))


def test_a_log_that_cannot_be_written_is_an_error() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    log = _FileHandler(Path("/dev/full"))
    with pytest.raises(FileError, match="no space left"):
        log.emit(logging.LogRecord("name", logging.INFO, "", 0, "text", None, None))


def test_two_gloo_processes_search_together(make_search: Any) -> None:
    record = make_search(
        optimizer={"num_gpu": 2, "warmup_epoch": -1},
        sampler={"clip_length": 8, "num_steps": 1, "batch_size": 2, "eva_num_clips": 2},
        search={"graph": ["initial -> (0,0)", "(0,0) -> (1,1)"]},
    )
    done = forked.run([sys.executable, "-m", "tests.stopped_ranks", record, "2", "train"], check=True)
    assert done.stdout.endswith("[0, 0]\n"), done.stderr[-3000:]
    config = load_config(record)
    result = read_result(config)
    assert result["complete"]
    assert [len(edge["scores"]) for edge in result["edges"]] == [edge["epochs_trained"] + 1 for edge in result["edges"]]
    for edge in result["edges"]:  # no padding: 12 videos on two processes
        assert edge["scored_clips"] == 12 * (edge["epochs_trained"] + (edge["start"] != "initial"))
    assert load_config(config.run_dir / "tiny-path.yml").states
