"""How run.sh starts processes: torchrun's arguments and the exit codes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests import forked
from tests.conftest import ROOT
from utils.launch.processes import choose_exit_code
from utils.launch.torchrun import LaunchError, torchrun_arguments
from utils.workers import cpu_threads, usable_cores


def test_one_node_uses_a_free_port() -> None:
    arguments = torchrun_arguments(["x.py", "--flag"], {"NPROC": "3"}, gpus=0)
    assert arguments == ["--nproc_per_node", "3", "--nnodes", "1", "--standalone", "x.py", "--flag"]


def test_the_environment_is_passed_to_torchrun() -> None:
    environment = {"NPROC": "8", "NNODES": "2", "NODE_RANK": "1", "MASTER_ADDR": "node0", "MASTER_PORT": "123"}
    assert torchrun_arguments(["x.py"], environment, gpus=4) == [
        *("--nproc_per_node", "8", "--nnodes", "2", "--node_rank", "1"),
        *("--master_addr", "node0", "--master_port", "123", "x.py"),
    ]


@pytest.mark.parametrize(("processes", "cores", "threads"), [(1, 2, 1), (1, 8, 7), (2, 8, 3), (4, 4, 1), (8, 4, 1)])
def test_a_core_is_left_to_the_loader(processes: int, cores: int, threads: int) -> None:
    assert cpu_threads(processes, cores) == threads


@pytest.mark.parametrize("code", [0, 7])
def test_the_exit_code_of_a_process_is_returned_without_a_traceback(tmp_path: Path, code: int) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import os, sys\n"
        "rank = os.environ['RANK']\n"
        "os.write(1, f'[rank {rank}]'.encode())\n"
        f"sys.exit({code} if rank == '1' else 0)\n"
    )
    done = forked.run([sys.executable, "-m", "utils.launch", script], env={**os.environ, "NPROC": "2"})
    assert done.returncode == code
    assert "[rank 0]" in done.stdout
    assert "[rank 1]" in done.stdout
    assert "Traceback" not in done.stderr
    assert "exitcode" not in done.stderr


def test_a_process_that_is_killed_is_named(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n")
    done = forked.run([sys.executable, "-m", "utils.launch", script], env={**os.environ, "NPROC": "2"})
    assert done.returncode == 1
    assert "was ended by SIGKILL" in done.stderr


@pytest.mark.skipif(torch.cuda.is_available(), reason="with a GPU every process is torchrun's")
def test_one_process_on_a_cpu_runs_the_script_itself(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import os, sys\n"
        "print(os.getpid(), 'RANK' in os.environ, os.environ['OMP_NUM_THREADS'], sys.argv[1:])\n"
        "sys.exit(3)\n"
    )
    environment = {name: value for name, value in os.environ.items() if name not in ("NPROC", "OMP_NUM_THREADS")}
    with subprocess.Popen(
        [sys.executable, "-m", "utils.launch", str(script), "--flag", "a b"],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    ) as launched:
        output, _ = launched.communicate(timeout=60)
    threads = cpu_threads(1, usable_cores())
    assert output == f"{launched.pid} False {threads} ['--flag', 'a b']\n"
    assert launched.returncode == 3


@pytest.mark.parametrize(
    ("codes", "expected"),
    [
        ([2, 2], 2),
        ([1, 2], 2),  # a lost peer, and the process that reported its error
        ([143, 2], 2),  # the launcher stopped the first one
        ([-15, 2], 2),
        ([143, 143], 143),
        ([1, 143], 143),
        ([143, -9], 1),
        ([1, -9], 1),
        ([1], 1),
    ],
)
def test_the_exit_code_is_that_of_the_process_that_reported_its_error(codes: list[int], expected: int) -> None:
    assert choose_exit_code(codes) == expected


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"NPROC": "abc"}, "NPROC=abc: expected a whole number from 1"),
        ({"NPROC": "0"}, "NPROC=0: expected a whole number from 1"),
        ({"NPROC": "9" * 5000}, "expected a whole number"),
        ({"NNODES": "2:4"}, "NNODES=2:4: expected"),
        ({"NNODES": "2", "NODE_RANK": "2"}, "NODE_RANK=2: expected a number from 0 to 1, as NNODES is 2"),
        ({"MASTER_PORT": "http"}, "MASTER_PORT=http: expected"),
    ],
)
def test_numbers_of_the_environment_are_checked(setting: dict[str, str], message: str) -> None:
    with pytest.raises(LaunchError, match=message) as caught:
        torchrun_arguments(["x.py"], setting, gpus=0)
    assert len(str(caught.value)) < 150


def test_an_invalid_environment_ends_in_one_line() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "utils.launch", "x.py"],
        cwd=ROOT,
        env={**os.environ, "NPROC": "abc"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith("error: NPROC=abc")
