"""The result of an evaluation: result.json for programs, result.txt for people.

Both give the protocol of every number and its differences from training. The headline is the accuracy by the mean of
the probabilities over all views. The "max-top-k mean" of logits of the paper's released code is reported too, with a
warning: its k is chosen on the labels it is evaluated with.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from utils.config import RunConfig
from utils.evaluation.protocol import (
    CLIP_ASPECTS,
    CROP_NAMES,
    History,
    Trained,
    compare_with_validation,
    differences,
    normalization,
    spacing,
)
from utils.evaluation.provenance import EvaluationList
from utils.evaluation.score_index import ScoreIndex
from utils.evaluation.scores import Manifest
from utils.metrics import TOP_KS, Metrics, class_accuracies, counted_ranks
from utils.parts import METRICS
from utils.text import versions
from utils.training.epoch_lines import STOPPED_EARLY, TrainingCost, add_up_costs, costs_of_states, have_costs

RESULT_JSON, RESULT_TEXT, CONFUSION_PICTURE, CURVES_PICTURE = "result.json", "result.txt", "confusion.png", "curves.png"
RESULT_PAGE, PREDICTIONS = "result.html", "predictions.csv"
RESULT_FILES = (RESULT_TEXT, RESULT_JSON, RESULT_PAGE, PREDICTIONS, CONFUSION_PICTURE, CURVES_PICTURE)
# The scores behind each row of accuracies; probabilities are the softmax of the network's logits.
SCORES = {
    "video": "mean of the probabilities over all views",
    "clip": "logits of a single view",
    "max_top_k": "logits as in the released code: mean over crops, then for each class the mean of its k highest clips",
}


def build_result(
    config: RunConfig,
    videos: EvaluationList,
    *,
    index: ScoreIndex,
    metrics: Metrics,
    missing: Mapping[int, str],
    class_names: Sequence[str],
    history: History,
) -> dict[str, Any]:
    """Return the content of result.json in plain types; accuracies are fractions of 1.

    Args:
        config: The record.
        videos: Its evaluation list.
        index: Index of the scores.
        metrics: Accuracies over the scored videos.
        missing: Causes of missing videos, by index in the list.
        class_names: Class names in the order of the logits.
        history: What is known of the training of the weights.
    """
    manifest = index.manifest
    return {
        "record": config.name,
        "metrics": _metrics(metrics, videos.labels),
        "protocol": _protocol(manifest, history.trained, num_scored=metrics.num_videos, num_missing=len(missing)),
        "quick_evaluation": _validation(manifest, history.trained, metrics),
        "missing": [{"path": videos.path_of(video), "cause": cause} for video, cause in missing.items()],
        "checkpoint": _checkpoint(manifest, history),
        "cost": None if history.trained is None else _cost(history.trained),
        "classes": _classes(metrics, class_names),
        "versions": {"extraction": manifest.versions, "merging": versions()},
        "scores_digest": index.digest,
        "config": config.to_dict(),
        "training_differences": list(history.differences),
    }


def _classes(metrics: Metrics, names: Sequence[str]) -> list[dict[str, Any]]:
    accuracies, totals = class_accuracies(metrics.confusion), metrics.confusion.sum(axis=1)
    return [
        {"name": name, "videos": int(total), "accuracy": None if math.isnan(accuracy) else float(accuracy)}
        for name, total, accuracy in zip(names, totals, accuracies, strict=True)
    ]


def _metrics(metrics: Metrics, labels: NDArray[np.integer]) -> dict[str, Any]:
    return {
        "video": {**_by_k(metrics.video), **metrics.further},
        "video_missing_counted_wrong": _missing_counted_wrong(metrics, labels),
        "clip": _by_k(metrics.clip),
        "max_top_k": {
            **_by_k(metrics.max_top_k),
            "k": metrics.best_k,
            "k_chosen_on": "the evaluated labels",
            "top1_for_each_k": list(metrics.max_top_k_top1),
        },
    }


def _validation(manifest: Manifest, trained: Trained | None, metrics: Metrics) -> dict[str, Any] | None:
    if trained is None:
        return None
    accuracies = {"clip": metrics.clip[1], "video": metrics.video[1]}
    return compare_with_validation(trained, manifest, accuracies=accuracies, num_videos=metrics.num_videos)


def _protocol(manifest: Manifest, trained: Trained | None, *, num_scored: int, num_missing: int) -> dict[str, Any]:
    return {
        "score": SCORES,
        "top_k": {f"top{k}": counted for k, counted in counted_ranks(manifest.num_classes).items()},
        "num_clips": manifest.num_clips,
        "num_crops": manifest.num_crops,
        "num_views": manifest.num_clips * manifest.num_crops,
        "num_segments": manifest.num_segments,
        "clip_length": manifest.clip_length,
        "num_steps": manifest.num_steps,
        "frame_rate": manifest.frame_rate,
        "crop_size": manifest.crop_size,
        "crops": list(CROP_NAMES[: manifest.num_crops]),
        "num_classes": manifest.num_classes,
        "list": manifest.list_file,
        "list_sha256": manifest.list_sha256,
        "num_videos": manifest.num_videos,
        "num_scored": num_scored,
        "num_missing": num_missing,
        "mean": manifest.mean,
        "std": manifest.std,
        "precision": manifest.precision,
        "differs_from_training": None if trained is None else differences(CLIP_ASPECTS, trained, manifest),
    }


def _checkpoint(manifest: Manifest, history: History) -> dict[str, Any]:
    trained, planned = history.progress or (None, None)
    last = history.trained.epochs[-1] if history.trained is not None else {}
    return {
        "network": manifest.network,
        "path": manifest.checkpoint,
        "sha256": manifest.checkpoint_sha256,
        "epochs_trained": trained,
        "epochs_of_record": planned,
        "best_epoch": last.get("best_epoch"),
        "stopped_early_after": last["epoch"] if last.get(STOPPED_EARLY) else None,
    }


def _cost(trained: Trained) -> dict[str, Any] | None:
    """Return the cost of training by state and in total; None if the log is too old to contain it."""
    if not have_costs(trained.epochs):
        return None
    states = [{"state": state + 1, **asdict(cost)} for state, cost in costs_of_states(trained.epochs).items()]
    return {"states": states, "run": asdict(add_up_costs(trained.epochs))}


def _by_k(accuracies: Mapping[int, float]) -> dict[str, float]:
    return {f"top{k}": accuracies[k] for k in TOP_KS}


def _missing_counted_wrong(metrics: Metrics, labels: NDArray[np.integer]) -> dict[str, float]:
    """Return the accuracies over all videos of the list, missing ones counted as wrong."""
    fraction = metrics.num_videos / len(labels)
    totals = np.bincount(labels, minlength=len(metrics.confusion))
    per_class = np.diag(metrics.confusion)[totals > 0] / totals[totals > 0]
    return {**{f"top{k}": metrics.video[k] * fraction for k in TOP_KS}, "mean_class": float(per_class.mean())}


def render_summary(result: Mapping[str, Any]) -> str:
    """Return the table of accuracies as text."""
    return "\n".join(_accuracy_lines(result))


def render_text(result: Mapping[str, Any], config_yaml: str) -> str:
    """Return the text of result.txt."""
    protocol = result["protocol"]
    sections = [
        f"{result['record']}: video top-1 {_percent(result['metrics']['video']['top1']).strip()}\n",
        "\n".join(_accuracy_lines(result)),
        "Protocol\n" + "\n".join(f"  {name:15}{value}" for name, value in protocol_rows(result)),
        "Classes (fraction of the class's scored videos predicted correctly)\n" + "\n".join(_class_lines(result)),
    ]
    if result["missing"]:
        shown = "\n".join(f"  {video['path']}: {video['cause']}" for video in result["missing"])
        sections.insert(2, f"Missing videos ({protocol['num_missing']} of {protocol['num_videos']})\n{shown}")
    sections.append("Versions\n" + "\n".join(_version_lines(result["versions"])))
    indented = "\n".join(f"  {line}" for line in config_yaml.strip().splitlines())
    sections.append(f"Effective configuration\n{indented}")
    if result["training_differences"]:
        sections.append("Trained with another configuration\n  " + "\n  ".join(result["training_differences"]))
    return "\n\n".join(section.rstrip("\n") for section in sections) + "\n"


def _percent(fraction: float) -> str:
    return f"{100 * fraction:7.2f} %"


def _accuracy_lines(result: Mapping[str, Any]) -> list[str]:
    metrics, protocol = result["metrics"], result["protocol"]
    best_k = metrics["max_top_k"]["k"]
    rows = [(f"video: mean of all {protocol['num_views']} views' probabilities", "video")]
    if protocol["num_missing"]:
        rows.append(("  the same, missing videos counted as wrong", "video_missing_counted_wrong"))
    rows.append(("clip: one view", "clip"))
    rows.append((f"video, logits: max-top-k mean, k = {best_k} of {protocol['num_clips']} clips (*)", "max_top_k"))
    width = max(len(title) for title, _ in rows) + 2
    lines = [f"{'':{width}}{'top-1':>9}{'top-3':>11}{'top-5':>11}{'mean of classes':>19}"]
    for title, key in rows:
        values = metrics[key]
        cells = "  ".join(_percent(values[f"top{k}"]) for k in TOP_KS)
        mean = f"{_percent(values['mean_class']):>17}" if "mean_class" in values else ""
        lines.append(f"{title:{width}}{cells}{mean}".rstrip())
    lines += [f"video, {name}: {metrics['video'][name]:.6g}" for name in _further_names(metrics["video"])]
    lines += _capped_lines(protocol)
    empty = sum(not entry["videos"] for entry in result["classes"])
    if empty:
        lines.append(f"The mean of classes omits {empty} classes without a scored video.")
    by_k = " ".join(f"{100 * top1:.2f}" for top1 in metrics["max_top_k"]["top1_for_each_k"])
    lines += [
        "",
        "(*) As in the paper's released code: mean of the logits over crops, then for every class separately the mean",
        "    of the k clips that score it highest. This k was chosen for the best top-1 on these very labels, so the",
        "    row is optimistic: quote the first row.",
        f"    Top-1 for k = 1 .. {protocol['num_clips']}: {by_k}",
    ]
    return lines + _disagreement_lines(result["quick_evaluation"], num_videos=protocol["num_scored"])


def _further_names(video: Mapping[str, float]) -> list[str]:
    """Return the names of the metrics that have no column of their own."""
    return [name for name in video if name in METRICS and name != "mean_class"]


def _capped_lines(protocol: Mapping[str, Any]) -> list[str]:
    """Return a line that names the top-k whose k is capped at classes - 1, if any."""
    capped = [k for k in TOP_KS if protocol["top_k"][f"top{k}"] < k]
    if not capped:
        return []
    names = " and ".join(f"top-{k}" for k in capped)
    meant = protocol["top_k"][f"top{capped[0]}"]
    return [f"With {protocol['num_classes']} classes {names} {'is' if len(capped) == 1 else 'are'} top-{meant}."]


def _disagreement_lines(validation: Mapping[str, Any] | None, *, num_videos: int) -> list[str]:
    """Return lines with both accuracies and possible causes, if validation and the result disagree."""
    if validation is None or validation["agrees"]:
        return []
    compared = validation["compared"]
    here = ", ".join(
        f"{name} {100 * one['top1']:.2f} %"
        + ("" if one["agrees"] else f" (further apart than {100 * one['spread']:.2f} points)")
        for name, one in compared.items()
    )
    lines = [
        "",
        "(!) The validation during training and this result DISAGREE by more than their spread.",
        f"    Top-1 there: {100 * validation['top1']:.2f} % of {validation['videos']} videos, "
        f"after epoch {validation['epoch']}.",
        f"    Top-1 here: {here}, of {num_videos} videos.",
        f"    Spread: {validation['rule']}.",
    ]
    if not validation["differs"]:
        return [*lines, "    The protocols do not differ: were videos, lists or weights changed since?"]
    width = max(len(one["what"]) for one in validation["differs"]) + 2
    differs = [
        f"      {one['what']:{width}}{one['training']} there, {one['here']} here" for one in validation["differs"]
    ]
    return [*lines, "    Differences:", *differs]


def protocol_rows(result: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the protocol of a result as rows of (name, value)."""
    protocol, checkpoint = result["protocol"], result["checkpoint"]
    pieces = f"{protocol['num_segments']} x {protocol['clip_length']} frames"
    apart = spacing(protocol["num_steps"], protocol["frame_rate"])
    rows = [
        ("list", f"{protocol['list']} (sha256 {protocol['list_sha256'][:16]})"),
        ("videos", f"{protocol['num_scored']} scored of {protocol['num_videos']}, {protocol['num_missing']} missing"),
        ("clips", f"{protocol['num_clips']} per video, each of {pieces}, {apart}"),
        ("crops", f"{protocol['num_crops']} of {protocol['crop_size']} pixels: {', '.join(protocol['crops'])}"),
        ("normalization", f"values of 0..1, {normalization(protocol['mean'], protocol['std'])}"),
        *(("score" if row == "video" else "", f"{row}: {made}") for row, made in protocol["score"].items()),
        ("", "ties: the lower class number comes first"),
        ("precision", protocol["precision"]),
        ("network", checkpoint["network"]),
        ("checkpoint", f"{checkpoint['path']} (sha256 {checkpoint['sha256']})"),
    ]
    if checkpoint["epochs_trained"] is not None:
        done, planned = checkpoint["epochs_trained"], checkpoint["epochs_of_record"]
        unfinished = "" if done >= planned else ": THE TRAINING IS NOT COMPLETE"
        early = checkpoint["stopped_early_after"]
        of_state = f"stopped early, after epoch {early} of the last state; {planned:g} were planned"
        rows.append(("trained", of_state if early else f"{done:g} of {planned:g} epochs{unfinished}"))
    if best := checkpoint["best_epoch"]:
        rows.append(("", f"weights of epoch {best} of the last state, the best on held-out training videos"))
    return [*rows, *_cost_rows(result["cost"]), *_training_rows(result)]


def _cost_rows(cost: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    """Return rows with the cost of training, in total and by state if there are several."""
    if cost is None:
        return []
    rows = [("training took", str(TrainingCost(**cost["run"])))]
    for entry in cost["states"] if len(cost["states"]) > 1 else []:
        of_state = TrainingCost(**{key: value for key, value in entry.items() if key != "state"})
        rows.append(("", f"state {entry['state']}: {of_state}"))
    return rows


def _training_rows(result: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return rows with the differences from training, marked, and the accuracy of validation."""
    differs, validation = result["protocol"]["differs_from_training"], result["quick_evaluation"]
    if differs is None:
        return [("training", "unknown: the weights were not trained by this record")]
    rows = [("(!) " + one["what"], f"{one['here']}, BUT {one['training']} IN TRAINING") for one in differs]
    if not rows:
        same = ", ".join(aspect.name for aspect in CLIP_ASPECTS)
        rows = [("training", f"no known difference in {same}")]
    if validation is not None:
        verdict = "agrees within the spread" if validation["agrees"] else "DISAGREES, see above"
        score = f"top-1 {100 * validation['top1']:.2f} % of {validation['videos']} videos"
        rows.append(("validation", f"{score}, 1 clip, center crop, after epoch {validation['epoch']}: {verdict}"))
    return rows


def _class_lines(result: Mapping[str, Any]) -> list[str]:
    width = max(len(entry["name"]) for entry in result["classes"]) + 2
    lines = []
    for number, entry in enumerate(result["classes"]):
        accuracy = "no video" if entry["accuracy"] is None else f"{_percent(entry['accuracy'])} of {entry['videos']}"
        lines.append(f"  {number:4}  {entry['name']:{width}}{accuracy}")
    return lines


def _version_lines(found: Mapping[str, Mapping[str, str]]) -> list[str]:
    lines = [f"  {step:12}" + ", ".join(f"{name} {version}" for name, version in found[step].items()) for step in found]
    return lines[:1] if found["extraction"] == found["merging"] else lines
