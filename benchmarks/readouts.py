r"""Do the planner's readouts rank checkpoints by what they are worth? The stop rule of benchmarks/budgets.py.

Eight checkpoints of record/plan-hard-sparse.yml at a quarter of its budget: none, an eighth or a quarter of the budget
spent at the short input and the rest of the quarter at the goal, two seeds, at BEST; and none and a quarter at a rate of
0.3 BEST. What each is worth is the held-out loss after the rest of the budget at the goal, under the one envelope. It is
compared, by rank correlation, with what can be read at the checkpoint: the held-out loss at the goal of the weights as
they are, and of their average over the last tenth of the steps with batch norm computed anew, which the planner uses.

    OMP_NUM_THREADS=1 python benchmarks/readouts.py --output output/readouts

The set must be there (benchmarks/budgets.py makes it). Written down before the first run: a rank correlation of the
average below 0.4 at one rate means that the planner should read a short cool-down in its place; expected is 0.6.
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import helpers
from benchmarks.budgets import BEST, SPARSE
from utils import distributed
from utils.cli import run_script
from utils.config import load_config
from utils.jsonl import LineFile
from utils.search.budgeted_plan import TAIL, Slice, Stop, budget_compute, path_record
from utils.search.budgeted_runs import Runs

AT = 1 / 4  # of the budget
CASES = (
    *((short, 1.0, seed) for seed in (0, 1) for short in (0.0, 1 / 8, 1 / 4)),
    (0.0, 0.3, 0),
    (1 / 4, 0.3, 0),
)


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint shows, and what it is worth.

    Attributes:
        short: Share of the budget at the short input.
        rate: Factor of BEST.
        seed: Of the run.
        raw: Held-out loss at the goal of the weights as they are.
        average: Of their average.
        worth: Held-out loss at the end of the budget.
    """

    short: float
    rate: float
    seed: int
    raw: float
    average: float
    worth: float


def measure(short: float, rate: float, seed: int, *, folder: Path) -> Checkpoint:
    """Train to the checkpoint, read it, and train on to the end."""
    overrides = [f"optimizer.base_learning_rate={BEST * rate:g}", f"optimizer.seed={seed}", "search.readout_videos=240"]
    config = load_config(SPARSE, overrides)
    with distributed.session() as device:
        parts = helpers.make_budgeted_parts(config, device)
        runs = Runs(config, parts, folder=folder / f"{short:g}-{rate:g}-{seed}", log=logging.getLogger("readouts"))
        compute = budget_compute(config, parts.inputs)
        split = (short, 1 - short)
        record = path_record(config, split, factors=(1.0, 1.0), compute=compute, inputs=parts.inputs)
        start, number = "", 0
        shares = [(number, share) for number, share in enumerate((short, AT - short)) if share]
        for number, share in shares:
            steps = round(share * compute / parts.inputs[number].compute)
            stop = Stop(steps, steps - round(TAIL * steps), share, ())
            state = number if short else 0
            run = runs.train_slice(Slice(f"slice-{number}", record, state, number, (stop,)), start)
            average = run.train(stop)
            raw = {name: tensor.clone() for name, tensor in run.trainer.learner.network.state_dict().items()}
            run.close()
            start = f"slice-{number}"
        found = [runs.read_out(weights).loss for weights in (raw, average)]
        end: dict[str, torch.Tensor] = runs.train_plan(record, "run", begin=start)["network"]
        return Checkpoint(short, rate, seed, *found, runs.read_out(end).loss)


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> float:
    """Return Spearman's coefficient; values are all different."""
    ranks = [np.argsort(np.argsort(values)) for values in (first, second)]
    return float(np.corrcoef(*ranks)[0, 1])


def main() -> None:
    """Measure what is left, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("output/readouts"), help="folder (output/readouts)")
    options = parser.parse_args()
    file = LineFile(options.output / "checkpoints.jsonl", anew="move it away; finished runs are not trained again")
    for case in CASES[len(file.lines) :]:
        file.append(asdict(measure(*case, folder=options.output)))
    found = [Checkpoint(**line) for line in file.lines]
    print("| short | rate / BEST | seed | raw | average | at the end |\n|---|---|---|---|---|---|")
    for each in found:
        losses = " | ".join(f"{loss:.3f}" for loss in (each.raw, each.average, each.worth))
        print(f"| {each.short:g} | {each.rate:g} | {each.seed} | {losses} |")
    for title, chosen in (("one rate", [each for each in found if each.rate == 1]), ("all", found)):
        worths = [each.worth for each in chosen]
        raw, average = (rank_correlation([getattr(each, key) for each in chosen], worths) for key in ("raw", "average"))
        print(f"rank correlation with the loss at the end, {title}: raw {raw:.2f}, average {average:.2f}")


if __name__ == "__main__":
    run_script(main)
