"""The figure of a network's scores over the time of a video."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from utils.evaluation.predictions import Window
from utils.figures.style import BLUE, GREEN, INK, MUTED, ORANGE, PURPLE, RED, save_figure, shorten, style_axes

_COLORS = (BLUE, ORANGE, GREEN, RED, PURPLE)  # one for each class that is drawn


def draw_timeline(windows: Sequence[Window], names: Sequence[str], *, title: str, target: Path) -> None:
    """Write `timeline_figure` as PNG."""
    save_figure(timeline_figure(windows, names, title=title), target)


def timeline_figure(windows: Sequence[Window], names: Sequence[str], *, title: str) -> Figure:
    """Draw the scores of the five classes with the highest scores in a video over time, one step for each window.

    Args:
        windows: Windows of the video, in order.
        names: Class names.
        title: Title of the figure.
    """
    scores = np.stack([window.scores for window in windows])
    shown = np.argsort(-scores.max(axis=0), kind="stable")[: len(_COLORS)]
    edges = [window.begin for window in windows] + [windows[-1].end]
    figure = Figure(figsize=(10, 3.6), layout="constrained")
    axes = figure.subplots()
    for order, (color, label) in enumerate(zip(_COLORS, shown, strict=False)):  # the highest is drawn over the others
        steps = {"color": color, "linewidth": 1.8, "label": label, "zorder": 3 - 0.1 * order}
        axes.stairs(100 * scores[:, label], edges, baseline=None, **steps)
    axes.set_xlim(edges[0], edges[-1])
    axes.set_ylim(0, min(102.0, 120 * float(scores.max()) + 1))
    axes.yaxis.set_major_formatter(PercentFormatter(100))
    axes.set_xlabel("time, seconds", color=MUTED)
    axes.set_ylabel("score", color=MUTED)
    style_axes(axes)
    axes.tick_params(pad=7)  # keeps the first labels of the axes apart
    axes.set_title(shorten(title, longest=90), loc="left", color=INK, fontsize=11)
    legend = axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=9)
    for text, label in zip(legend.get_texts(), shown, strict=True):
        text.set_text(shorten(names[label]))  # matplotlib hides labels that start with _
    return figure
