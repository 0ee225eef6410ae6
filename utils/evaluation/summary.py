"""Mean and spread of results over splits, folds or seeds: a table of every setting that was run several times.

  python -m utils.evaluation.summary output/hmdb51-split1 output/hmdb51-split2 output/hmdb51-split3

Each OUTPUT is the folder of a record whose scores are merged. Runs that differ in nothing but their lists, seeds and
starting weights are one setting; others get a table each, with the keys that tell them apart. The standard deviation is
that of a sample (n - 1): how far apart single runs are, not how sure their mean is.
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

# What the runs of a setting may differ in beside the content of files (lists, videos, starting weights).
SEEDS = ("optimizer.seed", "optimizer.heldout_seed", "search.heldout_seed")
COLUMNS = {"top1": "top-1", "top5": "top-5", "mean_class": "mean of classes"}


class SummaryError(UserError):
    """Results that no mean can be taken of."""


@dataclass(frozen=True)
class Run:
    """A result, as far as a summary knows it.

    Attributes:
        name: Its folder.
        setting: Keys that must be equal to take a mean, by 'section.key'.
        seeds: Values of SEEDS.
        list_name: Its evaluation list.
        list_sha256: Of that list's content.
        classes: Names of its classes.
        num_scored: Videos that it is of.
        num_missing: Videos of the list that it is not of.
        accuracies: Fractions of 1, by COLUMNS.
        digest: Of its scores.
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
        SummaryError: There is none, or its training is not complete.
        SealError: It is damaged.
    """
    path = folder / RESULT_JSON
    if not path.is_file():
        raise SummaryError(f"{folder}: no {RESULT_JSON} in it; merge_score.py writes it into the folder of its record")
    result = read_sealed_json(path)
    checkpoint, protocol = result["checkpoint"], result["protocol"]
    done, planned = checkpoint["epochs_trained"], checkpoint["epochs_of_record"]
    if done is not None and done < planned:
        raise SummaryError(f"{path}: of {done:g} of {planned:g} epochs; complete the training first, or leave it out")
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
    """Return the keys whose change changes weights or scores, by 'section.key'."""
    sections = config.to_dict()
    return {
        f"{section}.{key.name}": sections[section][key.name]
        for section in SECTIONS
        for key in section_keys(section)
        if key.scope in (TRAINING, EVALUATION)
    }


def group_runs(runs: Sequence[Run]) -> list[list[Run]]:
    """Put the runs of a setting together, in the order of the first of each.

    Raises:
        SummaryError: A result is there twice, or runs of a setting have other classes.
    """
    for first, second in itertools.combinations(runs, 2):
        if first.digest == second.digest:
            raise SummaryError(f"{first.name} and {second.name} are results of the same scores; give one of them")
    groups: list[list[Run]] = []
    for run in runs:
        same = next((group for group in groups if group[0].setting == run.setting), None)
        if same is None:
            groups.append([run])
            continue
        if same[0].classes != run.classes:
            raise SummaryError(f"{run.name} has other classes than {same[0].name}; no mean is taken of the two")
        same.append(run)
    return groups


def render(groups: Sequence[Sequence[Run]]) -> str:
    """Return a table in Markdown for each setting."""
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
    """Return rows below the runs; a single one has none."""
    if len(runs) == 1:
        return [("one run: no spread", [""] * len(COLUMNS))]
    columns = [[100 * run.accuracies[name] for run in runs] for name in COLUMNS]
    rows = [
        (f"mean of {count(len(runs), 'run')}", [f"{statistics.fmean(values):.2f}" for values in columns]),
        ("standard deviation", [f"{statistics.stdev(values):.2f}" for values in columns]),
        ("lowest, highest", [f"{min(values):.2f}, {max(values):.2f}" for values in columns]),
    ]
    if len({run.list_sha256 for run in runs}) == len(runs):  # of seeds it would be the mean once more
        total = sum(run.num_scored for run in runs)
        pooled = [sum(run.accuracies[name] * run.num_scored for run in runs) / total for name in ("top1", "top5")]
        rows.append((f"all {total} videos together", [*(f"{100 * value:.2f}" for value in pooled), ""]))
    return rows


def main() -> None:
    """Read the results, then print their tables."""
    parser = Parser(
        prog="python -m utils.evaluation.summary",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("outputs", nargs="+", type=Path, metavar="OUTPUT", help="folder of a record, e.g. output/X")
    say(render(group_runs([read_run(folder) for folder in parser.parse_args().outputs])))


if __name__ == "__main__":
    run_script(main)
