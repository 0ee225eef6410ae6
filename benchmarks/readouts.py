r"""Do the planner's readouts rank checkpoints by what they are worth? The stop rule of benchmarks/budgets.py.

Eight checkpoints of record/plan-hard-sparse.yml at a quarter of its budget: none, an eighth or a quarter of the
budget spent at the short input and the rest of the quarter at the goal, two seeds, at BEST; and none and a quarter at
0.3 BEST. What each is worth is the held-out loss after the rest of the budget at the goal, under the one envelope. It
is compared, by rank correlation, with what can be read at the checkpoint: the held-out loss at the goal of the weights
as they are, of their average over the last tenth of the steps, which the planner uses, and after a cool-down: a 16th of
the budget at the goal, the rate falling to zero. Batch norm is computed anew for all.

    OMP_NUM_THREADS=1 python benchmarks/readouts.py --output output/readouts

The set must be there (benchmarks/budgets.py makes it). Written down before the first run: a rank correlation of the
average below 0.4 at one rate means that the planner should read a short cool-down in its place; expected is 0.6.
"""

import argparse
import logging
import statistics
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import helpers
from benchmarks.budgets import BEST, SPARSE
from utils import distributed
from utils.cli import run_script
from utils.config import RunConfig, load_config
from utils.jsonl import LineFile
from utils.planning.graph import State
from utils.search.budgeted_plan import TAIL, InputSteps, Slice, Stop, budget_compute, path_record
from utils.search.budgeted_runs import Runs
from utils.search.weights import Weights
from utils.training.checkpoint import load_checkpoint

AT, COOL_DOWN = 1 / 4, 1 / 16  # of the budget
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
        cooled: After a cool-down.
        worth: Held-out loss at the end of the budget.
    """

    short: float
    rate: float
    seed: int
    raw: float
    average: float
    cooled: float
    worth: float


def measure(short: float, rate: float, seed: int, *, folder: Path) -> Checkpoint:
    """Train to the checkpoint, read it, and train on to the end."""
    overrides = [f"optimizer.base_learning_rate={BEST * rate:g}", f"optimizer.seed={seed}", "search.readout_videos=240"]
    config, place = load_config(SPARSE, overrides), folder / f"{short:g}-{rate:g}-{seed}"
    with distributed.session() as device:
        parts = helpers.make_budgeted_parts(config, device)
        runs = Runs(config, parts, folder=place, log=logging.getLogger("readouts"))
        compute = budget_compute(config, parts.inputs)
        record = path_record(config, (short, 1 - short), factors=(1.0, 1.0), compute=compute, inputs=parts.inputs)
        start = ""
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
        cooled = cool_down(config, runs, parts.inputs, start)
        runs.train_plan(record, "run", begin=start)
        end = load_checkpoint(place / "run" / "current.pth")[0]["network"]
        return Checkpoint(short, rate, seed, *(runs.read_out(weights).loss for weights in (raw, average, cooled, end)))


def cool_down(config: RunConfig, runs: Runs, inputs: Sequence[InputSteps], start: str) -> Weights:
    """Return the weights of a checkpoint after a cool-down at the goal, from where the rate stands there."""
    goal = inputs[-1]
    steps = round(COOL_DOWN * budget_compute(config, inputs) / goal.compute)
    state = config.state_config(State(len(inputs) - 1, 0), epochs=1)
    rate = (1 - AT) * state.base_learning_rate
    record = config.with_states([replace(state, base_learning_rate=rate, epochs=steps / goal.per_epoch)])
    run = runs.train_slice(Slice("cool-down", record, 0, len(inputs) - 1, ()), start)
    run.train(Stop(steps, steps - 1, COOL_DOWN, ()))
    run.close()
    return run.trainer.learner.network.state_dict()


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> float:
    """Return Spearman's coefficient; values are all different."""
    ranks = [np.argsort(np.argsort(values)).tolist() for values in (first, second)]
    return statistics.correlation(*ranks)


def main() -> None:
    """Measure what is left, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("output/readouts"), help="folder (output/readouts)")
    options = parser.parse_args()
    file = LineFile(options.output / "checkpoints.jsonl", anew="move it away; finished runs are not trained again")
    for case in CASES[len(file.lines) :]:
        file.append(asdict(measure(*case, folder=options.output)))
    found = [Checkpoint(**line) for line in file.lines]
    print("| short | rate / BEST | seed | raw | average | cool-down | at the end |\n|---|---|---|---|---|---|---|")
    for each in found:
        losses = " | ".join(f"{loss:.3f}" for loss in (each.raw, each.average, each.cooled, each.worth))
        print(f"| {each.short:g} | {each.rate:g} | {each.seed} | {losses} |")
    for title, chosen in (("one rate", [each for each in found if each.rate == 1]), ("all", found)):
        worths = [each.worth for each in chosen]
        said = (
            f"{key} {rank_correlation([getattr(each, key) for each in chosen], worths):.2f}"
            for key in ("raw", "average", "cooled")
        )
        print(f"rank correlation with the loss at the end, {title}: {', '.join(said)}")


if __name__ == "__main__":
    run_script(main)
