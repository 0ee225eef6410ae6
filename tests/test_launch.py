"""How run.sh starts processes: torchrun's arguments, and the exit codes that come back."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from utils.launch import cpu_threads, torchrun_arguments


def test_one_node_takes_a_free_port_of_its_own() -> None:
    arguments = torchrun_arguments(["x.py", "--flag"], {"NPROC": "3"})
    assert arguments == ["--nproc_per_node", "3", "--nnodes", "1", "--standalone", "x.py", "--flag"]


def test_the_environment_passes_through_to_torchrun() -> None:
    environment = {"NPROC": "8", "NNODES": "2", "NODE_RANK": "1", "MASTER_ADDR": "node0", "MASTER_PORT": "123"}
    assert torchrun_arguments(["x.py"], environment) == [
        *("--nproc_per_node", "8", "--nnodes", "2", "--node_rank", "1"),
        *("--master_addr", "node0", "--master_port", "123", "x.py"),
    ]


@pytest.mark.parametrize(("processes", "cores", "threads"), [(1, 2, 1), (1, 8, 7), (2, 8, 3), (4, 4, 1), (8, 4, 1)])
def test_a_core_is_left_to_the_loader(processes: int, cores: int, threads: int) -> None:
    assert cpu_threads(processes, cores) == threads


@pytest.mark.parametrize("code", [0, 2, 7])
def test_the_exit_code_of_a_process_comes_back_without_a_traceback(tmp_path: Path, code: int) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import os, sys\n"
        "rank = os.environ['RANK']\n"
        "os.write(1, f'[rank {rank}]'.encode())\n"
        f"sys.exit({code} if rank == '1' else 0)\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "utils.launch", str(script)],
        cwd=ROOT,
        env={**os.environ, "NPROC": "2"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == code
    assert "[rank 0]" in done.stdout
    assert "[rank 1]" in done.stdout
    assert "Traceback" not in done.stderr
    assert "exitcode" not in done.stderr


def test_a_process_that_is_killed_is_named(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n")
    done = subprocess.run(
        [sys.executable, "-m", "utils.launch", str(script)],
        cwd=ROOT,
        env={**os.environ, "NPROC": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "process 0 was ended by SIGKILL" in done.stderr
