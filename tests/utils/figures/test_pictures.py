"""Figures are readable: contrast, distance of labels, axes with names that fit the data."""

import itertools
from typing import Any

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from tests.utils.figures.test_svg import contrast
from utils.evaluation.predictions import Window
from utils.figures.confusion import confusion_figure
from utils.figures.curves import curves_figure
from utils.figures.timeline import timeline_figure


def drawn(figure: Figure) -> list[Text]:
    """Draw a figure and return its visible texts."""
    FigureCanvasAgg(figure).draw()
    return [text for text in figure.findobj(Text) if text.get_text() and text.get_visible()]


@pytest.mark.parametrize("first", range(0, 100, 20))
def test_numbers_of_cells_can_be_read(first: int) -> None:
    confusion = np.zeros((20, 20), dtype=int)
    confusion[:, 0] = np.arange(first + 1, first + 21)
    confusion[:, 1] = 100 - confusion[:, 0]
    figure = confusion_figure(confusion, class_names=["c"] * 20, title="T", subtitle="S")
    axes = figure.axes[0]
    (image,) = axes.images
    for text in axes.texts:
        column, row = text.get_position()
        ground = image.cmap(image.norm(confusion[int(row), int(column)] / 100))[:3]
        assert contrast(text.get_color(), tuple(ground)) >= 4.5, text.get_text()


def epochs_of(count: int, **last: float) -> list[dict[str, Any]]:
    line = {"train_loss": 1.0, "learning_rate": 0.01, "clips_per_second": 30.0, "num_frames": 8, "seconds": 1.0}
    tops = {"eval_top1": 10.0, "eval_top3": 20.0, "eval_top5": 30.0}
    return [{**line, **tops, "state": k, "total_epoch": k + 1} | (last if k == count - 1 else {}) for k in range(count)]


@pytest.mark.parametrize("top1", [95.0, 100.0, 0.0])
def test_names_of_curves_are_apart(top1: float) -> None:
    figure = curves_figure(epochs_of(2, eval_top1=top1, eval_top3=100.0, eval_top5=100.0), title="T")
    boxes = {text.get_text(): text.get_window_extent() for text in drawn(figure) if text.get_text().startswith("top-")}
    assert list(boxes) == ["top-5 100.0%", "top-3 100.0%", f"top-1 {top1}%"]
    assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes.values(), 2))
    to_pixels = figure.axes[1].transData.transform
    box = boxes["top-5 100.0%"]
    assert box.y0 < to_pixels((0, 100))[1] < box.y1, "beside the end of its curve"
    labels = [text for axes in figure.axes for text in axes.texts if text.get_text()[-2:] in ("/s", "0%", "00", "01")]
    assert len(labels) == 6
    assert all(text.get_bbox_patch() for text in labels), "no grid line runs through them"


def test_numbers_of_many_states_say_what_they_are() -> None:
    figure = curves_figure(epochs_of(20), title="T")
    words = [text for text in drawn(figure) if text.axes is figure.axes[0]]
    boxes = {text.get_text(): text.get_window_extent() for text in words}
    assert boxes["state"].x1 < boxes["1"].x0
    axis = figure.axes[2].yaxis
    assert not any(axis.label.get_window_extent().overlaps(tick.get_window_extent()) for tick in axis.get_ticklabels())


@pytest.mark.parametrize("highest", [0.04, 0.3, 0.95, 1.0])
def test_the_time_line_fits_its_scores(highest: float) -> None:
    """And the class with the highest score is drawn over the others."""
    scores = np.array([highest, highest * 0.99, 0.0])
    windows = [Window(float(i), i + 1.0, i, np.roll(scores, i)) for i in range(2)]
    figure = timeline_figure(windows, ["a", "b", "c"], title="T")
    (axes,) = figure.axes
    assert 100 * highest < axes.get_ylim()[1] <= max(102, 130 * highest)
    assert 100 * highest > 0.6 * axes.get_ylim()[1]
    orders = [patch.get_zorder() for patch in axes.patches]
    assert orders == sorted(orders, reverse=True) and len(set(orders)) == 3
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("time, seconds", "score")
    drawn(figure)
    first, left = axes.get_xticklabels()[0].get_window_extent(), axes.get_yticklabels()[0].get_window_extent()
    assert not first.overlaps(left)


@pytest.mark.parametrize("draw", ["timeline", "confusion", "curves"])
def test_long_names_leave_room_for_the_picture(draw: str) -> None:
    name = "a-very-long-name-" * 20
    if draw == "timeline":
        figure = timeline_figure([Window(0.0, 1.0, 0, np.array([0.9, 0.1]))], [name, name], title=name)
    elif draw == "confusion":
        figure = confusion_figure(np.eye(2, dtype=int), class_names=[name, name], title=name, subtitle=name)
    else:
        figure = curves_figure(epochs_of(2), title=name)
    named = [text for text in drawn(figure) if text.get_text().startswith("a-very")]
    assert named
    for text in named:
        box = text.get_window_extent()
        assert box.x0 >= 0 and box.x1 <= figure.bbox.x1, text.get_text()
    assert figure.axes[0].get_window_extent().width > figure.bbox.width / 4
