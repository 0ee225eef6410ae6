r"""Is the planned path worth it? Compare schedules of equal length over several seeds, on the test list of a search.

After the search of a record (train_3d_op.py) this trains, for every seed, as many clips as the planned path has:

  planned        the record of the path, from the start, on the whole training list
  cosine         one state at the highest rate, for each input: warm-up of an epoch, then cosine to zero
  by hand        a hand-written short-to-long path with steps of the rate, its epochs scaled
  random path    a random walk through the graph to its goal, with randomly divided epochs, different for each seed

and, at the compute (frames x pixels) of the longest input for the same number of epochs, with one envelope:

  linear         one state at the longest input: a linear decay to zero, the baseline of budgets
  quarter short  a quarter of the compute at the first input, the rest at the longest, under the same envelope

then extracts and merges, and prints mean, smallest and largest top-1. Every run is evaluated with the clip of its last
state. Finished runs are not repeated: interrupt it at any time.

    python train_3d_op.py --config_file record/search-synthetic-dg-p3d-resnet18.yml
    python benchmarks/schedules.py --config_file record/search-synthetic-dg-p3d-resnet18.yml \
        --by_hand record/op-synthetic-dg-p3d-resnet18.yml
"""

import argparse
import random
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import helpers
import merge_score
from benchmarks.measuring import Parser, describe_machine, spread_text
from dataset.build import make_plans, read_training_list
from utils.cli import run_script
from utils.config import ConfigError, RunConfig, StateConfig, load_config
from utils.evaluation.provenance import choose_crops
from utils.evaluation.result import RESULT_JSON
from utils.planning.graph import INITIAL, State
from utils.sealed import read_sealed_json
from utils.search.output import record_path
from utils.search.result import describe_input

QUARTER = 0.25  # fraction of the compute at the short input
WARMUP_EPOCHS = 1.0  # before the cosine, as in the base configs


@dataclass(frozen=True)
class Schedule:
    """A schedule: its name, a description of its states, and a record per seed."""

    name: str
    about: str
    records: Sequence[RunConfig]


def scale_epochs(epochs: Sequence[float], total: int) -> list[int]:
    """Scale epochs to integers that add up to `total`, at least one each.

    Raises:
        ConfigError: There are fewer epochs than states.
    """
    if total < len(epochs):
        raise ConfigError(f"{total} epochs cannot be divided among {len(epochs)} states")
    fractions = [1 + (total - len(epochs)) * count / sum(epochs) for count in epochs]
    scaled = [int(fraction) for fraction in fractions]
    by_remainder = sorted(range(len(epochs)), key=lambda i: scaled[i] - fractions[i])
    for i in by_remainder[: total - sum(scaled)]:
        scaled[i] += 1
    return scaled


def walk_at_random(search: RunConfig, total: int, rng: random.Random) -> list[StateConfig]:
    """Return the states of a random path to the goal, with `total` epochs randomly divided among them."""
    graph = search.graph
    dead = set(graph.dead_ends)
    state, path = INITIAL, list[State]()
    while state != graph.goal:
        ends = [transition.end for transition in graph.outgoing(state) if transition.end not in dead]
        state = rng.choice(ends)
        path.append(state)
    path = path[-total:]  # the last states, if there are fewer epochs than states
    cuts = [0, *sorted(rng.sample(range(1, total), len(path) - 1)), total]
    return [search.state_config(s, epochs=b - a) for s, a, b in zip(path, cuts, cuts[1:], strict=False)]


def make_schedules(search: RunConfig, planned: RunConfig, by_hand: RunConfig | None, seeds: int) -> list[Schedule]:
    """Return all schedules, of the number of clips of the planned path, or of the compute of as many epochs."""
    total = round(planned.epochs_before(len(planned.states)))
    constant = search.with_states(planned.states)
    schedules = [_repeat("planned", constant, planned.states, seeds)]
    for number, chosen in enumerate(search.search.inputs):
        cosine = replace(
            constant,
            optimizer=replace(constant.optimizer, lr_scheduler="cosine", warmup_epoch=min(WARMUP_EPOCHS, total / 2)),
        )
        states = [search.state_config(State(number, 0), epochs=total)]
        schedules.append(_repeat(f"cosine, {describe_input(chosen)}", cosine, states, seeds))
    if by_hand is not None:
        epochs = scale_epochs([state.epochs for state in by_hand.states], total)
        states = [replace(state, epochs=n) for state, n in zip(by_hand.states, epochs, strict=True)]
        schedules.append(_repeat("by hand", constant, states, seeds))
    schedules += _under_one_envelope(search, constant, total, seeds)
    walks = [walk_at_random(search, total, random.Random(seed)) for seed in range(seeds)]
    records = [_seeded(constant, "random path", states, seed) for seed, states in enumerate(walks)]
    schedules.append(Schedule("random path", "different for each seed", records))
    return schedules


def _under_one_envelope(search: RunConfig, constant: RunConfig, total: int, seeds: int) -> list[Schedule]:
    """Return the schedules that decay linearly over the compute of `total` epochs at the longest input."""
    linear = replace(constant, optimizer=replace(constant.optimizer, envelope="linear"))
    short, goal = (search.state_config(State(index, 0), epochs=total) for index in (0, len(search.search.inputs) - 1))
    schedules = [_repeat("linear", linear, [goal], seeds)]
    if short != goal:
        epochs = QUARTER * total * goal.pixels_per_clip / short.pixels_per_clip
        states = [replace(short, epochs=epochs), replace(goal, epochs=(1 - QUARTER) * total)]
        schedules.append(_repeat("quarter short", linear, states, seeds))
    return schedules


def _repeat(name: str, config: RunConfig, states: Sequence[StateConfig], seeds: int) -> Schedule:
    return Schedule(name, describe_states(states), [_seeded(config, name, states, seed) for seed in range(seeds)])


def _seeded(config: RunConfig, name: str, states: Sequence[StateConfig], seed: int) -> RunConfig:
    folder = "".join(letter if letter.isalnum() else "-" for letter in name.replace(",", ""))
    return replace(
        config,
        name=f"{folder}-seed{seed}",
        states=tuple(states),
        optimizer=replace(config.optimizer, seed=seed),
        logging=replace(config.logging, save_freq=0),
    )


def describe_states(states: Sequence[StateConfig]) -> str:
    """Describe states, in order, as 'epochs x (input, rate)'."""
    return "; ".join(f"{s.epochs:g} x ({describe_input(s)}, {s.base_learning_rate:g})" for s in states)


def count_clips(config: RunConfig) -> tuple[int, int]:
    """Return the number of clips and of frames that a record trains on."""
    videos = len(read_training_list(config))
    plans = zip(make_plans(config), config.states, strict=True)
    clips = [round(plan.clips_per_epoch(videos) * state.epochs) for plan, state in plans]
    return sum(clips), sum(count * state.num_frames for count, state in zip(clips, config.states, strict=True))


def run(config: RunConfig) -> tuple[float, float]:
    """Train, extract and merge a record, or its unfinished steps; return video and clip top-1, percent."""
    helpers.train(config, force=False)
    crops = choose_crops(config, None)
    helpers.extract(config, crops=crops, force=False, trained_by="this benchmark", merged_by="this benchmark")
    merge_score.merge(config, extracted_by="this benchmark", force=False)
    metrics = read_sealed_json(config.run_dir / RESULT_JSON)["metrics"]
    return 100 * metrics["video"]["top1"], 100 * metrics["clip"]["top1"]


def render_table(schedules: Sequence[Schedule], results: Sequence[Sequence[tuple[float, float]]]) -> list[str]:
    """Return the lines of a Markdown table; scores are top-1 on the test list, percent."""
    lines = [
        "| schedule | clips | frames | video top-1 | clip top-1 | states: epochs x (input, rate) |",
        "|---|---|---|---|---|---|",
    ]
    for schedule, scores in zip(schedules, results, strict=True):
        counts = [count_clips(config) for config in schedule.records]
        clips, frames = (statistics.mean(column) for column in zip(*counts, strict=True))
        video, clip = (spread_text(column, digits=1, middle=statistics.mean) for column in zip(*scores, strict=True))
        lines.append(f"| {schedule.name} | {clips:,.0f} | {frames:,.0f} | {video} | {clip} | {schedule.about} |")
    return lines


def parse_options() -> argparse.Namespace:
    """Parse the command line."""
    parser = Parser(__doc__)
    parser.add_argument("--config_file", type=Path, required=True, help="search record whose search is finished")
    parser.add_argument("--by_hand", type=Path, help="a record whose states are the hand-written schedule")
    parser.add_number("--seeds", 3, "runs per schedule")
    parser.add_argument("overrides", nargs="*", metavar="section.key=value", help="as for train_3d_op.py")
    return parser.parse_intermixed_args()


def main() -> None:
    """Train unfinished runs and print the table."""
    options = parse_options()
    search = load_config(options.config_file, options.overrides)
    if not search.is_search or not record_path(search).exists():
        raise ConfigError(f"{record_path(search)}: not found; run train_3d_op.py --config_file {options.config_file}")
    folder = str(search.run_dir / "schedules")
    planned = load_config(record_path(search))
    by_hand = load_config(options.by_hand) if options.by_hand else None
    search = replace(search, logging=replace(search.logging, output_dir=folder))
    schedules = make_schedules(search, planned, by_hand, options.seeds)
    results = [[run(config) for config in schedule.records] for schedule in schedules]
    lines = [describe_machine(), f"{options.config_file}, {options.seeds} seeds; mean [smallest..largest]", ""]
    lines += render_table(schedules, results)
    print("\n".join(lines))


if __name__ == "__main__":
    run_script(main)
