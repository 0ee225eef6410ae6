"""Merge the scores of a record into its result. No torch."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from utils.config import RunConfig
from utils.evaluation.protocol import read_history
from utils.evaluation.provenance import (
    EvaluationError,
    EvaluationList,
    checkpoint_sha256,
    make_manifest,
    scores_folder,
)
from utils.evaluation.result import (
    CONFUSION_PICTURE,
    PREDICTIONS,
    RESULT_FILES,
    RESULT_JSON,
    RESULT_PAGE,
    RESULT_TEXT,
    build_result,
    render_summary,
    render_text,
)
from utils.evaluation.score_index import ScoreIndex, index_scores
from utils.evaluation.scores import Manifest, ScoresError, read_manifest, require_same
from utils.evaluation.top_classes import TopClasses, find_top_classes, join_top_classes, render_predictions
from utils.files import move_to_earlier, write_text_atomically
from utils.lock import lock_folder
from utils.metrics import Metrics, ViewMetrics
from utils.parts import METRICS
from utils.sealed import read_sealed_json, write_sealed_json
from utils.text import printable, say


def merge_scores(
    config: RunConfig,
    videos: EvaluationList,
    *,
    class_names: Sequence[str],
    draw: Callable[[dict[str, Any], Metrics, TopClasses], None],
    extracted_by: str,
    force: bool,
) -> None:
    """Check the scores of a record, compute its metrics and write its result.

    Args:
        config: The record.
        videos: Its evaluation list.
        class_names: Class names in the order of the logits.
        draw: Writes the pictures and the page of the result.
        extracted_by: The command that extracts the scores, for messages.
        force: Merge again even if there is a result of these scores.

    Raises:
        UserError: There are no scores, they are of another evaluation or incomplete, or a file cannot be read or
            written.
    """
    manifest = _read_own_manifest(config, videos, extracted_by=extracted_by)
    with lock_folder(config.run_dir):
        index = index_scores(scores_folder(config), manifest)
        index.require_complete(completed_by=extracted_by)
        if not force and (summary := _read_summary(config.run_dir, index.digest)):
            say(f"{config.run_dir / RESULT_TEXT} is the result of these scores (--force merges again)", summary)
            return
        metrics, top_classes, missing = _count(config, index, videos, extracted_by=extracted_by)
        history = read_history(config)
        result = build_result(
            config, videos, index=index, metrics=metrics, missing=missing, class_names=class_names, history=history
        )
        predictions = render_predictions(top_classes, path_of=videos.path_of, class_names=class_names)
        _write_result(config, result, predictions=predictions, draw=lambda: draw(result, metrics, top_classes))


def _write_result(config: RunConfig, result: dict[str, Any], *, predictions: str, draw: Callable[[], None]) -> None:
    """Write the files of a result; result.json comes last and so implies that the others exist."""
    if (earlier := move_to_earlier(config.run_dir, RESULT_FILES)) is not None:
        say(f"moved the earlier result to {earlier}")
    write_text_atomically(config.run_dir / PREDICTIONS, predictions)
    draw()
    write_text_atomically(config.run_dir / RESULT_TEXT, printable(render_text(result, config.to_yaml())))
    write_sealed_json(config.run_dir / RESULT_JSON, result)
    say(render_summary(result), f"result: {config.run_dir / RESULT_TEXT}")


def _read_own_manifest(config: RunConfig, videos: EvaluationList, *, extracted_by: str) -> Manifest:
    """Read the manifest of the record's scores, and check that they are those of this configuration."""
    folder = scores_folder(config)
    found = read_manifest(folder)
    if found is None:
        raise EvaluationError(f"there are no scores in {folder}; extract them with: {extracted_by}")
    is_there = config.eva_model.is_file()  # weights may be deleted after the extraction
    expected = make_manifest(
        config,
        videos,
        checkpoint_sha256=checkpoint_sha256(config, trained_by="") if is_there else found.checkpoint_sha256,
        precision=found.precision,
    )
    require_same(folder, found, expected)
    return dataclasses.replace(expected, versions=found.versions, root_path=found.root_path)


def _count(
    config: RunConfig, index: ScoreIndex, videos: EvaluationList, *, extracted_by: str
) -> tuple[Metrics, TopClasses, dict[int, str]]:
    """Return the accuracies over the scored videos, their best classes, and the reasons of missing videos.

    Raises:
        ScoresError: Logits are NaN or infinite and dataset.on_error is raise, or all videos are missing.
    """
    missing = dict(index.missing)

    def leave_out(video: int, problem: str) -> None:
        cause = f"{videos.path_of(video)}: {problem}"
        if config.dataset.on_error != "skip":
            raise ScoresError(
                f"{cause}; score these videos again with: {extracted_by}, or set dataset.on_error=skip to count them "
                "as missing"
            )
        missing[video] = cause

    blocks: list[TopClasses] = []
    counts = ViewMetrics(index.manifest.num_classes)
    for numbers, logits in index.blocks(on_broken=leave_out):
        labels = videos.labels[numbers]
        blocks.append(find_top_classes(numbers, labels, counts.add(logits, labels)))
    if len(missing) == len(videos):
        raise ScoresError(f"no video could be scored, all {len(missing)} are missing: {next(iter(missing.values()))}")
    return counts.result(), join_top_classes(blocks), dict(sorted(missing.items()))


def _read_summary(run_dir: Path, digest: str) -> str:
    """Return the summary of the existing result; "" unless it is complete, of these scores and has all metrics."""
    try:
        result = read_sealed_json(run_dir / RESULT_JSON)
        files = (RESULT_TEXT, RESULT_PAGE, PREDICTIONS, CONFUSION_PICTURE)
        is_complete = all((run_dir / name).exists() for name in files)
        is_complete &= METRICS.keys() <= result["metrics"]["video"].keys()
        return render_summary(result) if is_complete and result["scores_digest"] == digest else ""
    except (ValueError, KeyError, TypeError):
        return ""
