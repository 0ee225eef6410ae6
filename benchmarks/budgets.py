r"""Does planning a budget pay off? Schedules of equal compute whose configured rate is right, or off by a factor of 4.

The data set is `python -m dataset.synthetic` with heavy noise; the records are record/plan-hard-sparse.yml, whose first
input costs a 4.5th of the goal's, and record/plan-hard-dense.yml, whose first input costs as much as the goal's. The
budget C is the record's: 6,300 clips of the goal, 1,050 steps. Compute is frames x pixels of the clips trained on; a
clip that is only scored counts a third; the test videos are not counted. Every schedule has one linear envelope unless
it says otherwise. For every seed, with the configured rate BEST / 4, BEST and 4 BEST:

  linear      all at the goal
  budgeted    search.policy budgeted, planning included: everything is paid from C
  cosine      all at the goal

and at BEST alone

  budgeted, dense      the same on the dense record: the cost of planning where it should reject the short input
  a quarter short      a quarter of the compute at the short input, then the goal
  steps                all at the goal, the rate x 0.1 from half of the compute on, x 0.01 from three quarters on
  five peaks, a fifth  BEST times 1/4, 1/2, 1, 2, 4 at C / 5 each, the best of them: equal total compute
  five peaks in full   the same at C each: five times the compute
  the paper's search   its graph of these two inputs and rates of BEST, a tenth and a hundredth, one epoch beyond a knee
                       and three at most per transition, so that a path costs about C; exploration comes on top

The best of five peaks is chosen on the test videos, which favors them. Score: top-1 of one clip (center crop) of 1,200
test videos. Runs with the same seed start from the same weights; intervals are Student's t over seeds, for differences
over paired seeds. Finished runs are not repeated: interrupt it at any time, and add seeds later.

    OMP_NUM_THREADS=1 python benchmarks/budgets.py --seeds 0 1 2 3 --output output/budgets

Figure and table are written to the output folder; a seed counts once all of its runs are finished. Parts and larger
budgets: `--runs NAME ...` trains and compares these rows only, `--times 4` multiplies the budget by four, `--noise 400`
adds heavier noise, which keeps a longer training from saturating.

Written before the first run. Primary comparison: budgeted less linear at equal total compute, at 4 BEST and at BEST /
4; targets +10 points at both, at BEST at most 1 point or the interval behind, and not behind five peaks in full at a
fifth of their compute. Predictions, points: linear 83 at BEST, 69 at BEST / 4, 79 at 4 BEST; budgeted less linear 0 at
4 BEST, +9 at BEST / 4, -5 at BEST (a quarter of C goes into planning, on the steep part of the curve); five peaks, a
fifth: 35 below linear at BEST; five peaks in full: 1 above it; a quarter short: +1; cosine and steps: within 2 of
linear; dense: 5 below linear, all at the goal. While the data set was chosen, one seed of linear gave 78.7, 83.8, 81.0,
78.9 and 69.1 at 0.005, 0.01, 0.02, 0.04 and 0.08.

The planner was changed twice because of these results. Its short runs had 30 steps, in which little or nothing is
learned, and it planned on their noise: 80.8, 86.2 and 61.2 at BEST / 4, 85.6, 78.1 and 61.2 at BEST, 85.6, 78.1 and
74.0 at 4 BEST (seeds 0, 1, 2; the very first version 32.8). Since then they have 60 steps, and a budget as small as
this one has no pilots, so that the plan is all at the goal. Prediction for this version, points minus linear: +14 at
BEST / 4, -3 at BEST, 0 at 4 BEST. Losses of runs of 60 steps of seeds 0, 2 and 3 had been seen before; seeds from 4 on
are unseen.

A budget with pilots (`--times 4 --noise 400 --runs "linear x0.25" "linear x1" "a quarter short" "budgeted x0.25"
"budgeted x1" "budgeted, dense"`), written before its first run, nothing of it tuned: linear x1 75, linear x0.25 12
below it, a quarter short +2; budgeted less linear +10 at BEST / 4 and -1 at BEST, on the dense record -2 and all at the
goal, on the sparse one with the short input first in at least half of the plans. The paper's search (seeds 0 to 2, 1
C): 55 at 5 C.
"""

import math
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from matplotlib.figure import Figure

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import helpers
from benchmarks.measuring import Parser, describe_machine
from dataset.build import read_training_list
from dataset.synthetic.make import make_synthetic
from utils.cli import run_script
from utils.config import RunConfig, StateConfig, load_config
from utils.figures.style import BLUE, GREEN, INK, MUTED, ORANGE, PURPLE, save_figure, style_axes
from utils.jsonl import LineFile
from utils.planning.graph import State
from utils.sealed import read_sealed_json
from utils.search.budgeted import plan_budget
from utils.search.result import SEARCH_JSON
from utils.search.run import search_path
from utils.training.epoch_lines import read_epochs

NOISE = 250.0  # gray levels: sprites are hardly visible in one frame
BEST = 0.01  # best peak of linear at the goal among 0.005, 0.01, 0.02, 0.04, 0.08; seed 0, while choosing the data set
SPARSE, DENSE = (Path(f"record/plan-hard-{name}.yml") for name in ("sparse", "dense"))
RATES = (0.25, 1.0, 4.0)  # factors of BEST
FIVE = (0.25, 0.5, 1.0, 2.0, 4.0)
QUARTER, FIFTH = 0.25, 0.2
PAPER = "the paper's search"
RELEASED = (
    "search.policy=released",
    "search.budget={}",
    "search.peaks=[]",
    "search.graph=extended",
    "search.lr_factors=[1.0,0.1,0.01]",
    "search.attempt_epochs=1",
    "search.max_epochs=3",
    "optimizer.envelope=none",
    "optimizer.envelope_warmup=0",
)
# 97.5% quantiles of Student's t for 1, 2, ... degrees of freedom.
T = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145)


@dataclass(frozen=True)
class Result:
    """The result of a run.

    Attributes:
        run: Name of the run.
        seed: Seed of the run.
        top1: Top-1 of the test videos, percent.
        compute: Total compute as a fraction of C.
        seconds: Wall-clock time, whether the machine was idle or not.
        plan: For a budgeted run, the fractions of the inputs, and the factor of the configured rate at the goal.
    """

    run: str
    seed: int
    top1: float
    compute: float
    seconds: float
    plan: str = ""


@dataclass(frozen=True)
class Setting:
    """Settings shared by all runs.

    Attributes:
        folder: Folder of runs and results.
        times: Factor of the records' budget.
        noise: Noise of the videos, gray levels.
    """

    folder: Path
    times: float = 1.0
    noise: float = NOISE

    @property
    def root(self) -> str:
        """The folder of the videos."""
        return "data/hard" if self.noise == NOISE else f"data/hard-{self.noise:g}"

    def make_videos(self) -> None:
        """Make the videos, unless they exist."""
        make_synthetic(self.root, num_train=2400, num_test=1200, size=48, noise=self.noise, format="LMDB_SET", seed=7)

    def load(self, record: Path, name: str, *, seed: int, rate: float, overrides: Sequence[str] = ()) -> RunConfig:
        """Return the configuration of a run, with its own folder; `rate` is a factor of BEST."""
        frames = load_config(record).search.budget.frames
        ours = [f"optimizer.base_learning_rate={BEST * rate:g}", f"optimizer.seed={seed}"]
        if self.times != 1:
            ours += [f"search.budget={{frames: {frames * self.times:g}}}"]
        if self.noise != NOISE:
            ours += [f"dataset.{key}root_path={self.root}" for key in ("", "eva_")]
            lists = {"list_file": "train_list", "eva_list_file": "test_list"}
            ours += [f"dataset.{key}={self.root}/{name}.txt" for key, name in lists.items()]
        config = load_config(record, [*ours, *overrides])
        place = "".join(letter if letter.isalnum() else "-" for letter in name)
        logs = replace(config.logging, output_dir=str(self.folder), save_freq=0)
        return replace(config, name=f"{place}-seed{seed}", logging=logs)


Run = Callable[[str, int, Setting], Result]


def fixed(*, rate: float, envelope: str = "linear", share: float = 1.0, short: float = 0.0) -> Run:
    """Return a run of a fixed path.

    Args:
        rate: Learning rate, as a factor of BEST.
        envelope: Shape of the rate over the path.
        share: Fraction of C that the run spends.
        short: Fraction of the run's compute at the short input.
    """

    def train(name: str, seed: int, setting: Setting) -> Result:
        search = setting.load(SPARSE, name, seed=seed, rate=rate)
        record = search.with_states(_states(search, share=share, short=short))
        record = replace(record, optimizer=replace(record.optimizer, envelope=envelope))
        started = time.perf_counter()
        helpers.train(record, force=False)
        top1 = float(read_epochs(record.run_dir)[-1]["eval_top1"])
        return Result(name, seed, top1, share, time.perf_counter() - started)

    return train


def budgeted(record: Path, *, rate: float) -> Run:
    """Return a run that plans its budget; `rate` is a factor of BEST."""

    def train(name: str, seed: int, setting: Setting) -> Result:
        config = setting.load(record, name, seed=seed, rate=rate)
        started = time.perf_counter()
        plan_budget(config, helpers.make_budgeted_parts, force=False)
        report = read_sealed_json(config.run_dir / SEARCH_JSON)
        compute = sum(report["spent"].values()) / report["budget"]
        shares = " + ".join(f"{share:.3g}" for share in report["plan"]["split"])
        plan = f"{shares} at x{report['plan']['factors'][-1]:.3g}"
        return Result(name, seed, report["test"]["top1"], compute, time.perf_counter() - started, plan)

    return train


def released(name: str, seed: int, setting: Setting) -> Result:
    """Run the paper's search at BEST; exploration counts as compute."""
    config = setting.load(SPARSE, name, seed=seed, rate=1.0, overrides=RELEASED)
    started, goal = time.perf_counter(), config.search.inputs[-1]
    search_path(config, helpers.make_search_parts, force=False)
    report = read_sealed_json(config.run_dir / SEARCH_JSON)
    pixels = [each.pixels_per_clip for each in config.search.inputs]
    trained = sum(edge["clips"] * pixels[int(edge["end"].strip("()").split(",")[0])] for edge in report["edges"])
    scored = report["ledger"]["search"]["scored_clips"] * goal.pixels_per_clip / 3
    budget = load_config(SPARSE).search.budget.frames * setting.times * goal.crop_size**2
    plan = f"{report['ledger']['path']['frames'] / report['ledger']['search']['frames']:.0%} of it the path"
    seconds = time.perf_counter() - started
    return Result(name, seed, report["test"]["top1"], (trained + scored) / budget, seconds, plan)


def _states(search: RunConfig, *, share: float, short: float) -> list[StateConfig]:
    """Return the states that spend the fraction `share` of the budget, `short` of that at the first input."""
    videos, goal = len(read_training_list(search)), len(search.search.inputs) - 1
    states = []
    for number, fraction in ((0, short), (goal, 1 - short)):
        state = search.state_config(State(number, 0), epochs=1)
        pixels = search.search.budget.frames * search.search.inputs[-1].crop_size ** 2
        epochs = fraction * share * pixels / state.pixels_per_clip / videos
        states += [replace(state, epochs=epochs)] if fraction else []
    return states


RUNS: dict[str, Run] = {
    **{f"linear x{rate:g}": fixed(rate=rate) for rate in RATES},
    **{f"budgeted x{rate:g}": budgeted(SPARSE, rate=rate) for rate in RATES},
    "budgeted, dense": budgeted(DENSE, rate=1.0),
    "a quarter short": fixed(rate=1.0, short=QUARTER),
    **{f"fifth x{rate:g}": fixed(rate=rate, share=FIFTH) for rate in FIVE},
    **{f"linear x{rate:g}": fixed(rate=rate) for rate in FIVE if rate not in RATES},
    **{f"cosine x{rate:g}": fixed(rate=rate, envelope="cosine") for rate in RATES},
    "steps": fixed(rate=1.0, envelope="steps"),
    PAPER: released,
}
TICKS = (0.2, 0.5, 1, 2, 5)  # of the compute axis
COLORS = {"linear": BLUE, "budgeted": ORANGE, "cosine": GREEN}
# Rows of the table that are the best of several runs.
BEST_OF = {
    "five peaks, a fifth each": tuple(f"fifth x{rate:g}" for rate in FIVE),
    "five peaks in full": tuple(f"linear x{rate:g}" for rate in FIVE),
}
# Rows, and the run that each is compared with.
ROWS = {
    **{f"linear x{rate:g}": f"linear x{rate:g}" for rate in RATES},
    **{f"budgeted x{rate:g}": f"linear x{rate:g}" for rate in RATES},
    **{f"cosine x{rate:g}": f"linear x{rate:g}" for rate in RATES},
    **dict.fromkeys(("budgeted, dense", "a quarter short", "steps", *BEST_OF, PAPER), "linear x1"),
}


def train_seeds(seeds: Sequence[int], setting: Setting, *, names: Sequence[str]) -> list[Result]:
    """Train the runs that are not finished yet; return all finished results."""
    file = LineFile(setting.folder / "results.jsonl", remedy="move it away; finished runs are not trained again")
    done = {(line["run"], line["seed"]) for line in file.lines}
    for seed in seeds:
        for name in names:
            if (name, seed) not in done:
                file.append(asdict(RUNS[name](name, seed, setting)))
    return [Result(**line) for line in file.lines]


def collect(results: Sequence[Result], names: Sequence[str]) -> dict[str, dict[int, Result]]:
    """Return the results of every row by seed, for the seeds that have finished all of these runs."""
    by_run: dict[str, dict[int, Result]] = {name: {} for name in names}
    for result in results:
        if result.run in by_run:
            by_run[result.run][result.seed] = result
    complete = sorted(set.intersection(*(set(found) for found in by_run.values())))
    rows = {name: {seed: by_run[name][seed] for seed in complete} for name in names}
    for name, parts in BEST_OF.items():
        if set(parts) <= set(names):
            rows[name] = {
                seed: replace(
                    max((rows[part][seed] for part in parts), key=lambda result: result.top1),
                    compute=sum(rows[part][seed].compute for part in parts),
                    seconds=sum(rows[part][seed].seconds for part in parts),
                )
                for seed in complete
            }
    return rows


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Return the mean and the half width of its 95% interval, NaN for a single value."""
    if len(values) < 2:
        return values[0], math.nan
    half = T[len(values) - 2] * statistics.stdev(values) / math.sqrt(len(values))
    return statistics.mean(values), half


def render_table(rows: dict[str, dict[int, Result]]) -> list[str]:
    """Return the lines of a Markdown table."""
    lines = [
        "| schedule | compute / C | top-1, % | minus linear at the same rate, points | seconds | plans |",
        "|---|---|---|---|---|---|",
    ]
    for name, base in ROWS.items():
        found = rows.get(name)
        if not found:
            continue
        mean, half = interval([result.top1 for result in found.values()])
        compared = ""
        if name != base and base in rows:
            gain, spread = interval([result.top1 - rows[base][seed].top1 for seed, result in found.items()])
            compared = f"{gain:+.1f} ± {spread:.1f}"
        compute, seconds = (
            statistics.mean(getattr(result, key) for result in found.values()) for key in ("compute", "seconds")
        )
        plans = "; ".join(result.plan for result in found.values() if result.plan)
        lines.append(f"| {name} | {compute:.2f} | {mean:.1f} ± {half:.1f} | {compared} | {seconds:.0f} | {plans} |")
    return lines


def draw(rows: dict[str, dict[int, Result]], target: Path) -> None:
    """Draw the top-1 of every schedule with its interval, and beside it top-1 against total compute."""
    figure = Figure(figsize=(11, 4.8), layout="constrained")
    by_name, by_cost = figure.subplots(1, 2, sharex=False, width_ratios=(1.3, 1))
    shown = [name for name in ROWS if rows.get(name)]
    for number, name in enumerate(shown):
        found = list(rows[name].values())
        mean, half = interval([result.top1 for result in found])
        color = COLORS.get(name.split(" ")[0].rstrip(","), PURPLE)
        by_name.errorbar(mean, number, xerr=half, fmt="o", color=color, capsize=3, markersize=5)
        by_name.plot(
            [result.top1 for result in found], [number] * len(found), ".", color=color, markersize=3, alpha=0.5
        )
        cost = statistics.mean(result.compute for result in found)
        by_cost.errorbar(cost, mean, yerr=half, fmt="o", color=color, capsize=3, markersize=5)
        if not math.isclose(cost, 1, rel_tol=0.02):
            by_cost.annotate(name, (cost, mean), (5, -11), textcoords="offset points", fontsize=7, color=MUTED)
    line = [rows[name].values() for name in ("fifth x1", "linear x1") if rows.get(name)]
    costs = [statistics.mean(result.compute for result in found) for found in line]
    by_cost.plot(costs, [statistics.mean(result.top1 for result in found) for found in line], color=BLUE, linewidth=1)
    by_cost.set_xscale("log")
    by_cost.minorticks_off()
    by_cost.set_xticks(TICKS, [f"{tick:g}" for tick in TICKS])
    by_cost.set_xlabel("total compute, including planning, C", color=MUTED)
    by_cost.set_ylabel("top-1, %", color=MUTED)
    by_name.set_yticks(range(len(shown)), shown)
    by_name.invert_yaxis()
    by_name.set_xlabel("top-1 of 1,200 test videos, %", color=MUTED)
    for axes in (by_name, by_cost):
        style_axes(axes)
    title = f"Schedules of a budget C: {len(rows[shown[0]])} paired seeds, 95% intervals"
    by_name.set_title(title, loc="left", color=INK, fontsize=11)
    save_figure(figure, target)


def main() -> None:
    """Train unfinished runs; print the table and draw the figure of the complete seeds."""
    parser = Parser(__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="seeds to run, in this order (0 1 2)")
    parser.add_argument("--output", type=Path, default=Path("output/budgets"), help="folder (output/budgets)")
    parser.add_argument("--runs", nargs="+", default=list(RUNS), choices=RUNS, metavar="NAME", help=", ".join(RUNS))
    parser.add_number("--times", 1.0, "factor of the records' budget")
    parser.add_number("--noise", NOISE, "noise of the videos, gray levels")
    options = parser.parse_args()
    setting = Setting(options.output, options.times, options.noise)
    setting.make_videos()
    rows = collect(train_seeds(options.seeds, setting, names=options.runs), options.runs)
    seeds = len(next(iter(rows.values())))
    if not seeds:
        return
    lines = [describe_machine(), f"{seeds} seeds; mean ± 95% interval", "", *render_table(rows)]
    (options.output / "table.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    draw(rows, options.output / "budgets.png")
    print("\n".join(lines))


if __name__ == "__main__":
    run_script(main)
