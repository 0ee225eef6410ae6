"""torchrun for run.sh: one process per visible GPU (one on a CPU), no traceback when a process has said why it ends.

  python -m utils.launch train_3d.py --config_file record/X.yml

NPROC sets the number of processes of this node; NNODES, NODE_RANK, MASTER_ADDR and MASTER_PORT are torchrun's.
"""

import logging
import os
import sys

import torch
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.run import parse_args, run


def torchrun_arguments(script: list[str], environment: dict[str, str]) -> list[str]:
    """Return torchrun's arguments for a script and its arguments."""
    processes = environment.get("NPROC") or str(max(1, torch.cuda.device_count()))
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


def main() -> None:
    """Run the script; exit with the code of the first process that failed."""
    if not torch.cuda.is_available():
        processes, cores = int(os.environ.get("NPROC") or 1), len(os.sched_getaffinity(0))
        os.environ.setdefault("OMP_NUM_THREADS", str(cpu_threads(processes, cores)))
    # A process that ends with an exit code has said why; torchrun's own report of it would only repeat that it did.
    logging.getLogger("torch.distributed.elastic.multiprocessing.api").setLevel(logging.CRITICAL)
    try:
        run(parse_args(torchrun_arguments(sys.argv[1:], dict(os.environ))))
    except ChildFailedError as error:
        codes = [failure.exitcode for failure in error.failures.values()]
        for failed_rank, failure in error.failures.items():
            if failure.exitcode < 0:
                print(f"process {failed_rank} was ended by {failure.signal_name()}", file=sys.stderr)
        sys.exit(next((code for code in codes if code > 0), 1))
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
