"""Train in forked processes and stop them: python -m tests.stopped_ranks {RECORD RANKS train|stop|kill:PLACE}...

Modules are imported once for all runs. Each rank is a gloo process that runs train_3d, or train_3d_op if the record is
a search. With `stop`, all ranks get SIGTERM once there is a checkpoint; with `kill`, SIGKILL once there is a checkpoint
of a position, given as state, epoch and step: 1,0,2. Prints the exit codes of each run.
"""

import os
import signal
import socket
import sys
import time
from pathlib import Path

import train_3d
import train_3d_op
from tests import forked
from utils.cli import run_script
from utils.config import load_config
from utils.training.checkpoint import load_checkpoint


def fork_rank(rank: int, ranks: int, port: int, record: str) -> int:
    """Fork a rank; return its process id."""
    child = os.fork()
    if child:
        return child
    if ranks > 1:
        os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank)}
        os.environ |= {"WORLD_SIZE": str(ranks), "LOCAL_WORLD_SIZE": str(ranks)}
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    sys.argv[1:] = ["--config_file", record]
    script = train_3d_op if load_config(Path(record)).is_search else train_3d
    try:
        run_script(script.main)
    except SystemExit as end:
        os._exit(int(str(end.code or 0)))
    os._exit(0)


def wait_for(checkpoint: Path, place: str) -> None:
    """Wait for a checkpoint at or after a position; for any checkpoint if the position is empty."""
    target, seen = [int(number) for number in place.split(",") if number], 0
    for _ in range(20_000):
        if checkpoint.exists() and (written := checkpoint.stat().st_mtime_ns) != seen:
            seen = written
            position = load_checkpoint(checkpoint)[1] if target else None
            if position is None or [position.state, position.epoch, position.step] >= target:
                return
        time.sleep(0.005)


def run(record: str, ranks: int, what: str) -> None:
    """Start the ranks, stop them unless `what` is train, and wait."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    children = [fork_rank(rank, ranks, port, record) for rank in range(ranks)]
    if what != "train":
        wait_for(load_config(Path(record)).weights_path, what.partition(":")[2])
        for child in children:
            os.kill(child, signal.SIGTERM if what == "stop" else signal.SIGKILL)
    print(
        [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children], flush=True
    )  # the next fork would copy an unflushed buffer


def main() -> None:
    """Execute the runs in order."""
    forked.preload()
    words = sys.argv[1:]
    for record, ranks, what in zip(words[::3], words[1::3], words[2::3], strict=True):
        run(record, int(ranks), what)


if __name__ == "__main__":
    main()
