"""How run.sh starts processes: torchrun's arguments, and the exit codes that come back."""

import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.conftest import ROOT
from utils.launch.torchrun import cpu_threads, is_without_gpu, torchrun_arguments


def test_one_node_takes_a_free_port_of_its_own() -> None:
    arguments = torchrun_arguments(["x.py", "--flag"], {"NPROC": "3"}, gpus=0)
    assert arguments == ["--nproc_per_node", "3", "--nnodes", "1", "--standalone", "x.py", "--flag"]


def test_the_environment_passes_through_to_torchrun() -> None:
    environment = {"NPROC": "8", "NNODES": "2", "NODE_RANK": "1", "MASTER_ADDR": "node0", "MASTER_PORT": "123"}
    assert torchrun_arguments(["x.py"], environment, gpus=4) == [
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
        env={**os.environ, "NPROC": "2"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "was ended by SIGKILL" in done.stderr


@pytest.mark.skipif(torch.cuda.is_available(), reason="with a GPU every process is torchrun's")
def test_one_process_on_a_cpu_is_the_script_itself(tmp_path: Path) -> None:
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
    threads = cpu_threads(1, len(os.sched_getaffinity(0)))
    assert output == f"{launched.pid} False {threads} ['--flag', 'a b']\n"
    assert launched.returncode == 3


@pytest.mark.parametrize("driver, found", [(None, False), ("nvidiactl", True), ("kfd", True), ("dxg", True)])
def test_a_gpu_is_looked_for_without_torch(
    driver: str | None, found: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runpy, "run_path", lambda _: {"cuda": "13.0", "hip": None})
    (tmp_path / "null").touch()
    if driver is not None:
        (tmp_path / driver).touch()
    assert is_without_gpu(tmp_path) is not found


def test_a_build_for_cpus_needs_no_look_at_drivers(tmp_path: Path) -> None:
    (tmp_path / "nvidia0").touch()
    assert is_without_gpu(tmp_path) is (torch.version.cuda is None and torch.version.hip is None)
