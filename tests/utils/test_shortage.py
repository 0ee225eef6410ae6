"""A shortage or refusal of the machine ends a script in one line with a remedy; bugs keep their traceback."""

import errno
import os
import re
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.conftest import MakeRecord
from utils import stopping
from utils.cli import run_script
from utils.config import load_config
from utils.shortage import ShortageError, describe_shortage
from utils.training.state import explain_step_errors


def allocate_tensor() -> None:
    torch.empty(1 << 50, dtype=torch.uint8)


def allocate_array() -> None:
    np.empty(1 << 50, dtype=np.uint8)


def make_a_folder_below_a_file() -> None:
    Path(__file__, "output").mkdir(parents=True)


def write_to_a_full_disk() -> None:
    with Path("/dev/full").open("w") as file:
        file.write("x" * 100_000)


def fail_to_share() -> None:  # torch's words when /dev/shm is full
    raise RuntimeError("unable to allocate shared memory(shm) for file </torch_18_24_0>: No space left on device (28)")


def fail_on_a_gpu() -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 80 GiB")


def open_too_many() -> None:
    raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))


@pytest.mark.parametrize(
    ("main", "message"),
    [
        (
            allocate_tensor,
            r"out of memory \(.*can't allocate memory.*\); halve sampler.batch_size and double sampler.it",
        ),
        (allocate_array, r"out of memory \(Unable to allocate 1\..*\); halve sampler.batch_size"),
        (fail_on_a_gpu, r"out of memory \(CUDA out of memory\); halve sampler.batch_size"),
        (fail_to_share, r"shared memory is full \(.*\); make /dev/shm larger .*--shm-size"),
        (make_a_folder_below_a_file, r".*test_shortage.py/output: Not a directory; use another folder"),
        pytest.param(
            write_to_a_full_disk,
            r"No space left on device; use another folder",
            marks=pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has a disk that is always full"),
        ),
        (open_too_many, r".*Too many open files: raise the limit \(ulimit -n 65536\), or lower dataset.num_workers"),
    ],
)
def test_a_shortage_is_one_line_with_a_remedy(
    main: Callable[[], None], message: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")  # each process says its own
    with pytest.raises(SystemExit) as end:
        run_script(main)
    said = capsys.readouterr().err
    assert end.value.code == 2
    assert re.fullmatch(f"error: {message}.*\n", said), said


@pytest.mark.parametrize("bug", [RuntimeError("shapes differ"), OSError("no errno"), ChildProcessError(10, "none")])
def test_a_bug_keeps_its_traceback(bug: Exception) -> None:
    assert describe_shortage(bug) == ""

    def main() -> None:
        raise bug

    with pytest.raises(type(bug)):
        run_script(main)


def test_a_lost_peer_is_silent_because_the_failed_process_reports(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def main() -> None:
        raise RuntimeError("[../gloo/transport/tcp/pair.cc:534] Connection closed by peer [127.0.0.1]:4567")

    with pytest.raises(RuntimeError):
        run_script(main)
    monkeypatch.setenv("RANK", "1")
    with pytest.raises(SystemExit) as end:
        run_script(main)
    assert (end.value.code, capsys.readouterr().err) == (1, "")


def test_failures_caused_by_a_stop_are_not_errors(capsys: pytest.CaptureFixture[str]) -> None:
    def main() -> None:
        with stopping.deferred():
            os.kill(os.getpid(), signal.SIGTERM)
            raise RuntimeError("Connection closed by peer")

    with pytest.raises(SystemExit) as end:
        run_script(main)
    assert (end.value.code, capsys.readouterr().err) == (143, "stopped by SIGTERM: the same command continues\n")


@pytest.mark.parametrize(
    ("batch_size", "advice"),
    [(8, "batch_size 8 -> 4, sampler.iter_size 3 -> 6"), (9, "batch_size 9 -> 3, sampler.iter_size 3 -> 9"), (1, "")],
)
def test_the_advice_has_the_numbers_of_the_state(make_record: MakeRecord, batch_size: int, advice: str) -> None:
    config = load_config(make_record(), [f"sampler.batch_size={batch_size}", "sampler.iter_size=3"])
    saving = load_config(make_record(), ["network.checkpoint_blocks=true"])
    with pytest.raises(ShortageError) as caught, explain_step_errors(config, config.states[0]):
        allocate_tensor()
    said = str(caught.value)
    assert said.startswith(f"out of memory with {batch_size} clips of 8 frames at a time: network.checkpoint_blocks=tr")
    assert advice in said
    with pytest.raises(ShortageError) as caught, explain_step_errors(saving, saving.states[0]):
        allocate_tensor()
    assert "checkpoint_blocks" not in str(caught.value)
    with pytest.raises(RuntimeError, match="shapes"), explain_step_errors(config, config.states[0]):
        raise RuntimeError("shapes differ")


def test_the_advice_keeps_the_step(make_record: MakeRecord) -> None:
    from dataset.build import make_plan

    plans = [
        make_plan(load_config(make_record(), [f"sampler.batch_size={size}", f"sampler.iter_size={count}"]), 0)
        for size, count in ((8, 1), (4, 2))
    ]
    clips = {plan.micro_batch * plan.micro_batches * plan.world_size for plan in plans}
    assert (len(clips), [plan.micro_batch for plan in plans]) == (1, [8, 4])
