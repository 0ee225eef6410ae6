"""Kill runs at random moments, resume them, and compare their results with those of an uninterrupted run.

    python -m tests.faults.kills [training states search extraction] [--count 50]

A run is killed up to five times, each time either at a random time or right before or after a random one of its next
writes to disk, and is then resumed to its end. SIGKILL is sent to the process alone, as by the kernel: processes that
it has started must detect its end. The same command is run again at once.
"""

import functools
import random
import signal
import sys
import time
from collections import Counter
from multiprocessing.process import BaseProcess
from pathlib import Path

from tests.faults.experiment import (
    SUBJECTS,
    Counts,
    Whole,
    command_line,
    digest,
    end,
    load_run,
    read_options,
    run_whole,
    start,
    try_runs,
)
from tests.killed_search import MOST_MOMENTS, kill_at, next_moment
from utils.errors import UserError

MOST_KILLS = 5  # of one run
# Outcomes of runs that are not equal: another result, an unreadable result, an error, or orphaned processes.
VERDICTS = ("different", "unreadable", "failed", "orphans")


def kill_and_continue(kind: str, whole: Whole, output: Path, *, rng: random.Random) -> Counter[str]:
    """Run a subject to its end with some kills; return counts of kills and of the outcome."""
    subject, log = SUBJECTS[kind], output.with_suffix(".log")
    killed: list[BaseProcess] = []
    words = command_line(whole.record, output)
    while True:
        delay, moment, after = None, 0, rng.random() < 0.5  # write number 0 never comes
        if len(killed) < MOST_KILLS and rng.random() < 0.5:
            delay = rng.uniform(0, 0.7 * whole.seconds)
        elif len(killed) < MOST_KILLS:
            moment = next_moment(rng, MOST_MOMENTS)
        before = functools.partial(kill_at, moment, after=after)
        process = start(subject.main, log=log, words=words, before=before)
        if delay is not None:
            time.sleep(delay)
            process.kill()
            process.join()  # not the processes that it has started, which the next run may meet
        else:
            process.join()
        if process.exitcode == -signal.SIGKILL:
            killed.append(process)
            continue
        code = end(process)
        orphans = sum(end(one) == -signal.SIGABRT for one in killed)
        verdict = "orphans" if orphans else compare(kind, whole, output, code=code)
        return Counter({"kills": len(killed), "runs": 1, verdict: 1})


def compare(kind: str, whole: Whole, output: Path, *, code: int) -> str:
    """Return "equal" if a run has the results of an uninterrupted run, else one of VERDICTS."""
    if code != 0:
        return "failed"
    try:
        is_equal = digest(SUBJECTS[kind].result(load_run(whole.record, output))) == whole.digest
    except (UserError, OSError):
        return "unreadable"
    return "equal" if is_equal else "different"


def try_kind(folder: Path, kind: str, *, count: int) -> Counts:
    """Kill runs of a subject until there were `count` kills; keep runs that are not equal, with their logs."""
    folder.mkdir(parents=True, exist_ok=True)
    counts, whole = Counts(folder / f"kills-{kind}.json"), run_whole(folder, kind)
    try_runs(
        counts,
        folder,
        f"killed-{kind}",
        is_enough=lambda: counts["kills"] >= count,
        trial=lambda output: kill_and_continue(kind, whole, output, rng=random.Random(f"{kind} {counts['runs']}")),
        bad=VERDICTS,
    )
    return counts


def main() -> None:
    """Kill and count."""
    options, is_well = read_options(__doc__, SUBJECTS, count=50), True
    for kind in options.kinds:
        counts = try_kind(options.folder, kind, count=options.count)
        is_well &= counts["equal"] == counts["runs"]
        bad = "".join(f", {counts[name]} {name}" for name in VERDICTS if counts[name])
        tried = f"{counts['kills']} SIGKILLs in {counts['runs']} runs"
        print(f"| {SUBJECTS[kind].title} | {tried} | {counts['equal']} runs ended bit-equal{bad} |", flush=True)
    sys.exit(not is_well)


if __name__ == "__main__":
    main()
