"""Flip single bits in a run's files and read them as the scripts do: refused or unchanged, never different values.

python -m tests.faults.flips [checkpoint journal scores result config] [--count 200]
"""

import functools
import json
import random
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import merge_score
from tests.faults.experiment import (
    Counts,
    command_line,
    digest,
    end,
    load_run,
    read_options,
    read_scores,
    run_whole,
    start,
)
from tests.faults.outcomes import BAD, GOOD, find_outcome
from utils.config.saved import load_saved_config
from utils.jsonl import open_identified
from utils.sealed import read_sealed_json
from utils.training.checkpoint import load_checkpoint


@dataclass(frozen=True)
class Kept:
    """A kind of file that a run keeps.

    Attributes:
        run: The subject whose run writes it.
        pattern: Pattern of the files in the run's folder, which are flipped in turn.
        read: Returns the content as a script reads it, from the record, the output folder and the file.
    """

    run: str
    pattern: str
    read: Callable[[Path, Path, Path], Any]


def _read_checkpoint(_record: Path, _output: Path, path: Path) -> Any:
    return load_checkpoint(path)


def _read_journal(_record: Path, _output: Path, path: Path) -> Any:
    sound = path.with_name("journal.sound").read_text().splitlines()  # the identity of the search is unchanged
    identity = json.loads(sound[0])["identity"]
    return open_identified(path, identity, work="search", remedy="start anew")[1]


def _read_all_scores(record: Path, output: Path, _path: Path) -> Any:
    return read_scores(load_run(record, output))


def _read_result(_record: Path, _output: Path, path: Path) -> Any:
    return read_sealed_json(path)


def _read_config(_record: Path, _output: Path, path: Path) -> Any:
    return repr(load_saved_config(path))


KEPT = {
    "checkpoint": Kept("training", "current.pth", _read_checkpoint),
    "journal": Kept("search", "search/journal.jsonl", _read_journal),
    "scores": Kept("extraction", "scores/*", _read_all_scores),
    "result": Kept("extraction", "result.json", _read_result),
    "config": Kept("training", "config.yml", _read_config),
}


def flip_bit(path: Path, *, rng: random.Random) -> None:
    """Flip one bit of a file."""
    content = bytearray(path.read_bytes())
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)


def _compare(kept: Kept, record: Path, output: Path, path: Path, expected: str) -> str:
    return "as it was" if digest(kept.read(record, output, path)) == expected else "silently wrong"


def make_kept(folder: Path, kind: str) -> tuple[Path, Path]:
    """Make the files of a run, unless they exist; return the record and the output folder."""
    kept, whole = KEPT[kind], run_whole(folder, KEPT[kind].run)
    run = load_run(whole.record, whole.output).run_dir
    if kind == "result" and not any(run.glob(kept.pattern)):
        words = command_line(whole.record, whole.output)
        assert end(start(merge_score.main, log=folder / "merge.log", words=words)) == 0
    if kind == "journal":
        shutil.copy(run / kept.pattern, run / "search/journal.sound")
    return whole.record, whole.output


def try_kind(folder: Path, kind: str, *, count: int) -> Counts:
    """Flip and read until there were `count` flips; keep files that were neither refused nor unchanged."""
    folder.mkdir(parents=True, exist_ok=True)
    kept, counts = KEPT[kind], Counts(folder / f"flips-{kind}.json")
    record, output = make_kept(folder, kind)
    sound = sorted(load_run(record, output).run_dir.glob(kept.pattern))
    expected = digest(kept.read(record, output, sound[0]))
    while (number := counts.total()) < count:
        flipped = folder / f"flipped-{kind}-{number:04d}"
        shutil.rmtree(flipped, ignore_errors=True)
        shutil.copytree(output, flipped)
        path = flipped / sound[number % len(sound)].relative_to(output)
        flip_bit(path, rng=random.Random(f"{kind} {number}"))
        read = functools.partial(_compare, kept, record, flipped, path, expected)
        outcome = find_outcome(read, path, log=flipped / "said.txt")
        counts.add({outcome: 1})
        if outcome in GOOD:
            shutil.rmtree(flipped)
    return counts


def main() -> None:
    """Flip and count."""
    options, is_well = read_options(__doc__, KEPT, count=200), True
    for kind in options.kinds:
        counts = try_kind(options.folder, kind, count=options.count)
        is_well &= not any(counts[name] for name in BAD)
        found = ", ".join(f"{counts[name]} {name}" for name in (*GOOD, *BAD) if counts[name])
        print(f"| {kind} | {counts.total()} single bits | {found} |", flush=True)
    sys.exit(not is_well)


if __name__ == "__main__":
    main()
