"""Search the optimization path of a record: explore its graph of states, plan the best path, write it as a record.

  python train_3d_op.py --config_file record/search-synthetic-dg-p3d-resnet18.yml --dry-run
  python train_3d_op.py --config_file record/search-synthetic-dg-p3d-resnet18.yml
  torchrun --nproc_per_node=4 train_3d_op.py --config_file record/search-kinetics-dg-p3d-resnet50.yml

The section `search:` of the record is the search space; docs/config.md says what each key means. Every transition of
the graph is trained from the best weights of its start state until its curve has its knee; each state keeps its best
way in; the path is read back from the longest input at the lowest rate. Interrupt it whenever you like: the same
command continues to the same plan. A record, training list or graph that was changed since is refused.

Written to output/<record>/: <record>-path.yml (the path as a record that train_3d.py trains), current.pth (the weights
at its end; extract_score_3d.py and merge_score.py take this record), search.html (the page to look at), search.json,
search-graph.png, search-curves.png, config.yml, log.txt, log.jsonl (the epochs of the path) and search/ (the journal).
"""

import functools
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from utils.cli import distributed_parser, run_script
from utils.config import ConfigError, RunConfig, load_config
from utils.config.record import training_values
from utils.text import say

if TYPE_CHECKING:
    import torch

    from dataset.listing import VideoList
    from utils.planning.search import Plan
    from utils.search.explore import EdgeExplorer


def main() -> None:
    """Parse, then search or say what a search would cost."""
    parser = distributed_parser(__doc__)
    parser.add_argument(
        "--dry-run", action="store_true", help="draw the graph and say what the search costs at least and at most"
    )
    arguments = parser.parse_intermixed_args()
    config = load_config(arguments.config_file, arguments.overrides)
    if not config.is_search:
        raise ConfigError(
            f"{arguments.config_file}: search.inputs is empty, so there is nothing to search; see the search records "
            "record/search-*.yml; train_3d.py trains this one as it is"
        )
    if arguments.dry_run:
        say(*describe_search(config))
    else:
        search_path(config, force=arguments.force)


def describe_search(config: RunConfig) -> list[str]:
    """Return the graph and the ranges of what searching it costs; the lists of the data set may be absent."""
    from dataset.build import make_plan, read_search_lists
    from model.build import measure_weights
    from utils.errors import UserError
    from utils.planning.graph import State
    from utils.search.cost import describe_cost, describe_graph

    try:
        training, scoring = read_search_lists(config)
    except UserError as error:
        about, clips, scored = f"without its lists ({error})", None, 0
    else:
        about = _describe_selection(config, training, scoring)["text"]
        inputs = config.with_states(
            [config.state_config(State(i, 0), epochs=1) for i in range(len(config.search.inputs))]
        )
        clips = [make_plan(inputs, i).clips_per_epoch(len(training)) for i in range(len(inputs.states))]
        scored = len(scoring)
    size = measure_weights(config)
    return [
        f"{config.name}: {about}",
        *describe_graph(config),
        *describe_cost(config, clips_per_epoch=clips, scoring_videos=scored, weight_bytes=size),
    ]


def _describe_selection(config: RunConfig, training: "VideoList", scoring: "VideoList") -> dict[str, Any]:
    """Return which videos, in how many groups, train and score the states."""
    from dataset.heldout import count_groups
    from utils.search.result import describe_selection

    groups = count_groups(training, scoring) if config.search.selection == "heldout" else None
    return describe_selection(config, training_videos=len(training), scoring_videos=len(scoring), groups=groups)


def search_path(config: RunConfig, *, force: bool) -> None:
    """Search from wherever the journal stands, then write the result."""
    import helpers  # brings torch: only once the configuration is known to be right
    from dataset.build import read_evaluation_list, read_search_lists
    from model.build import describe_network, make_initial_network
    from utils import distributed
    from utils.logs import open_log
    from utils.planning.search import search
    from utils.search.explore import SearchJournal
    from utils.search.output import is_finished, write_progress
    from utils.search.result import JOURNAL_FILE, SEARCH_FOLDER, SEARCH_PAGE
    from utils.training import run_folder

    with distributed.session() as device:
        training, scoring = read_search_lists(config)
        read_evaluation_list(config)  # it is needed at the end: a mistake in it must show now
        notice = run_folder.open_for_training(config, force=force)
        log = open_log(config.run_dir, "search")
        if notice:
            log.info(notice)
        identity = identify_search(config, training=training, scoring=scoring)
        journal = SearchJournal(config.run_dir / SEARCH_FOLDER / JOURNAL_FILE, identity)
        if distributed.broadcast_object(is_finished(config, journal.events)):
            log.info(f"the search is complete: {config.run_dir / SEARCH_PAGE}")
            return
        network = describe_network(config, make_initial_network(config, trained=None))
        selection = _describe_selection(config, training, scoring)
        about = {"network": network, "selection": selection}
        precision = helpers.choose_precision(config, device)
        log.info(f"{config.name}: {network}, {device.type}, {precision}; {selection['text']}")
        explore = helpers.make_explorer(
            config,
            journal=journal,
            training=training,
            scoring=scoring,
            device=device,
            log=log,
            report=functools.partial(write_progress, config, journal.events, about=about),
        )
        plan = search(config.graph, explore, arrive=explore.arrive)
        if plan.trained_steps:
            _save_weights(config, plan, explore, training)
            _test_once(config, plan, explore, training=training, device=device)
        _report(config, plan, explore, about=about)


def identify_search(config: RunConfig, *, training: "VideoList", scoring: "VideoList") -> dict[str, Any]:
    """Return what a search is a search of: its journal is continued for exactly this."""
    from model.build import WEIGHTS_HINT
    from utils.files import file_sha256
    from utils.search.result import describe_scoring

    weights = f"random, seed {config.optimizer.seed}"
    if config.network.pretrained_model:
        weights = file_sha256(config.require_file("network", "pretrained_model", hint=WEIGHTS_HINT))
    return {
        "graph": [str(transition) for transition in config.graph.exploration_order],
        "training videos": f"{len(training)} of {training.path}, {training.sha256}",
        "scoring videos": f"{len(scoring)} of {scoring.path}, {scoring.sha256}",
        "scoring clips": describe_scoring(config),
        "start weights": weights,
        **training_values(config),
    }


def _save_weights(config: RunConfig, plan: "Plan", explore: "EdgeExplorer", training: "VideoList") -> None:
    """Write the weights at the end of the path as this record's own."""
    from utils import distributed
    from utils.search.result import plan_record
    from utils.training.checkpoint import Position, save_checkpoint

    weights, record = explore.read_weights(plan.steps), plan_record(config, plan)
    if distributed.is_main():
        content = {"network": weights, "config": record.to_dict(), "list_sha256": training.sha256}
        save_checkpoint(config.weights_path, content, position=Position(state=len(record.states)))


def _test_once(
    config: RunConfig, plan: "Plan", explore: "EdgeExplorer", *, training: "VideoList", device: "torch.device"
) -> None:
    """Score the final weights on the evaluation list, one clip a video; the journal keeps the score."""
    import helpers
    from dataset.build import read_evaluation_list
    from model.build import make_initial_network
    from utils.search.events import TEST

    if any(event["event"] == TEST for event in explore.journal.events):
        return
    network = make_initial_network(config, trained={"network": explore.read_weights(plan.steps)})
    test = read_evaluation_list(config)
    goal = helpers.make_state_trainer(
        config,
        0,
        network=network,
        videos=training,
        eva_videos=test,
        device=device,
        eva_state=config.evaluation_state,
    )
    explore.journal.append({"event": TEST, "list": config.dataset.eva_list_file, **asdict(goal.evaluate())})


def _report(config: RunConfig, plan: "Plan", explore: "EdgeExplorer", *, about: dict[str, Any]) -> None:
    """Write the record of the path, the page and the pictures, and say what came out."""
    from utils import distributed
    from utils.errors import UserError
    from utils.search.events import END
    from utils.search.output import record_path, write_plan
    from utils.search.result import SEARCH_PAGE, describe_input

    if distributed.is_main():
        write_plan(config, explore.journal.events, plan, about=about)
    if not plan.trained_steps:
        raise UserError(
            f"{config.name}: no transition improved on the weights it started from, so there is no path to train; "
            f"{config.run_dir / SEARCH_PAGE} shows every curve; other learning rates may help"
        )
    explore.journal.append({"event": END})
    for step in plan.trained_steps:
        state = config.state_config(step.transition.end, epochs=step.outcome.epochs)
        setting = f"{describe_input(asdict(state))}, rate {state.base_learning_rate:g}"
        explore.log.info(f"{step.transition.end}  {state.epochs:3} epochs  {setting}, score {step.outcome.score:.2f}")
    explore.log.info(f"path: {record_path(config)}; page: {config.run_dir / SEARCH_PAGE}")


if __name__ == "__main__":
    run_script(main)
