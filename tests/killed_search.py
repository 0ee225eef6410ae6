"""Run a search in processes that kill themselves: python -m tests.killed_search RECORD SEED [MOST_MOMENTS ...].

Every process forks from this one, resumes the search and is killed right before or after a random one of its next
writes to disk, until a process finishes. Prints the number of killed processes.
"""

import os
import random
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import helpers
from tests import forked
from utils.config import RunConfig, load_config
from utils.search.budgeted import plan_budget
from utils.search.run import search_path

# Calls that write to disk: a file's content, the name of a finished file, removal of a file or folder.
MOMENTS = ("fsync", "replace", "rename", "unlink", "rmdir", "truncate")
# Upper limits of the writes between two kills; writing the results of a finished search takes 16 writes.
MOST_MOMENTS = (8, 8, 40)


def kill_at(moment: int, *, after: bool) -> None:
    """Make this process kill itself at its write number `moment`."""
    left = [moment]

    def wrap(call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, **keywords: Any) -> Any:
            left[0] -= 1
            if left[0] == 0 and not after:
                os.kill(os.getpid(), signal.SIGKILL)
            result = call(*arguments, **keywords)
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return counted

    for name in MOMENTS:
        setattr(os, name, wrap(getattr(os, name)))


def search_until_killed(config: RunConfig, moment: int, *, after: bool) -> int:
    """Resume the search in a process of its own; return its exit status."""
    child = os.fork()
    if child == 0:
        kill_at(moment, after=after)
        if config.search.policy != "released":
            plan_budget(config, helpers.make_budgeted_parts, force=False)
        else:
            search_path(config, helpers.make_search_parts, force=False)
        os._exit(0)
    return os.waitpid(child, 0)[1]


def next_moment(rng: random.Random, most: Sequence[int]) -> int:
    """Draw the number of writes until the next process is killed."""
    return rng.randint(1, rng.choice(most))


def search_through_kills(record: Path, *most: int) -> int:
    """Run this module with seed 0 in a process of its own; return the number of killed processes."""
    words = [sys.executable, "-m", "tests.killed_search", str(record), "0", *map(str, most)]
    return int(forked.run(words, check=True).stdout.splitlines()[-1])


def main() -> None:
    """Kill and resume until the search is complete."""
    forked.preload()
    config = load_config(Path(sys.argv[1]))
    rng, kills = random.Random(int(sys.argv[2])), 0
    most = [int(word) for word in sys.argv[3:]] or MOST_MOMENTS
    while (status := search_until_killed(config, next_moment(rng, most), after=rng.random() < 0.5)) != 0:
        assert os.WIFSIGNALED(status), f"ended with {status}"
        assert os.WTERMSIG(status) == signal.SIGKILL
        kills += 1
    print(kills)


if __name__ == "__main__":
    main()
