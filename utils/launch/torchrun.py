"""Run a script with torchrun: one process per visible GPU (one on a CPU), no traceback for reported errors.

  python -m utils.launch train_3d.py --config_file record/X.yml

NPROC sets the number of processes on this node; NNODES, NODE_RANK, MASTER_ADDR and MASTER_PORT are those of torchrun. A
single process on a CPU runs the script itself, without torchrun. DEVICE=cpu disables GPUs.
"""

import os
import sys
from collections.abc import Mapping

from utils.errors import UserError
from utils.gpus import find_gpu, read_build, require_usable
from utils.workers import cpu_threads, usable_cores


class LaunchError(UserError):
    """An invalid number of processes, node or port."""


def read_number(name: str, environment: Mapping[str, str], *, default: int, at_least: int = 1) -> int:
    """Return a whole number from an environment variable; unset or empty means the default.

    Raises:
        LaunchError: It is not a whole number from `at_least` to 99999.
    """
    word = environment.get(name) or str(default)
    if not (word.isascii() and word.isdigit() and len(word) < 6 and int(word) >= at_least):
        raise LaunchError(f"{name}={word[:40]}: expected a whole number from {at_least} to 99999")
    return int(word)


def torchrun_arguments(script: list[str], environment: Mapping[str, str], *, gpus: int) -> list[str]:
    """Return torchrun's arguments.

    Args:
        script: The script and its arguments.
        environment: NPROC, NNODES, NODE_RANK, MASTER_ADDR and MASTER_PORT are read.
        gpus: Visible GPUs of this node.

    Raises:
        LaunchError: A number in the environment is invalid.
    """
    processes = read_number("NPROC", environment, default=max(1, gpus))
    nodes = read_number("NNODES", environment, default=1)
    node = read_number("NODE_RANK", environment, default=0, at_least=0)
    port = read_number("MASTER_PORT", environment, default=29500)
    arguments = ["--nproc_per_node", str(processes), "--nnodes", str(nodes)]
    if nodes == 1 and not environment.get("MASTER_PORT"):
        return [*arguments, "--standalone", *script]  # picks a free port, so that several runs share a machine
    if node >= nodes:
        raise LaunchError(f"NODE_RANK={node}: expected a number from 0 to {nodes - 1}, as NNODES is {nodes}")
    arguments += ["--node_rank", str(node), "--master_addr", environment.get("MASTER_ADDR") or "127.0.0.1"]
    return [*arguments, "--master_port", str(port), *script]


def _share_cores(processes: int) -> None:
    os.environ.setdefault("OMP_NUM_THREADS", str(cpu_threads(processes, usable_cores())))


def launch() -> None:
    """Run the script; exit with the code of the process that reported its error."""
    processes = read_number("NPROC", os.environ, default=1)
    build = read_build()
    if build is not None:
        require_usable(build)
        is_without_gpu = (build.cuda is None and build.hip is None) or not find_gpu().vendor
        if is_without_gpu and processes == read_number("NNODES", os.environ, default=1) == 1:
            _share_cores(1)
            os.execv(sys.executable, [sys.executable, "-u", *sys.argv[1:]])
    # imports torch, 2 s that a single process without a GPU, which replaces this one above, does not need twice
    from utils.launch.processes import count_gpus, start_processes

    gpus = count_gpus()
    if not gpus:
        _share_cores(processes)
    start_processes(torchrun_arguments(sys.argv[1:], os.environ, gpus=gpus))
