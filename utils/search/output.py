"""Write the result files of a search, for people and programs. No torch."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from utils.config import RunConfig
from utils.config.load import own_sections
from utils.config.record import render_record
from utils.figures.style import save_figure
from utils.files import write_text_atomically
from utils.jsonl import write_lines
from utils.planning.search import Plan
from utils.sealed import write_sealed_json
from utils.search.events import History, write_event
from utils.search.page.drawings import edges_figure, graph_figure
from utils.search.page.page import render_page
from utils.search.result import (
    CURVES_PICTURE,
    GRAPH_PICTURE,
    SEARCH_JSON,
    SEARCH_PAGE,
    SearchResult,
    Subject,
    build_result,
    path_record_name,
    plan_record,
)
from utils.training.epoch_lines import EPOCHS_FILE


def record_path(config: RunConfig) -> Path:
    """Return the path of the record that a search writes."""
    return config.run_dir / f"{path_record_name(config)}.yml"


def is_finished(config: RunConfig, history: History) -> bool:
    """Return whether a search has written all its files."""
    files = [config.run_dir / name for name in (SEARCH_JSON, SEARCH_PAGE, GRAPH_PICTURE, CURVES_PICTURE)]
    return history.has_ended and all(path.exists() for path in (*files, config.weights_path, record_path(config)))


def write_progress(config: RunConfig, history: History, *, subject: Subject) -> None:
    """Write search.json and search.html of a search that is running."""
    _write_result(config, build_result(config, history, plan=None, subject=subject))


def write_plan(config: RunConfig, history: History, *, plan: Plan, subject: Subject) -> None:
    """Write everything a finished search says: the record of the path, its epochs, search.json, page and pictures."""
    result = build_result(config, history, plan=plan, subject=subject)
    if plan.trained_steps:
        write_path_record(config, plan_record(config, plan), comments=_describe_path(config, plan, result=result))
        write_lines(config.run_dir / EPOCHS_FILE, path_epochs(history, plan))
    save_figure(graph_figure(result), config.run_dir / GRAPH_PICTURE)
    save_figure(edges_figure(result), config.run_dir / CURVES_PICTURE)
    _write_result(config, result)


def _write_result(config: RunConfig, result: SearchResult) -> None:
    write_sealed_json(config.run_dir / SEARCH_JSON, result.to_json())
    write_text_atomically(config.run_dir / SEARCH_PAGE, render_page(result))


def write_path_record(config: RunConfig, record: RunConfig, *, comments: Sequence[str]) -> None:
    """Write the record of a path in the form of record/op-*.yml."""
    sections = own_sections(record)
    del sections["search"]
    write_text_atomically(record_path(config), render_record(sections, base=config.base, comments=comments))


def _describe_path(config: RunConfig, plan: Plan, *, result: SearchResult) -> list[str]:
    comments = [
        f"The path that train_3d_op.py planned from {config.name}: score {plan.score:.2f} "
        f"({config.search.metric}, 1 clip, center crop, fitted at the knee).",
        f"{result.selection.text}.",
    ]
    if result.skipped_states:
        comments.append(f"Passed through without training: {', '.join(map(str, result.skipped_states))}.")
    return comments


def path_epochs(history: History, plan: Plan) -> list[dict[str, Any]]:
    """Return the epochs of a path as lines of log.jsonl, as if train_3d.py had trained its record."""
    lines: list[dict[str, Any]] = []
    for index, step in enumerate(plan.trained_steps):
        for point in history.curve(step.transition)[1 : step.outcome.epochs + 1]:
            kept = {key: value for key, value in write_event(point).items() if key not in ("event", "edge", "score")}
            lines.append({"state": index, **kept, "total_epoch": len(lines) + 1})
    return lines
