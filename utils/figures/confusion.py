"""The figure of a confusion matrix."""

from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import NDArray

from utils.figures.style import GRID, INK, MUTED, place, shorten, write_title
from utils.metrics import class_accuracies

_COLORS = matplotlib.colormaps["Blues"].with_extremes(bad="white")
# Most classes for which every cell shows its number, and for which the axes name every class.
WRITTEN_CELLS, _NAMED_CLASSES = 24, 64
_DARK = 0.5  # numbers are white on larger fractions, else black: a contrast of at least 4.5 to 1


def confusion_figure(confusion: NDArray[np.int64], *, class_names: Sequence[str], title: str, subtitle: str) -> Figure:
    """Draw a confusion matrix, each row as fractions of the videos of its class.

    With many classes the cells are a few pixels wide; the classes with the lowest accuracy and the most frequent
    mistakes are then listed beside the matrix.

    Args:
        confusion: Counts, int64 [true class, predicted class].
        class_names: Name of each class.
        title: First line.
        subtitle: Second line.
    """
    totals = confusion.sum(axis=1, keepdims=True)
    fractions = np.divide(confusion, totals, out=np.zeros(confusion.shape), where=totals > 0)
    names = [shorten(name) for name in class_names]
    if len(names) <= WRITTEN_CELLS:
        figure, axes, bar_axes = _small_layout(names)
        _write_cells(axes, fractions)
    else:
        figure, axes, bar_axes, text_axes = _large_layout(names)
        _write_findings(text_axes, confusion, names)
    # The square root makes rare mistakes visible beside the white of empty cells.
    image = axes.imshow(
        np.ma.masked_equal(fractions, 0), cmap=_COLORS, norm=PowerNorm(0.5, vmin=0, vmax=1), interpolation="nearest"
    )
    bar = figure.colorbar(image, cax=bar_axes, ticks=[0, 0.05, 0.2, 0.5, 1])
    bar.ax.yaxis.set_major_formatter(PercentFormatter(1))
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=0, labelsize=8, labelcolor=MUTED)
    bar.set_label("% of the true class's videos", fontsize=8, color=MUTED)
    axes.set_xlabel("predicted class", color=INK, labelpad=8)
    axes.set_ylabel("true class", color=INK, labelpad=8)
    for spine in axes.spines.values():
        spine.set_color(GRID)
    write_title(figure, title, subtitle)
    return figure


def _small_layout(names: list[str]) -> tuple[Figure, Axes, Axes]:
    """Return a figure, the axes of the matrix and of the color bar; all classes are named."""
    side = max(2.4, 0.46 * len(names))
    margin = 0.55 + 0.078 * max(len(name) for name in names)
    figure = Figure(figsize=(max(margin + side + 1.1, 5.6), margin + side + 0.95), facecolor="white")
    axes = place(figure, margin, margin, side, side)
    bar_axes = place(figure, margin + side + 0.2, margin, 0.14, side)
    _name_classes(axes, names, fontsize=9)
    return figure, axes, bar_axes


def _name_classes(axes: Axes, names: list[str], *, fontsize: float) -> None:
    """Label both axes with the class names, and draw thin lines between the cells."""
    axes.set_xticks(range(len(names)), names, rotation=90, fontsize=fontsize)
    axes.set_yticks(range(len(names)), names, fontsize=fontsize)
    axes.tick_params(length=0, labelcolor=INK)
    axes.set_xticks(np.arange(len(names) - 1) + 0.5, minor=True)
    axes.set_yticks(np.arange(len(names) - 1) + 0.5, minor=True)
    axes.grid(which="minor", color=GRID, linewidth=0.6)
    axes.tick_params(which="minor", length=0)


def _write_cells(axes: Axes, fractions: NDArray[np.float64]) -> None:
    for row, column in np.argwhere(fractions > 0):
        fraction = fractions[row, column]
        color = "white" if fraction > _DARK else "black"
        text = f"{100 * fraction:.0f}" if fraction >= 0.005 else "<1"
        axes.text(column, row, text, ha="center", va="center", fontsize=8, color=color)


def _large_layout(names: list[str]) -> tuple[Figure, Axes, Axes, Axes]:
    """Return a figure and its axes: matrix, color bar and text; many classes are numbered instead of named."""
    is_named = len(names) <= _NAMED_CLASSES
    margin = 0.55 + 0.062 * max(len(name) for name in names) if is_named else 0.85
    figure = Figure(figsize=(margin + 13.35, margin + 8.85), facecolor="white")
    axes = place(figure, margin, margin, 7.9, 7.9)
    bar_axes = place(figure, margin + 8.1, margin, 0.14, 7.9)
    text_axes = place(figure, margin + 9.15, margin, 4.0, 7.9)
    if is_named:
        _name_classes(axes, names, fontsize=7)
    else:
        axes.xaxis.set_major_locator(MaxNLocator(10, integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(10, integer=True))
        axes.tick_params(length=3, color=GRID, labelcolor=MUTED, labelsize=9)
    return figure, axes, bar_axes, text_axes


def _write_findings(axes: Axes, confusion: NDArray[np.int64], names: list[str], *, count: int = 20) -> None:
    """List the classes with the lowest accuracies and the most frequent mistakes."""
    axes.set_axis_off()
    axes.set(xlim=(0, 4.0), ylim=(7.9, 0))
    totals, accuracies = confusion.sum(axis=1), class_accuracies(confusion)
    lowest = [c for c in np.argsort(accuracies, kind="stable") if totals[c]][:count]
    rows = [(f"{names[c]} ({c})", f"{100 * accuracies[c]:.0f}%  of {totals[c]}") for c in lowest]
    line = _write_table(axes, 0.0, "Lowest accuracy", rows)
    mistakes = confusion * ~np.eye(len(names), dtype=bool)
    order = np.argsort(-mistakes, axis=None, kind="stable")[:count]
    pairs = [(divmod(int(cell), len(names))) for cell in order if mistakes.flat[cell]]
    rows = [
        (f"{names[true]} \u2192 {names[other]}", f"{mistakes[true, other]}  of {totals[true]}") for true, other in pairs
    ]
    _write_table(axes, line + 0.35, "Mistaken most often (true \u2192 predicted)", rows)


def _write_table(axes: Axes, top: float, heading: str, rows: list[tuple[str, str]]) -> float:
    """Write a heading and rows below `top`, inches; return where they end."""
    axes.text(0, top, heading, fontsize=10, fontweight="bold", color=INK, va="top")
    line = top + 0.27
    for left, right in rows:
        axes.text(0, line, left, fontsize=7.5, color=INK, va="top")
        axes.text(4.0, line, right, fontsize=7.5, color=MUTED, va="top", ha="right")
        line += 0.166
    return line
