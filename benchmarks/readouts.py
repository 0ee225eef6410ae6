r"""Do the planner's readouts rank checkpoints by their final loss?

Checkpoints of record/plan-hard-sparse.yml at a 32nd, an eighth and a quarter of its budget: none, half or all of that
at the short input and the rest at the goal, two seeds, at BEST; and none and all at 0.3 BEST. The worth of each is the
held-out loss after the rest of the budget at the goal, under the same envelope. It is compared, by rank correlation,
with readouts at the checkpoint: the held-out loss at the goal of the weights as they are, and after a branch, which the
planner uses: a copy is trained further at the goal for a quarter of the compute so far, its rate falling from the
current one to zero. Batch norm's statistics are recomputed for all.

    OMP_NUM_THREADS=1 python benchmarks/readouts.py --output output/readouts

24 checkpoints, a quarter of an hour on a core, and the videos of benchmarks/budgets.py unless they exist; interrupt it
at any time. An earlier version, at a quarter of the budget alone, also compared the average of the weights over the
last tenth of the steps: 0.31 for six checkpoints at one rate, the same as the weights as they are, and 0.89 for a
branch. Hence the planner reads branches.

Written before the first run of this version, rank correlation of branches with the final loss, for six checkpoints at
one rate: 0.9 at a quarter, 0.7 at an eighth (131 steps, of the branch 33), 0.2 at a 32nd (33 and 8
steps, in which nothing is learned). The planner's pilots have about 180 steps at least. If it is below 0.4,
pilots of that size should not be read. Found: -0.09, 0.03 and -0.03 (docs/search.md).
"""

import logging
import statistics
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import helpers
from benchmarks.budgets import BEST, SPARSE, Setting
from benchmarks.measuring import Parser
from utils import distributed
from utils.cli import run_script
from utils.config import RunConfig, load_config
from utils.jsonl import LineFile
from utils.planning.policy import COOL_DOWN
from utils.search.budgeted_plan import branch_record, budget_compute, count_batches, path_envelope, path_record
from utils.search.budgeted_runs import BudgetedParts, Runs, read_out
from utils.training.checkpoint import load_checkpoint

PLACES = (1 / 32, 1 / 8, 1 / 4)  # fractions of the budget
# Place, fraction of it at the short input, factor of BEST, seed.
CASES = tuple(
    (at, *case)
    for at in PLACES
    for case in (
        *((part, 1.0, seed) for seed in (0, 1) for part in (0.0, 0.5, 1.0)),
        *((part, 0.3, 0) for part in (0.0, 1.0)),
    )
)


@dataclass(frozen=True)
class Checkpoint:
    """The readouts of a checkpoint, and its final loss.

    Attributes:
        at: Fraction of the budget that is spent.
        part: Fraction of that at the short input.
        rate: Learning rate, as a factor of BEST.
        seed: Seed of the run.
        raw: Held-out loss at the goal of the weights as they are.
        branch: Held-out loss at the goal after a branch.
        worth: Held-out loss at the end of the budget.
    """

    at: float
    part: float
    rate: float
    seed: int
    raw: float
    branch: float
    worth: float


def measure(at: float, part: float, rate: float, seed: int, *, folder: Path) -> Checkpoint:
    """Train to the checkpoint, read it out, and train its path to the end."""
    overrides = [f"optimizer.base_learning_rate={BEST * rate:g}", f"optimizer.seed={seed}", "search.readout_videos=240"]
    config, short = load_config(SPARSE, overrides), at * part
    place = folder / f"{short:g}-{rate:g}-{seed}"
    with distributed.session() as device:
        parts = helpers.make_budgeted_parts(config, device)
        runs = Runs(config, parts, folder=place, log=logging.getLogger("readouts"))
        compute = budget_compute(config, parts.inputs)
        begin, end = (
            path_record(config, (short, until - short), factors=(1.0, 1.0), compute=compute, inputs=parts.inputs)
            for until in (at, 1.0)
        )
        name = f"begin-{at:g}"
        runs.train_plan(begin, name, begin="")
        steps = round(COOL_DOWN * at * compute / parts.inputs[-1].compute)
        branch = branch_record(config, path_envelope(config).factor(at), steps=steps, inputs=parts.inputs)
        loss = runs.train_short(branch, f"branch-{at:g}", start=name).loss
        runs.train_plan(end, "run", begin="")
        raw, worth = (score(config, parts, place / run / "current.pth") for run in (name, "run"))
        return Checkpoint(at, part, rate, seed, raw, loss, worth)


def score(config: RunConfig, parts: BudgetedParts, path: Path) -> float:
    """Return the held-out loss of a checkpoint's weights at the goal."""
    network = parts.search.make_network(load_checkpoint(path)[0]["network"])
    record = branch_record(config, 1.0, steps=1, inputs=parts.inputs)
    record = replace(record, optimizer=replace(record.optimizer, precise_bn=count_batches(config)))
    return read_out(parts.search.make_trainer(record, 0, network, "readout")).loss


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> float:
    """Return Spearman's coefficient of sequences without ties."""
    ranks = [np.argsort(np.argsort(values)).tolist() for values in (first, second)]
    return statistics.correlation(*ranks)


def main() -> None:
    """Measure the unfinished checkpoints and print the table."""
    parser = Parser(__doc__)
    parser.add_argument("--output", type=Path, default=Path("output/readouts"), help="folder (output/readouts)")
    options = parser.parse_args()
    Setting(options.output).make_videos()
    file = LineFile(options.output / "checkpoints.jsonl", remedy="move it away; finished runs are not trained again")
    for case in CASES[len(file.lines) :]:
        file.append(asdict(measure(*case, folder=options.output)))
    found = [Checkpoint(**line) for line in file.lines]
    print("| at | short | rate / BEST | seed | raw | branch | at the end |\n|---|---|---|---|---|---|---|")
    for each in found:
        losses = " | ".join(f"{loss:.3f}" for loss in (each.raw, each.branch, each.worth))
        print(f"| {each.at:g} | {each.part:g} | {each.rate:g} | {each.seed} | {losses} |")
    for at in PLACES:
        here = [each for each in found if each.at == at]
        for title, chosen in (("one rate", [each for each in here if each.rate == 1]), ("all", here)):
            worths = [each.worth for each in chosen]
            said = (
                f"{key} {rank_correlation([getattr(each, key) for each in chosen], worths):.2f}"
                for key in ("raw", "branch")
            )
            print(f"at {at:g}, rank correlation with the loss at the end, {title}: {', '.join(said)}")


if __name__ == "__main__":
    run_script(main)
