"""Run a path search: from the state of its journal to the plan, its weights and its reports."""

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from utils import distributed
from utils.config import RunConfig
from utils.errors import UserError
from utils.planning.graph import Graph
from utils.planning.search import Plan, search
from utils.search.dispatch import is_coordinator, open_dispatcher
from utils.search.events import Decision, End, EpochScore, FinalScore, History, read_history
from utils.search.explore import Explorer
from utils.search.jobs import Work
from utils.search.journal import SearchJournal
from utils.search.output import is_finished, record_path, write_plan, write_progress
from utils.search.progress import describe_event
from utils.search.result import (
    JOURNAL_FILE,
    SEARCH_FOLDER,
    SEARCH_PAGE,
    Subject,
    describe_input,
    plan_record,
)
from utils.search.setup import SearchParts, identify_search
from utils.search.transition import train_transition
from utils.search.weights import WeightFolder, Weights
from utils.training.checkpoint import CLASS_NAMES, Position, save_checkpoint
from utils.training.run import open_run
from utils.training.run_folder import save_config


def search_path(
    config: RunConfig, make_parts: Callable[[RunConfig, torch.device], SearchParts], *, force: bool
) -> None:
    """Run a search, or continue it from its journal, and write the results.

    Args:
        config: The search record.
        make_parts: Returns the parts of the search, given the record and a device.
        force: Whether to move an earlier search aside and start over.
    """
    if not is_coordinator(config):
        return
    work = Work(config, make_parts, train_transition, identify_search)
    with distributed.session() as device:
        parts = make_parts(config, device)
        with open_run(config, "search", force=force) as log:
            identity = identify_search(config, parts)
            journal = open_journal(config.run_dir / SEARCH_FOLDER / JOURNAL_FILE, identity, graph=config.graph)
            distributed.decide_on_main(lambda: save_config(config))
            _search_on(work, parts, journal, identity=identity, log=log)


def _search_on(
    work: Work, parts: SearchParts, journal: SearchJournal[History], *, identity: dict[str, Any], log: logging.Logger
) -> None:
    config, folder = work.config, work.config.run_dir / SEARCH_FOLDER
    if distributed.decide_on_main(lambda: is_finished(config, journal.history)):
        log.info(f"the search is complete: {config.run_dir / SEARCH_PAGE}")
        return
    subject = Subject(parts.describe_network(parts.make_network(None)), parts.selection, parts.multiply_adds())
    log.info(f"{config.name}: {subject.network}, {parts.describe_device()}; {subject.selection.text}")
    weights = WeightFolder(folder, config.graph, identity=identity, say=log.info)

    def note(event: EpochScore | Decision) -> None:
        journal.append(event)
        if text := describe_event(config, journal.history, event):
            log.info(text)
        distributed.decide_on_main(lambda: write_progress(config, journal.history, subject=subject))

    plan = explore_graph(work, parts, history=journal.history, weights=weights, note=note, log=log)
    if plan.trained_steps:
        finish_path(config, plan_record(config, plan), weights.read(plan.steps), parts=parts, journal=journal)
    distributed.decide_on_main(lambda: write_plan(config, journal.history, plan=plan, subject=subject))
    _report(config, plan, log=log)
    journal.append(End())


def open_journal(path: Path, identity: Mapping[str, Any], *, graph: Graph) -> SearchJournal[History]:
    """Open the journal of a search of a graph, or create it."""
    return SearchJournal(path, identity, read=lambda lines, source: read_history(lines, graph, source=source, first=2))


def explore_graph(
    work: Work,
    parts: SearchParts,
    *,
    history: History,
    weights: WeightFolder,
    note: Callable[[EpochScore | Decision], None],
    log: logging.Logger,
) -> Plan:
    """Explore all transitions that are not decided in the history, and return the plan; `note` adds to the history."""
    config = work.config
    weights.keep_initial(lambda: parts.make_network(None), begins=not history.has_begun)
    with open_dispatcher(work, parts, workers=config.search.workers, note=note, log=log) as dispatcher:
        explore = Explorer(config, history, weights, dispatcher=dispatcher, note=note)
        return search(config.graph, explore, arrive=explore.arrive)


def finish_path(
    config: RunConfig, record: RunConfig, weights: Weights, *, parts: SearchParts, journal: SearchJournal[Any]
) -> None:
    """Write the weights at the end of a path as the result of the search, and evaluate them once.

    Args:
        config: The search record.
        record: The record of the path.
        weights: The weights.
        parts: The parts of the search.
        journal: Receives the score on the evaluation list, unless it has one.
    """
    about = {"config": record.to_dict(), "list_sha256": parts.training.sha256, CLASS_NAMES: list(parts.class_names)}
    content, position = {"network": weights, **about}, Position(state=len(record.states))
    distributed.decide_on_main(lambda: save_checkpoint(config.weights_path, content, position=position))
    if journal.history.test is None:
        score = parts.make_tester(parts.make_network(weights)).evaluate()
        journal.append(FinalScore(config.dataset.eva_list_file, **vars(score)))


def _report(config: RunConfig, plan: Plan, *, log: logging.Logger) -> None:
    """Log the path.

    Raises:
        UserError: The path trains no epoch.
    """
    if not plan.trained_steps:
        raise UserError(
            f"{config.name}: no transition improved on the weights it started from, so there is no path to train; "
            f"{config.run_dir / SEARCH_PAGE} shows every curve; other learning rates may help"
        )
    for step in plan.trained_steps:
        state = config.state_config(step.transition.end, epochs=step.outcome.epochs)
        setting = f"{describe_input(state)}, rate {state.base_learning_rate:g}"
        log.info(f"{step.transition.end}  {state.epochs:3} epochs  {setting}, score {step.outcome.score:.2f}")
    log.info(f"path: {record_path(config)}; page: {config.run_dir / SEARCH_PAGE}")
