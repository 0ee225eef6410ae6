"""The figures and the page of a result: confusion.png, curves.png and result.html."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree.ElementTree import Element

import numpy as np

from utils.config import RunConfig
from utils.evaluation.result import CONFUSION_PICTURE, CURVES_PICTURE, RESULT_PAGE, protocol_rows, render_summary
from utils.evaluation.top_classes import Misclassification
from utils.figures.confusion import WRITTEN_CELLS, confusion_figure
from utils.figures.curves import curves_figure
from utils.figures.markup import (
    Content,
    element,
    facts,
    image,
    isolate,
    note,
    numbers,
    render_document,
    scroll_box,
    section,
    table,
    table_row,
    warning,
)
from utils.figures.style import save_figure
from utils.files import write_text_atomically
from utils.metrics import Metrics
from utils.text import count
from utils.training.epoch_lines import read_epochs


class Shown(NamedTuple):
    """A mistake, the path of its video, and a JPEG of its frames or the reason why there is none."""

    mistake: Misclassification
    path: str
    strip: bytes | str


def draw_result(
    config: RunConfig,
    result: Mapping[str, Any],
    *,
    metrics: Metrics,
    class_names: Sequence[str],
    mistakes: Sequence[Shown],
) -> None:
    """Draw the confusion matrix, the training curves if the record was trained here, and the page with both.

    Args:
        config: The record.
        result: Content of result.json.
        metrics: Metrics of the result.
        class_names: Name of each class.
        mistakes: The worst mistakes, the worst first.

    Raises:
        FileError: A file cannot be written.
    """
    protocol = result["protocol"]
    views = f"{count(protocol['num_views'], 'view')} ({protocol['num_clips']} clips x {protocol['num_crops']} crops)"
    subtitle = f"{metrics.num_videos:,} videos, mean of {views}: top-1 {100 * metrics.video[1]:.2f}%"
    title = f"Confusion matrix of {config.name}"
    confusion = confusion_figure(metrics.confusion, class_names=class_names, title=title, subtitle=subtitle)
    save_figure(confusion, config.run_dir / CONFUSION_PICTURE)
    if epochs := read_epochs(config.run_dir):
        save_figure(curves_figure(epochs, title=f"Training of {config.name}"), config.run_dir / CURVES_PICTURE)
    page = render_document(
        config.name,
        _render_head(result),
        _render_mistakes(mistakes, class_names),
        _render_confusion(config.run_dir / CONFUSION_PICTURE, metrics),
        _render_classes(result, metrics),
        *([_render_picture(config.run_dir / CURVES_PICTURE, "curves", "Training")] if epochs else []),
        _render_protocol(result, config.to_yaml()),
    )
    write_text_atomically(config.run_dir / RESULT_PAGE, page)


def _render_head(result: Mapping[str, Any]) -> Element:
    checkpoint, validation, protocol = result["checkpoint"], result["quick_evaluation"], result["protocol"]
    warnings = []
    if protocol["num_missing"]:
        words = f"{protocol['num_missing']:,} of {count(protocol['num_videos'], 'video')} missing:"
        wrong = result["metrics"]["video_missing_counted_wrong"]
        text = f"with them counted as wrong, top-1 is {100 * wrong['top1']:.2f}%. They are listed under Protocol."
        warnings.append(warning(words, text))
    if checkpoint["epochs_trained"] is not None and checkpoint["epochs_trained"] < checkpoint["epochs_of_record"]:
        trained = f"{checkpoint['epochs_trained']} of {count(checkpoint['epochs_of_record'], 'epoch')}"
        warnings.append(warning("The training is not complete:", f"{trained}."))
    if validation is not None and not validation["agrees"]:
        words = "The validation during training and this result disagree by more than their spread:"
        warnings.append(warning(words, "possible causes are listed under Protocol."))
    return element(
        "header", element("h1", result["record"]), note(checkpoint["network"]), facts(_list_facts(result)), *warnings
    )


def _list_facts(result: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    protocol, video, clip = result["protocol"], result["metrics"]["video"], result["metrics"]["clip"]
    tops = {protocol["top_k"][name]: video[name] for name in ("top3", "top5")}  # of few classes k is less
    more = "".join(f"top-{k} {100 * accuracy:.2f}%; " for k, accuracy in tops.items() if k > 1)
    views = f"mean of the probabilities of {count(protocol['num_views'], 'view')}"
    yield "Video, top-1", f"{100 * video['top1']:.2f}%", f"{more}{views}"
    yield "Mean of classes", f"{100 * video['mean_class']:.2f}%", "mean of the accuracies of all classes"
    yield "Clip, top-1", f"{100 * clip['top1']:.2f}%", "one view by itself"
    missing = f"; {protocol['num_missing']:,} missing" if protocol["num_missing"] else ""
    yield "Videos", f"{protocol['num_scored']:,}", f"of {protocol['num_videos']:,} in {protocol['list']}{missing}"


def _render_mistakes(mistakes: Sequence[Shown], class_names: Sequence[str]) -> Element:
    if not mistakes:
        return section("mistakes", "Mistakes", note("No video was misclassified."))
    figures = []
    for number, ((_, label, guess, own, score), path, strip) in enumerate(mistakes, start=1):
        answer = element("span", isolate(class_names[guess]), f" {100 * score:.1f}%", kind="verdict diverged")
        truth = isolate(class_names[label]), f" {100 * own:.1f}%"
        caption = (
            element("span", element("span", f"{number}. ", isolate(path)), kind="head"),
            element("span", "predicted ", answer, "; true class ", *truth, kind="sub"),
        )
        figures.append(element("figure", element("figcaption", *caption), _render_strip(strip, f"Frames of {path}")))
    text = "The mistakes whose class scores furthest above the true class. predictions.csv has all predictions."
    return section("mistakes", "Worst mistakes", note(text), element("div", *figures, kind="charts"))


def _render_strip(strip: bytes | str, name: str) -> Element:
    return note(f"no picture: {strip}") if isinstance(strip, str) else image(strip, "jpeg", name)


def _render_picture(path: Path, name: str, title: str, *, kind: str = "picture") -> Element:
    return section(name, title, scroll_box(image(path.read_bytes(), "png", title), title, kind=kind))


def _render_confusion(path: Path, metrics: Metrics) -> Element:
    is_large = len(metrics.confusion) > WRITTEN_CELLS
    return _render_picture(path, "confusion", "Confusion matrix", kind="picture large" if is_large else "picture")


def _render_classes(result: Mapping[str, Any], metrics: Metrics) -> Element:
    """Return a row for each class: its accuracy, and the class it is most often mistaken for."""
    mistaken = metrics.confusion * ~np.eye(len(metrics.confusion), dtype=bool)
    others = mistaken.argmax(axis=1)
    rows = []
    for label, entry in enumerate(result["classes"]):
        times, other = int(mistaken[label, others[label]]), result["classes"][int(others[label])]["name"]
        accuracy = "–" if entry["accuracy"] is None else f"{100 * entry['accuracy']:.1f}"
        mistaken_for: Content = element("span", isolate(other), f" ({times})") if times else ""
        name, videos = isolate(entry["name"]), f"{entry['videos']:,}"
        cells = [*numbers(str(label)), ("th wide", name), *numbers(videos, accuracy), ("wide", mistaken_for)]
        rows.append(table_row(cells, kind="" if entry["videos"] else "idle"))
    head = [*numbers("#"), ("", "class"), *numbers("videos", "accuracy, %"), ("", "most often mistaken for")]
    return section("classes", "Classes", table("classes", head, rows, kind="tall"))


def _render_protocol(result: Mapping[str, Any], configuration: str) -> Element:
    rows = [table_row([("th", name), ("wide", value)]) for name, value in protocol_rows(result)]
    values = element(
        "details", element("summary", "Effective configuration"), element("pre", configuration, tabindex=0)
    )
    content = [
        element("pre", render_summary(result), tabindex=0),
        table("protocol", [("", "what"), ("", "value")], rows),
    ]
    if result["missing"]:
        lost = [table_row([("th wide", isolate(lost["path"])), ("wide", lost["cause"])]) for lost in result["missing"]]
        content.append(table("missing videos", [("", "missing video"), ("", "cause")], lost, kind="tall"))
    return section("protocol", "Protocol", *content, values)
