"""Merge the scores of a record into its result.

  python merge_score.py --config_file record/synthetic-dg-p3d-resnet18.yml

Every (video, clip, crop) must be there exactly once, whatever processes extracted them; videos that could not be read
are counted and named. The headline is video accuracy by the mean of the probabilities over all views; the row of the
paper's released code is made of the logits, as there. Logits that are NaN or infinite stop the merge, or their video is
counted as missing (dataset.on_error).

Written to output/<record>/: result.txt (for people), result.json (for programs: metrics, protocol, missing videos,
checkpoint, versions, effective configuration), confusion.png and, when the record was trained here, curves.png.
A result that is already there for the same scores stays; one of other scores is moved to output/<record>/earlier-NNN.
"""

import dataclasses
from pathlib import Path
from typing import Any

from dataset.listing import VideoList, read_class_names, read_list
from utils.cli import run_script, script_parser
from utils.config import RunConfig, load_config
from utils.evaluation.provenance import (
    EXTRACT_SCRIPT,
    EvaluationError,
    checkpoint_sha256,
    command_line,
    make_manifest,
    read_training,
    scores_folder,
    training_differences,
    training_progress,
)
from utils.evaluation.result import (
    CONFUSION_PICTURE,
    CURVES_PICTURE,
    RESULT_FILES,
    RESULT_JSON,
    RESULT_TEXT,
    build_result,
    render_summary,
    render_text,
)
from utils.evaluation.score_index import ScoreIndex, index_scores
from utils.evaluation.scores import Manifest, ScoresError, read_manifest, require_same
from utils.files import move_to_earlier, write_text_atomically
from utils.lock import lock_folder
from utils.metrics import Metrics, ViewMetrics
from utils.parts import METRICS
from utils.sealed import read_sealed_json, write_sealed_json
from utils.text import say
from utils.training.epoch_lines import read_epochs


def main() -> None:
    """Parse, then merge."""
    arguments = script_parser(__doc__).parse_intermixed_args()
    config = load_config(arguments.config_file, arguments.overrides)
    merge(
        config,
        extracted_by=command_line(EXTRACT_SCRIPT, arguments.config_file, arguments.overrides),
        force=arguments.force,
    )


def merge(config: RunConfig, *, extracted_by: str, force: bool) -> None:
    """Check the scores of a record, compute its metrics and write its result.

    Args:
        config: The record.
        extracted_by: The command that makes its scores, for messages.
        force: Merge again although the result is there.

    Raises:
        UserError: no scores, scores of something else, gaps, or a file that cannot be read or written.
    """
    videos = read_list(
        config.require_file("dataset", "eva_list_file", hint="it must be the list that was extracted"),
        num_classes=config.dataset.num_classes,
    )
    names = read_class_names(config.dataset.eva_list_file, config.dataset.num_classes)
    manifest = _read_own_manifest(config, videos, extracted_by=extracted_by)
    with lock_folder(config.run_dir):
        _merge(config, manifest, videos, names, extracted_by=extracted_by, force=force)


def _merge(
    config: RunConfig, manifest: Manifest, videos: VideoList, names: list[str], *, extracted_by: str, force: bool
) -> None:
    index = index_scores(scores_folder(config), manifest)
    index.require_complete(completed_by=extracted_by)
    if not force and (summary := _read_summary(config.run_dir, index.digest)):
        say(f"{config.run_dir / RESULT_TEXT} is already there for these scores (--force merges again)\n{summary}")
        return
    metrics, missing = _count(config, index, videos, extracted_by=extracted_by)
    result = build_result(
        config.name,
        manifest=manifest,
        metrics=metrics,
        labels=videos.labels,
        class_names=names,
        missing={videos[video].path: cause for video, cause in missing.items()},
        config=config.to_dict(),
        training_progress=training_progress(config),
        training_differences=training_differences(config),
        trained=read_training(config),
        scores_digest=index.digest,
    )
    if (earlier := move_to_earlier(config.run_dir, RESULT_FILES)) is not None:
        say(f"moved the earlier result to {earlier}")
    _write(config, result, metrics, names)
    say(f"{render_summary(result)}\nresult: {config.run_dir / RESULT_TEXT}")


def _read_own_manifest(config: RunConfig, videos: VideoList, *, extracted_by: str) -> Manifest:
    """Read the manifest of the record's scores and make sure that they are what the record asks for."""
    folder = scores_folder(config)
    found = read_manifest(folder)
    if found is None:
        raise EvaluationError(f"there are no scores in {folder}; make them with: {extracted_by}")
    is_there = config.eva_model.is_file()  # weights may be deleted once the scores are made
    expected = make_manifest(
        config,
        list_sha256=videos.sha256,
        num_videos=len(videos),
        checkpoint_sha256=checkpoint_sha256(config, trained_by="") if is_there else found.checkpoint_sha256,
        precision=found.precision,
    )
    require_same(folder, found, expected)
    return dataclasses.replace(expected, versions=found.versions, root_path=found.root_path)


def _count(
    config: RunConfig, index: ScoreIndex, videos: VideoList, *, extracted_by: str
) -> tuple[Metrics, dict[int, str]]:
    """Return the accuracies over the scored videos, and of each other video why it is missing.

    Raises:
        ScoresError: logits are NaN or infinite, and such videos are not to be skipped, or all are such.
    """
    missing = dict(index.missing)

    def leave_out(video: int, problem: str) -> None:
        cause = f"{videos[video].path}: {problem}"
        if config.dataset.on_error != "skip":
            raise ScoresError(
                f"{cause}; score these videos again with: {extracted_by}, or count them as missing with "
                "dataset.on_error=skip"
            )
        missing[video] = cause

    counts = ViewMetrics(index.manifest.num_classes)
    for numbers, logits in index.blocks(on_broken=leave_out):
        counts.add(logits, videos.labels[numbers])
    if len(missing) == len(videos):
        raise ScoresError(f"no video could be scored, all {len(missing)} are missing: {next(iter(missing.values()))}")
    return counts.result(), dict(sorted(missing.items()))


def _read_summary(run_dir: Path, digest: str) -> str:
    """Return the summary of the result that is there, "" unless it is complete, of these scores and in all metrics."""
    try:
        result = read_sealed_json(run_dir / RESULT_JSON)
        is_complete = all((run_dir / name).exists() for name in (RESULT_TEXT, CONFUSION_PICTURE))
        is_complete &= METRICS.keys() <= result["metrics"]["video"].keys()
        return render_summary(result) if is_complete and result["scores_digest"] == digest else ""
    except (ValueError, KeyError, TypeError):
        return ""


def _write(config: RunConfig, result: dict[str, Any], metrics: Metrics, names: list[str]) -> None:
    """Write pictures and texts; result.json comes last, so that a result that is there is complete."""
    # matplotlib: not for a --help or a mistake
    from utils.figures.confusion import confusion_figure
    from utils.figures.curves import curves_figure
    from utils.figures.style import save_figure

    protocol = result["protocol"]
    views = f"{protocol['num_views']} views ({protocol['num_clips']} clips x {protocol['num_crops']} crops)"
    confusion = confusion_figure(
        metrics.confusion,
        class_names=names,
        title=f"Confusion matrix of {config.name}",
        subtitle=f"{metrics.num_videos:,} videos, mean of {views}: top-1 {100 * metrics.video[1]:.2f}%",
    )
    save_figure(confusion, config.run_dir / CONFUSION_PICTURE)
    if epochs := read_epochs(config.run_dir):
        save_figure(curves_figure(epochs, title=f"Training of {config.name}"), config.run_dir / CURVES_PICTURE)
    write_text_atomically(config.run_dir / RESULT_TEXT, render_text(result, config.to_yaml()))
    write_sealed_json(config.run_dir / RESULT_JSON, result)


if __name__ == "__main__":
    run_script(main)
