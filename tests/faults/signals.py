"""Stop runs by SIGTERM and Ctrl-C at random moments, resume them, and compare with an uninterrupted run.

    python -m tests.faults.signals [training states search extraction] [--count 20]

`count` stops of either kind. SIGTERM is sent to the process alone or, as by batch systems, also to all processes that
it has started; Ctrl-C to all, as by a terminal. A stopped process must end with 143 or 130, with one line and no
traceback, and leave no process behind; a run that was stopped up to five times is then resumed to its end.
"""

import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from tests.faults.experiment import SUBJECTS, Counts, Whole, command_line, end, read_options, run_whole, start, try_runs
from tests.faults.kills import VERDICTS, compare

MOST_STOPS = 5  # of one run
_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_STOPS = (
    (signal.SIGTERM, False),
    (signal.SIGTERM, True),
    (signal.SIGINT, True),
    (signal.SIGINT, True),
)  # signal, sent to all processes


def listening(main: Callable[[], object]) -> Callable[[], object]:
    """Return a main function that first unblocks signals: by then the script handles them."""

    def unmasked() -> None:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        main()

    return unmasked


def stop_and_continue(kind: str, whole: Whole, output: Path, *, rng: random.Random) -> Counter[str]:
    """Run a subject to its end with some stops; return counts of stops and of outcomes."""
    subject, log, found = SUBJECTS[kind], output.with_suffix(".log"), Counter({"runs": 1})
    words, main = command_line(whole.record, output), listening(subject.main)
    for _ in range(MOST_STOPS):
        number, to_all = rng.choice(_STOPS)
        before = signal.pthread_sigmask(
            signal.SIG_BLOCK, _SIGNALS
        )  # blocked in the forked process until it handles them
        process = start(main, log=log, words=words)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        time.sleep(rng.uniform(0.1, 0.7 * whole.seconds))
        assert process.pid is not None
        if process.exitcode is not None:
            break
        began = time.monotonic()
        (os.killpg if to_all else os.kill)(process.pid, number)
        process.join(60)
        milliseconds = round(1000 * (time.monotonic() - began))
        code = end(process)
        if code == 0:  # it had finished
            break
        said = log.read_text()
        is_well = code == 128 + number and "Traceback" not in said
        is_well &= (said.splitlines() or [""])[-1].startswith(f"stopped by {number.name}")
        found.update({number.name: 1, "stopped" if is_well else "bad stop": 1, "milliseconds": milliseconds})
        found["slowest"] = max(found["slowest"], milliseconds)
    code = end(start(subject.main, log=log, words=words))
    found[compare(kind, whole, output, code=code)] += 1
    return found


def try_kind(folder: Path, kind: str, *, count: int) -> Counts:
    """Stop runs of a subject until there were `count` stops of either kind; keep runs with a bad outcome."""
    folder.mkdir(parents=True, exist_ok=True)
    counts, whole = Counts(folder / f"signals-{kind}.json"), run_whole(folder, kind)

    def trial(output: Path) -> Counter[str]:
        found = stop_and_continue(kind, whole, output, rng=random.Random(f"{kind} {counts['runs']}"))
        found["slowest"] = max(0, found["slowest"] - counts["slowest"])  # so that the sum is the maximum
        return found

    try_runs(
        counts,
        folder,
        f"stopped-{kind}",
        is_enough=lambda: min(counts[number.name] for number in _SIGNALS) >= count,
        trial=trial,
        bad=("bad stop", *VERDICTS),
    )
    return counts


def main() -> None:
    """Stop and count."""
    options, is_well = read_options(__doc__, SUBJECTS, count=20), True
    for kind in options.kinds:
        counts = try_kind(options.folder, kind, count=options.count)
        is_well &= counts["equal"] == counts["runs"] and not counts["bad stop"]
        bad = "".join(f", {counts[name]} {name}" for name in ("bad stop", *VERDICTS) if counts[name])
        stops = counts["SIGTERM"] + counts["SIGINT"]
        tried = f"{counts['SIGTERM']} SIGTERM, {counts['SIGINT']} Ctrl-C in {counts['runs']} runs"
        mean, slowest = counts["milliseconds"] / 1000 / max(1, stops), counts["slowest"] / 1000
        ended = f"{counts['stopped']} ended with 143 or 130, within {slowest:.1f} s (mean {mean:.1f} s)"
        row = f"| {SUBJECTS[kind].title} | {tried} | {ended}; {counts['equal']} runs ended bit-equal{bad} |"
        print(row, flush=True)
    sys.exit(not is_well)


if __name__ == "__main__":
    main()
