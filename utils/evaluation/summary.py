"""Mean and standard deviation of results over splits, folds or seeds: a table for every setting.

  python -m utils.evaluation.summary output/hmdb51-split1 output/hmdb51-split2 output/hmdb51-split3

Each OUTPUT is the folder of a record whose scores are merged. Runs that differ only in lists, seeds and initial weights
are runs of one setting; every setting gets a table, titled by the keys that differ. The standard deviation is that of a
sample (n - 1): the spread of single runs, not the uncertainty of their mean.
"""

import argparse
import itertools
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from utils.cli import Parser, run_script
from utils.config.declaring import EVALUATION, TRAINING
from utils.config.keys import section_keys
from utils.config.saved import saved_config
from utils.config.schema import SECTIONS, RunConfig
from utils.errors import UserError
from utils.evaluation.result import RESULT_JSON
from utils.sealed import read_sealed_json
from utils.text import count, say

# Keys in which runs of a setting may differ, besides the content of files (lists, videos, initial weights).
SEEDS = ("optimizer.seed", "optimizer.heldout_seed", "search.heldout_seed")
COLUMNS = {"top1": "top-1", "top5": "top-5", "mean_class": "mean of classes"}


class SummaryError(UserError):
    """Results cannot be averaged."""


@dataclass(frozen=True)
class Run:
    """The result of a run.

    Attributes:
        name: Folder of the run.
        setting: Values that must be equal within a setting, by 'section.key'.
        seeds: Values of SEEDS.
        list_name: Path of the evaluation list.
        list_sha256: SHA-256 of that list's content.
        classes: Class names.
        num_scored: Scored videos.
        num_missing: Missing videos of the list.
        accuracies: Fractions of 1, by the keys of COLUMNS.
        digest: Digest of the scores.
    """

    name: str
    setting: Mapping[str, Any]
    seeds: Mapping[str, Any]
    list_name: str
    list_sha256: str
    classes: tuple[str, ...]
    num_scored: int
    num_missing: int
    accuracies: Mapping[str, float]
    digest: str


def read_run(folder: Path) -> Run:
    """Read the result in a record's folder.

    Raises:
        SummaryError: There is no result, or its training is not complete.
        SealError: The result is corrupt.
    """
    path = folder / RESULT_JSON
    if not path.is_file():
        raise SummaryError(f"{folder}: has no {RESULT_JSON}; create it with merge_score.py")
    result = read_sealed_json(path)
    checkpoint, protocol = result["checkpoint"], result["protocol"]
    done, planned = checkpoint["epochs_trained"], checkpoint["epochs_of_record"]
    if done is not None and done < planned:
        raise SummaryError(f"{path}: trained for {done:g} of {planned:g} epochs; complete the training, or omit it")
    values = _values(saved_config(result["config"], path))
    return Run(
        name=str(folder),
        setting={name: value for name, value in values.items() if name not in SEEDS},
        seeds={name: values[name] for name in SEEDS},
        list_name=protocol["list"],
        list_sha256=protocol["list_sha256"],
        classes=tuple(entry["name"] for entry in result["classes"]),
        num_scored=protocol["num_scored"],
        num_missing=protocol["num_missing"],
        accuracies={name: result["metrics"]["video"][name] for name in COLUMNS},
        digest=result["scores_digest"],
    )


def _values(config: RunConfig) -> dict[str, Any]:
    """Return the values of the keys that affect weights or scores, by 'section.key'."""
    sections = config.to_dict()
    return {
        f"{section}.{key.name}": sections[section][key.name]
        for section in SECTIONS
        for key in section_keys(section)
        if key.scope in (TRAINING, EVALUATION)
    }


def group_runs(runs: Sequence[Run]) -> list[list[Run]]:
    """Group runs by setting, in the order of the first run of each.

    Raises:
        SummaryError: Two results have the same scores, or runs of a setting have different classes.
    """
    for first, second in itertools.combinations(runs, 2):
        if first.digest == second.digest:
            raise SummaryError(f"{first.name} and {second.name} are results of the same scores; omit one of them")
    groups: list[list[Run]] = []
    for run in runs:
        same = next((group for group in groups if group[0].setting == run.setting), None)
        if same is None:
            groups.append([run])
            continue
        if same[0].classes != run.classes:
            raise SummaryError(f"{run.name} and {same[0].name} have different classes and cannot be averaged")
        same.append(run)
    return groups


def render(groups: Sequence[Sequence[Run]]) -> str:
    """Return a Markdown table for every setting."""
    settings = [group[0].setting for group in groups]
    apart = [name for name in settings[0] if any(other[name] != settings[0][name] for other in settings)]
    titles = [", ".join(f"{name} {setting[name]}" for name in apart) for setting in settings]
    tables = [
        "\n".join([*([title] if title else []), *_table(group)]) for title, group in zip(titles, groups, strict=True)
    ]
    return "\n\n".join(tables)


def _table(runs: Sequence[Run]) -> list[str]:
    missing = any(run.num_missing for run in runs)
    seeds = [name for name in SEEDS if len({str(run.seeds[name]) for run in runs}) > 1]
    heads = ["run", *seeds, "evaluation list", "videos", *(["missing"] if missing else []), *COLUMNS.values()]
    rows = [
        [run.name, *(str(run.seeds[name]) for name in seeds), run.list_name, str(run.num_scored)]
        + ([str(run.num_missing)] if missing else [])
        + [f"{100 * run.accuracies[name]:.2f}" for name in COLUMNS]
        for run in runs
    ]
    blank = [""] * (len(heads) - 1 - len(COLUMNS))
    rows += [[title, *blank, *cells] for title, cells in _totals(runs)]
    return [f"| {' | '.join(row)} |" for row in [heads, ["---"] * len(heads), *rows]]


def _totals(runs: Sequence[Run]) -> list[tuple[str, list[str]]]:
    """Return the summary rows below the runs of a setting."""
    if len(runs) == 1:
        return [("one run: no spread", [""] * len(COLUMNS))]
    columns = [[100 * run.accuracies[name] for run in runs] for name in COLUMNS]
    rows = [
        (f"mean of {count(len(runs), 'run')}", [f"{statistics.fmean(values):.2f}" for values in columns]),
        ("standard deviation", [f"{statistics.stdev(values):.2f}" for values in columns]),
        ("lowest, highest", [f"{min(values):.2f}, {max(values):.2f}" for values in columns]),
    ]
    if len({run.list_sha256 for run in runs}) == len(runs):  # over seeds it would equal the mean
        total = sum(run.num_scored for run in runs)
        pooled = [sum(run.accuracies[name] * run.num_scored for run in runs) / total for name in ("top1", "top5")]
        rows.append((f"all {total} videos together", [*(f"{100 * value:.2f}" for value in pooled), ""]))
    return rows


def main() -> None:
    """Parse the command line, read the results and print their tables."""
    parser = Parser(
        prog="python -m utils.evaluation.summary",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("outputs", nargs="+", type=Path, metavar="OUTPUT", help="folder of a record, e.g. output/X")
    say(render(group_runs([read_run(folder) for folder in parser.parse_args().outputs])))


if __name__ == "__main__":
    run_script(main)
