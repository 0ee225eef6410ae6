"""torchrun for run.sh: one process per visible GPU (one on a CPU), no traceback when a process has said why it ends.

  python -m utils.launch train_3d.py --config_file record/X.yml

NPROC sets the number of processes of this node; NNODES, NODE_RANK, MASTER_ADDR and MASTER_PORT are torchrun's. A single
process on a CPU is the script itself, without torchrun.
"""

import importlib.util
import logging
import os
import runpy
import sys
from pathlib import Path

from utils.text import say

# What the drivers of GPUs make: NVIDIA's (and those of its small boards), AMD's, and that of Windows' Linux.
_GPU_FILES = ("nvidia*", "nvhost*", "nvmap", "nvgpu*", "kfd", "dxg")


def is_without_gpu(devices: Path = Path("/dev")) -> bool:
    """Return whether no GPU can be used, as far as that shows without importing torch, which takes seconds."""
    torch = importlib.util.find_spec("torch")
    if torch is None or not torch.submodule_search_locations:
        return False
    build = runpy.run_path(str(Path(torch.submodule_search_locations[0], "version.py")))
    if build.get("cuda") is None and build.get("hip") is None:
        return True
    return sys.platform == "linux" and not any(file for name in _GPU_FILES for file in devices.glob(name))


def torchrun_arguments(script: list[str], environment: dict[str, str], *, gpus: int) -> list[str]:
    """Return torchrun's arguments for a script and its arguments."""
    processes = environment.get("NPROC") or str(max(1, gpus))
    nodes = environment.get("NNODES") or "1"
    arguments = ["--nproc_per_node", processes, "--nnodes", nodes]
    if nodes == "1" and not environment.get("MASTER_PORT"):
        return [*arguments, "--standalone", *script]  # a free port of its own: several runs on one machine
    arguments += ["--node_rank", environment.get("NODE_RANK") or "0"]
    arguments += ["--master_addr", environment.get("MASTER_ADDR") or "127.0.0.1"]
    return [*arguments, "--master_port", environment.get("MASTER_PORT") or "29500", *script]


def cpu_threads(processes: int, cores: int) -> int:
    """Return the threads of one process on a CPU: its share of the cores, less one for its loader.

    OpenMP threads wait for each other by spinning: one thread more than there are free cores costs many times its gain.
    """
    return max(1, cores // processes - 1)


def _share_cores(processes: int) -> None:
    cores = len(os.sched_getaffinity(0))
    os.environ.setdefault("OMP_NUM_THREADS", str(cpu_threads(processes, cores)))


def main() -> None:
    """Run the script; exit with the code of the first process that failed."""
    processes, nodes = os.environ.get("NPROC") or "1", os.environ.get("NNODES") or "1"
    if processes == nodes == "1" and is_without_gpu():
        _share_cores(1)
        os.execv(sys.executable, [sys.executable, "-u", *sys.argv[1:]])
    import torch
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import parse_args, run

    gpus = torch.cuda.device_count()
    if not gpus:
        _share_cores(int(processes))
    # A process that ends with an exit code has said why; torchrun's own report of it would only repeat that it did.
    logging.getLogger("torch.distributed.elastic.multiprocessing.api").setLevel(logging.CRITICAL)
    try:
        run(parse_args(torchrun_arguments(sys.argv[1:], dict(os.environ), gpus=gpus)))
    except ChildFailedError as error:
        codes = [failure.exitcode for failure in error.failures.values()]
        for failed_rank, failure in error.failures.items():
            if failure.exitcode < 0:
                say(f"process {failed_rank} was ended by {failure.signal_name()}", file=sys.stderr)
        sys.exit(next((code for code in codes if code > 0), 1))
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
