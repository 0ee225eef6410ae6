"""Pictures of a result: the confusion matrix and the training curves.

Figures are matplotlib objects made without pyplot, so that nothing global is touched and no display is needed.
"""

import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator, PercentFormatter
from numpy.typing import NDArray

from utils.files import write_atomically
from utils.metrics import class_accuracies
from utils.text import describe_time

_INK, _MUTED, _GRID, _BAND = "#1f2933", "#66727f", "#e4e8ec", "#f4f6f8"
_BLUE, _GREEN, _ORANGE, _PURPLE = "#2262a8", "#1b8a5a", "#c2571a", "#7b4ea3"
_COLOURS = matplotlib.colormaps["Blues"].with_extremes(bad="white")
# Up to so many classes every cell has its number written in it; up to so many the axes name every class.
_WRITTEN_CELLS, _NAMED_CLASSES = 24, 64
_LONGEST_NAME = 26


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, whole or not at all; a letter that the font lacks (in a class name, say) becomes a box.

    Raises:
        FileError: the file cannot be written.
    """
    FigureCanvasAgg(figure)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font", category=UserWarning)
        write_atomically(path, lambda file: figure.savefig(file, format="png", dpi=150))


def confusion_figure(confusion: NDArray[np.int64], *, class_names: Sequence[str], title: str, subtitle: str) -> Figure:
    """Draw a confusion matrix, each row as shares of its class's videos.

    With many classes the cells are a few pixels wide; what a reader wants to know of them is then written beside the
    matrix: the classes with the lowest accuracy and the pairs mistaken most often.

    Args:
        confusion: counts [true class, predicted class].
        class_names: one for each class.
        title: first line.
        subtitle: second line.
    """
    totals = confusion.sum(axis=1, keepdims=True)
    shares = np.divide(confusion, totals, out=np.zeros(confusion.shape), where=totals > 0)
    names = [_shorten(name) for name in class_names]
    if len(names) <= _WRITTEN_CELLS:
        figure, axes, bar_axes = _small_layout(names)
        _write_cells(axes, shares)
    else:
        figure, axes, bar_axes, text_axes = _large_layout(names)
        _write_findings(text_axes, confusion, names)
    # The square root lifts rare mistakes off the white of the cells that hold none.
    image = axes.imshow(
        np.ma.masked_equal(shares, 0), cmap=_COLOURS, norm=PowerNorm(0.5, vmin=0, vmax=1), interpolation="nearest"
    )
    bar = figure.colorbar(image, cax=bar_axes, ticks=[0, 0.05, 0.2, 0.5, 1])
    bar.ax.yaxis.set_major_formatter(PercentFormatter(1))
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=0, labelsize=8, labelcolor=_MUTED)
    bar.set_label("share of the true class's videos", fontsize=8, color=_MUTED)
    axes.set_xlabel("predicted class", color=_INK, labelpad=8)
    axes.set_ylabel("true class", color=_INK, labelpad=8)
    for spine in axes.spines.values():
        spine.set_color(_GRID)
    _write_title(figure, title, subtitle)
    return figure


def _write_title(figure: Figure, title: str, subtitle: str) -> None:
    """Two lines in the upper left corner, at a fixed distance from the edge whatever the size of the figure."""
    width, height = figure.get_size_inches()
    figure.text(
        0.25 / width, 1 - 0.34 / height, _literal(title), fontsize=13, fontweight="bold", color=_INK, va="center"
    )
    figure.text(0.25 / width, 1 - 0.62 / height, _literal(subtitle), fontsize=9, color=_MUTED, va="center")


def _place(figure: Figure, left: float, bottom: float, width: float, height: float) -> Axes:
    """Add axes at a place given in inches."""
    total_width, total_height = figure.get_size_inches()
    return figure.add_axes((left / total_width, bottom / total_height, width / total_width, height / total_height))


def _small_layout(names: list[str]) -> tuple[Figure, Axes, Axes]:
    """Every class named on both axes."""
    side = max(2.4, 0.46 * len(names))
    margin = 0.55 + 0.078 * max(len(name) for name in names)
    figure = Figure(figsize=(max(margin + side + 1.1, 5.6), margin + side + 0.95), facecolor="white")
    axes = _place(figure, margin, margin, side, side)
    bar_axes = _place(figure, margin + side + 0.2, margin, 0.14, side)
    _name_classes(axes, names, fontsize=9)
    return figure, axes, bar_axes


def _name_classes(axes: Axes, names: list[str], *, fontsize: float) -> None:
    """Write every class on both axes, with thin lines between the cells."""
    axes.set_xticks(range(len(names)), names, rotation=90, fontsize=fontsize)
    axes.set_yticks(range(len(names)), names, fontsize=fontsize)
    axes.tick_params(length=0, labelcolor=_INK)
    axes.set_xticks(np.arange(len(names) - 1) + 0.5, minor=True)
    axes.set_yticks(np.arange(len(names) - 1) + 0.5, minor=True)
    axes.grid(which="minor", color=_GRID, linewidth=0.6)
    axes.tick_params(which="minor", length=0)


def _write_cells(axes: Axes, shares: NDArray[np.float64]) -> None:
    for row, column in np.argwhere(shares > 0):
        share = shares[row, column]
        colour = "white" if share > 0.35 else _INK
        text = f"{100 * share:.0f}" if share >= 0.005 else "<1"
        axes.text(column, row, text, ha="center", va="center", fontsize=8, color=colour)


def _large_layout(names: list[str]) -> tuple[Figure, Axes, Axes, Axes]:
    """Classes named where that can be read, by number otherwise; room for findings on the right."""
    is_named = len(names) <= _NAMED_CLASSES
    margin = 0.55 + 0.062 * max(len(name) for name in names) if is_named else 0.85
    figure = Figure(figsize=(margin + 13.35, margin + 8.85), facecolor="white")
    axes = _place(figure, margin, margin, 7.9, 7.9)
    bar_axes = _place(figure, margin + 8.1, margin, 0.14, 7.9)
    text_axes = _place(figure, margin + 9.15, margin, 4.0, 7.9)
    if is_named:
        _name_classes(axes, names, fontsize=7)
    else:
        axes.xaxis.set_major_locator(MaxNLocator(10, integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(10, integer=True))
        axes.tick_params(length=3, color=_GRID, labelcolor=_MUTED, labelsize=9)
    return figure, axes, bar_axes, text_axes


def _write_findings(axes: Axes, confusion: NDArray[np.int64], names: list[str], *, count: int = 20) -> None:
    """List the lowest accuracies and the most frequent mistakes."""
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
    """Write a heading and rows from `top` inches down; return where it ends."""
    axes.text(0, top, heading, fontsize=10, fontweight="bold", color=_INK, va="top")
    line = top + 0.27
    for left, right in rows:
        axes.text(0, line, left, fontsize=7.5, color=_INK, va="top")
        axes.text(4.0, line, right, fontsize=7.5, color=_MUTED, va="top", ha="right")
        line += 0.166
    return line


def _shorten(name: str) -> str:
    return _literal(name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}\u2026")


def _literal(text: str) -> str:
    """Keep matplotlib from reading dollar signs as mathematics."""
    return text.replace("$", r"\$")


def curves_figure(epochs: Sequence[dict[str, Any]], *, title: str) -> Figure:
    """Draw how training went: loss, quick evaluation, learning rate and speed over the epochs of all states.

    Args:
        epochs: the lines of log.jsonl, at least one.
        title: first line.
    """
    panels = [(_draw_loss, 2.2), (_draw_accuracy, 2.6), (_draw_rate, 1.3), (_draw_speed, 1.3)]
    if not any("eval_top1" in epoch for epoch in epochs):
        del panels[1]
    states = len({epoch["state"] for epoch in epochs})
    gap, head, foot = 0.3, 0.95 if states == 1 else 1.2, 0.65
    total = head + sum(height for _, height in panels) + gap * (len(panels) - 1) + foot
    figure = Figure(figsize=(9.6, total), facecolor="white")
    top = total - head
    for number, (draw, height) in enumerate(panels):
        axes = _place(figure, 1.05, top - height, 7.3, height)
        top -= height + gap
        _prepare(axes, epochs, name_states=number == 0)
        draw(axes, epochs)
        axes.tick_params(labelbottom=number == len(panels) - 1)
    axes.set_xlabel("epoch" if epochs[-1]["state"] == 0 else "epoch, counted over all states", color=_INK)
    seconds = sum(epoch.get("seconds", 0.0) for epoch in epochs)
    counts = f"{_count(len(epochs), 'epoch')} in {_count(states, 'state')}"
    _write_title(figure, title, f"{counts}, {describe_time(seconds)} of training")
    return figure


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _prepare(axes: Axes, epochs: Sequence[dict[str, Any]], *, name_states: bool) -> None:
    """Grid, epoch axis, and a band behind every second state."""
    last = max(epoch["total_epoch"] for epoch in epochs)
    axes.set_xlim(0.5, last + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(10, integer=True, min_n_ticks=1))
    axes.grid(axis="y", color=_GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, labelcolor=_MUTED, labelsize=9)
    for side, spine in axes.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(_GRID)
    states = sorted({epoch["state"] for epoch in epochs})
    if len(states) == 1:
        return
    for state in states:
        mine = [epoch for epoch in epochs if epoch["state"] == state]
        first, final = mine[0]["total_epoch"], mine[-1]["total_epoch"]
        if state % 2:
            axes.axvspan(first - 0.5, final + 0.5, color=_BAND, zorder=0, linewidth=0)
        if name_states:
            label = (
                f"state {state + 1}\n{mine[0]['num_frames']} frames"
                if final - first >= 0.075 * last
                else f"{state + 1}"
            )
            axes.annotate(
                label, ((first + final) / 2, 1.0), xycoords=("data", "axes fraction"), xytext=(0, 4),
                textcoords="offset points", ha="center", va="bottom", fontsize=7.5, color=_MUTED,
            )  # fmt: skip


def _draw_line(axes: Axes, epochs: Sequence[dict[str, Any]], key: str, colour: str, *, name: str = "") -> None:
    """One curve, with its name and last value written at its end; a curve may skip epochs."""
    points = [(e["total_epoch"], e[key]) for e in epochs if e.get(key) is not None and math.isfinite(e[key])]
    if not points:
        return
    x, y = zip(*points, strict=True)
    axes.plot(x, y, color=colour, linewidth=1.6, marker="o", markersize=3 if len(x) <= 60 else 0)
    if name:
        axes.annotate(
            name.format(y[-1]), (x[-1], y[-1]), xytext=(8, 0), textcoords="offset points",
            va="center", fontsize=8.5, color=colour, annotation_clip=False,
        )  # fmt: skip


def _name_panel(axes: Axes, text: str) -> None:
    axes.set_ylabel(text, fontsize=9, color=_INK)
    axes.yaxis.set_label_coords(-0.07, 0.5)


def _start_at_zero(axes: Axes) -> None:
    highest = axes.dataLim.y1
    axes.set_ylim(0, 1.06 * highest if 0 < highest < math.inf else 1)


def _draw_loss(axes: Axes, epochs: Sequence[dict[str, Any]]) -> None:
    _draw_line(axes, epochs, "train_loss", _BLUE, name="{:.3f}")
    _start_at_zero(axes)
    _name_panel(axes, "training loss")


def _draw_accuracy(axes: Axes, epochs: Sequence[dict[str, Any]]) -> None:
    """Top-1, 3 and 5 of the quick evaluation; names are kept apart where the curves end close together."""
    curves = [("eval_top5", _PURPLE, "top-5"), ("eval_top3", _GREEN, "top-3"), ("eval_top1", _ORANGE, "top-1")]
    ends = []
    for key, colour, _ in curves:
        _draw_line(axes, epochs, key, colour)
        ends.append([epoch[key] for epoch in epochs if key in epoch][-1])
    axes.set_ylim(0, 104)
    axes.yaxis.set_major_formatter(PercentFormatter(100))
    x = max(epoch["total_epoch"] for epoch in epochs if "eval_top1" in epoch)
    height = 104.0
    for (_, colour, name), end in zip(curves, ends, strict=True):
        height = min(end, height - 8)
        axes.annotate(
            f"{name} {end:.1f}%", (x, height), xytext=(8, 0), textcoords="offset points",
            va="center", fontsize=8.5, color=colour, annotation_clip=False,
        )  # fmt: skip
    _name_panel(axes, "quick evaluation\n(1 clip, centre crop)")


def _draw_rate(axes: Axes, epochs: Sequence[dict[str, Any]]) -> None:
    _draw_line(axes, epochs, "learning_rate", _INK, name="{:.2g}")
    if epochs[-1]["state"] == 0 or not axes.dataLim.minposy < math.inf:
        _start_at_zero(axes)
    else:  # the rates of several states differ by powers of ten
        axes.set_yscale("log")
        axes.yaxis.set_minor_locator(NullLocator())
    _name_panel(axes, "learning rate")


def _draw_speed(axes: Axes, epochs: Sequence[dict[str, Any]]) -> None:
    """Clips a second; the share of time spent waiting for data is said in words."""
    _draw_line(axes, epochs, "clips_per_second", _BLUE, name="{:.3g}/s")
    _start_at_zero(axes)
    waits = [epoch["data_wait_share"] for epoch in epochs if epoch.get("data_wait_share") is not None]
    if waits:
        share = f"waiting for data {100 * sum(waits) / len(waits):.0f}% of the time"
        axes.text(0.008, 0.06, share, transform=axes.transAxes, fontsize=8, color=_MUTED)
    _name_panel(axes, "clips a second")
