"""Stopped by SIGTERM or Ctrl-C, or left alone by a launcher that was killed: real signals to real processes."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

import helpers
from dataset.prediction.request import Outputs, make_request
from model.build import make_initial_network
from tests import forked
from tests.conftest import ROOT, MakeRecord
from utils import stopping
from utils.config import RunConfig, load_config
from utils.stopping import Stopped
from utils.training.checkpoint import load_checkpoint

PATIENCE = 100.0  # seconds; nothing here takes a tenth of it on a machine that is not busy
# Stops as soon as it may, says so, and looks like a script that is waiting for its step until then.
SCRIPT = """
import os, time
from utils import stopping
from utils.cli import run_script
def main():
    with stopping.deferred():
        os.write(1, b"begun\\n")  # in one piece: two ranks write to one pipe
        while not stopping.requested():
            time.sleep(0.01)
        time.sleep(0.5)
        os.write(1, b"saved\\n")
run_script(main)
"""


@pytest.fixture
def listening() -> None:
    """Let this process listen for signals as a script does."""
    stopping.listen()


@contextmanager
def started(*words: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """Start a command in a session of its own; its processes are killed at the end."""
    process = subprocess.Popen(
        words,
        cwd=ROOT,
        env={**os.environ, "PYTHON": sys.executable, "PYTHONUNBUFFERED": "1", "PYTHONPATH": str(ROOT), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def wait_for(claim: Callable[[], object]) -> None:
    """Wait until a claim holds."""
    deadline = time.monotonic() + PATIENCE
    while not claim():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.01)


def found(*options: str) -> list[int]:
    """Processes that pgrep finds."""
    done = subprocess.run(["pgrep", *options], capture_output=True, text=True, check=False)
    return [int(pid) for pid in done.stdout.split()]


def end(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Wait for a process; return its exit code, what it printed, and its last line on stderr."""
    output, said = process.communicate(timeout=PATIENCE)
    assert "Traceback" not in said
    return process.returncode, output, said.splitlines()[-1] if said else ""


def send_when(claim: Callable[[], object], number: int) -> None:
    """Send this process a signal when a claim holds."""

    def watch() -> None:
        wait_for(claim)
        os.kill(os.getpid(), number)

    threading.Thread(target=watch, daemon=True).start()


def is_written_again(path: Path) -> Callable[[], bool]:
    """Return what says whether a file has been written since now."""
    before = path.stat().st_mtime_ns if path.exists() else 0
    return lambda: path.exists() and path.stat().st_mtime_ns != before


def weights(config: RunConfig) -> dict[str, torch.Tensor]:
    return load_checkpoint(config.weights_path)[0]["network"]


def differing(mine: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> list[str]:
    return [name for name in mine if not torch.equal(mine[name], theirs[name])]


@pytest.mark.usefixtures("listening")
def test_a_stopped_training_continues_to_the_weights_of_one_that_never_stopped(make_record: MakeRecord) -> None:
    sections = {"optimizer": {"ema": 0.9}, "dataset": {"num_workers": 1}, "logging": {"save_steps": 2}}
    whole, config = (load_config(make_record(name, **sections)) for name in ("whole", "stopped"))
    helpers.train(whole, force=False)
    positions = []
    for number in (signal.SIGTERM, signal.SIGINT):
        stopping.listen()
        send_when(is_written_again(config.weights_path), number)
        with pytest.raises(Stopped, match="saved after step") as stopped:
            helpers.train(config, force=False)
        assert stopped.value.exit_code == 128 + number
        positions.append(load_checkpoint(config.weights_path)[1])
    places = [(position.epoch, position.step) for position in positions]
    assert (0, 0) < places[0] < places[1] < (2, 0)
    stopping.listen()
    helpers.train(config, force=False)
    assert differing(weights(whole), weights(config)) == []


def test_ranks_stop_at_the_same_step_and_continue_to_the_same_weights(make_record: MakeRecord) -> None:
    sections = {
        "optimizer": {"num_gpu": 2, "epochs": 1},
        "sampler": {"batch_size": 2},
        "network": {"dropout_ratio": 0.0},
        "logging": {"save_steps": 2},
    }
    whole, stopped, fewer = (make_record(name, **sections) for name in ("whole", "stopped", "fewer"))

    runs = [(whole, "2", "train"), (stopped, "2", "stop"), (fewer, "2", "stop")]
    # The last one trains the rest with one process.
    runs += [(stopped, "2", "train"), (fewer, "1", "train")]
    done = forked.run([sys.executable, "-m", "tests.stopped_ranks", *(word for run in runs for word in run)])
    codes, said = [line for line in done.stdout.splitlines() if line.startswith("[")], done.stderr
    assert codes == ["[0, 0]", "[143, 143]", "[143, 143]", "[0, 0]", "[0]"]
    stop = r"^stopped by SIGTERM, saved after step \d of epoch 1: the same command continues$"
    assert len(re.findall(stop, said, re.MULTILINE)) == 2
    assert "Traceback" not in said
    expected = weights(load_config(whole))
    assert differing(expected, weights(load_config(stopped))) == []
    # With one process: the same steps on the same clips; sums in another order, its own running statistics.
    for name, value in weights(load_config(fewer)).items():
        if "running" not in name and value.is_floating_point():
            torch.testing.assert_close(value, expected[name], rtol=1e-3, atol=1e-5, msg=name)


def test_a_launcher_passes_stops_on_and_leaves_nobody_behind(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    words = (sys.executable, "-m", "utils.launch", str(script))
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGKILL):
        with started(*words, NPROC="2") as process:
            assert process.stdout is not None
            assert [process.stdout.readline() for _ in range(2)] == ["begun\n"] * 2
            # As a batch system does: every process of the job; a terminal asks the launcher alone.
            for pid in found("-f", str(script)) if number == signal.SIGTERM else [process.pid]:
                os.kill(pid, number)
            if number == signal.SIGKILL:
                wait_for(lambda: not found("-f", str(script)))
            code, output, said = end(process)
        assert output == "saved\n" * 2
        if number == signal.SIGKILL:
            assert code == -signal.SIGKILL
            assert said == "stopped by SIGTERM: the same command continues"
        else:
            assert code == 128 + number
            assert said == f"stopped by {number.name}: the same command continues"


def test_a_second_ctrl_c_ends_at_once(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.replace("sleep(0.5)", "sleep(1000)"))
    with started(sys.executable, str(script)) as process:
        assert process.stdout is not None
        process.stdout.readline()
        for number in (signal.SIGINT, signal.SIGINT, signal.SIGTERM):  # one Ctrl-C, by way of a terminal and a launcher
            process.send_signal(number)
        time.sleep(1.2)
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert end(process)[0] == 130


def test_run_sh_passes_a_stop_on_and_waits(make_record: MakeRecord) -> None:
    record = make_record(optimizer={"epochs": 500}, dataset={"num_workers": 1})
    log = load_config(record).run_dir / "log.txt"
    with started("bash", "run.sh", str(record)) as process:
        wait_for(lambda: log.exists() and "state 1" in log.read_text())
        process.terminate()
        code, output, said = end(process)
    assert code == 143
    assert "extracting" not in output
    assert re.search(r"stopped by SIGTERM(, saved .*)?: the same command continues$", said)
    assert found("-f", str(record)) == []


@pytest.mark.usefixtures("listening")
def test_a_stopped_extraction_keeps_what_it_has_scored(
    make_record: MakeRecord, capsys: pytest.CaptureFixture[str]
) -> None:
    config = load_config(make_record(optimizer={"epochs": 1}, sampler={"eva_num_clips": 20}))
    helpers.train(config, force=False)
    log = config.run_dir / "log.txt"
    send_when(lambda: "to score" in log.read_text(), signal.SIGINT)

    def extract() -> None:
        helpers.extract(config, crops=(0, 1, 2), force=False, trained_by="", merged_by="")

    with pytest.raises(Stopped) as stopped:
        extract()
    (kept,) = map(int, re.findall(r"^the scores of (\d+) videos are saved$", stopped.value.saved))
    assert 0 < kept < 25
    stopping.listen()
    extract()
    said = capsys.readouterr().out
    assert f"continuing: {kept} of 25 videos have their scores" in said
    assert f"{25 - kept} videos scored in" in said


def test_a_killed_process_of_a_pool_is_named(tmp_path: Path) -> None:
    root = tmp_path / "made"
    words = ("-m", "dataset.synthetic", "--root", str(root), "--workers", "2", "--frames", "100")
    with started(sys.executable, *words) as process:
        wait_for(lambda: any(root.rglob("*.mp4")))
        os.kill(max(found("-P", str(process.pid))), signal.SIGKILL)
        code, _, said = end(process)
    assert (code, said) == (
        2,
        "error: a process was killed (out of memory?); the same command goes on, with fewer --workers if need be",
    )


@pytest.mark.usefixtures("listening")
def test_a_stopped_prediction_keeps_what_is_known(make_record: MakeRecord, tiny_set: Path, tmp_path: Path) -> None:
    config = load_config(make_record(sampler={"eva_num_clips": 20}))
    config.run_dir.mkdir(parents=True)
    torch.save(make_initial_network(config, trained=None).state_dict(), config.weights_path)
    outputs = Outputs(json=tmp_path / "all.json")
    request = make_request(config, [tiny_set / "test"], classes=None, top_k=1, stride=None, outputs=outputs)
    send_when(lambda: (tmp_path / "all.json").exists() and "score" in (tmp_path / "all.json").read_text(), 2)
    with pytest.raises(Stopped) as stopped:
        helpers.predict(config, request)
    known = json.loads((tmp_path / "all.json").read_text())
    assert 0 < len(known) < 25
    assert stopped.value.saved == f"{len(known)} of 25 are done"
    assert stopped.value.advice == "name the others, and other files for their results"


def test_the_processes_of_a_pool_end_with_their_parent(tmp_path: Path) -> None:
    root = tmp_path / "made"
    words = (sys.executable, "-m", "dataset.synthetic", "--root", str(root), "--workers", "2", "--frames", "100")
    for number in (signal.SIGINT, signal.SIGKILL):
        with started(*words) as process:
            group = ("-g", str(process.pid))
            while not any(root.rglob("*.mp4")):
                time.sleep(0.01)
            if number == signal.SIGINT:
                os.killpg(process.pid, number)  # a terminal asks all of them
            process.send_signal(number)
            code, _, said = end(process)
            while found(*group):
                time.sleep(0.01)
        assert (code, said) == (130, "stopped by SIGINT: the same command continues") or number == signal.SIGKILL
