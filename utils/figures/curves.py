"""The figure of a training: its curves over the epochs."""

import math
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator, PercentFormatter

from utils.figures.style import BLUE, GREEN, INK, MUTED, ORANGE, PANEL, PURPLE, place, style_axes, write_title
from utils.text import count, describe_time

# Labels of the states, above the axes.
_ABOVE: dict[str, Any] = {
    "xycoords": ("data", "axes fraction"), "textcoords": "offset points", "va": "bottom", "fontsize": 7.5,
    "color": MUTED,
}  # fmt: skip
_APART = 6.0  # minimum distance of two labels, percent of accuracy


def curves_figure(epochs: Sequence[dict[str, Any]], *, title: str) -> Figure:
    """Draw loss, validation accuracy, learning rate and speed over the epochs of all states.

    Args:
        epochs: Lines of log.jsonl, at least one.
        title: First line.
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
        axes = place(figure, 1.05, top - height, 7.3, height)
        top -= height + gap
        _prepare(axes, epochs, name_states=number == 0)
        draw(axes, epochs)
        axes.tick_params(labelbottom=number == len(panels) - 1)
    axes.set_xlabel("epoch" if epochs[-1]["state"] == 0 else "epoch, counted over all states", color=INK)
    seconds = sum(epoch.get("seconds", 0.0) for epoch in epochs)
    counts = f"{count(len(epochs), 'epoch')} in {count(states, 'state')}"
    write_title(figure, title, f"{counts}, {describe_time(seconds)} of training")
    return figure


def _prepare(axes: Axes, epochs: Sequence[dict[str, Any]], *, name_states: bool) -> None:
    """Draw the grid, the epoch axis, and a band behind every second state."""
    last = max(epoch["total_epoch"] for epoch in epochs)
    axes.set_xlim(0.5, last + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(10, integer=True, min_n_ticks=1))
    style_axes(axes)
    states = sorted({epoch["state"] for epoch in epochs})
    if len(states) == 1:
        return
    for state in states:
        mine = [epoch for epoch in epochs if epoch["state"] == state]
        first, final = mine[0]["total_epoch"], mine[-1]["total_epoch"]
        if state % 2:
            axes.axvspan(first - 0.5, final + 0.5, color=PANEL, zorder=0, linewidth=0)
        if name_states:
            is_wide = final - first >= 0.075 * last
            label = f"state {state + 1}\n{mine[0]['num_frames']} frames" if is_wide else f"{state + 1}"
            axes.annotate(label, ((first + final) / 2, 1.0), xytext=(0, 4), ha="center", **_ABOVE)
            if state == 0 and not is_wide:
                axes.annotate("state", (0.5, 1.0), xytext=(-8, 4), ha="right", **_ABOVE)


def _draw_line(axes: Axes, epochs: Sequence[dict[str, Any]], key: str, color: str, *, name: str = "") -> None:
    """Draw a curve, with its name and last value at its end; epochs without a finite value are skipped."""
    points = [(e["total_epoch"], e[key]) for e in epochs if e.get(key) is not None and math.isfinite(e[key])]
    if not points:
        return
    x, y = zip(*points, strict=True)
    axes.plot(x, y, color=color, linewidth=1.6, marker="o", markersize=3 if len(x) <= 60 else 0, clip_on=False)
    if name:
        _write_behind(axes, name.format(y[-1]), (x[-1], y[-1]), color)


def _write_behind(axes: Axes, text: str, end: tuple[float, float], color: str) -> None:
    """Write a text after the end of a curve."""
    axes.annotate(
        text, end, xytext=(8, 0), textcoords="offset points",
        va="center", fontsize=8.5, color=color, annotation_clip=False,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5},  # over grid lines
    )  # fmt: skip


def _name_panel(axes: Axes, text: str) -> None:
    axes.set_ylabel(text, fontsize=9, color=INK)
    axes.yaxis.set_label_coords(-0.085, 0.5)


def _start_at_zero(axes: Axes) -> None:
    highest = axes.dataLim.y1
    axes.set_ylim(0, 1.06 * highest if 0 < highest < math.inf else 1)


def _draw_loss(axes: Axes, epochs: Sequence[dict[str, Any]]) -> None:
    _draw_line(axes, epochs, "train_loss", BLUE, name="{:.3f}")
    _start_at_zero(axes)
    _name_panel(axes, "training loss")


def _draw_accuracy(axes: Axes, epochs: Sequence[dict[str, Any]]) -> None:
    """Draw top-1, top-3 and top-5 of validation; their labels are kept apart if the curves end close together."""
    curves = [("eval_top5", PURPLE, "top-5"), ("eval_top3", GREEN, "top-3"), ("eval_top1", ORANGE, "top-1")]
    ends = []
    for key, color, _ in curves:
        _draw_line(axes, epochs, key, color)
        ends.append([epoch[key] for epoch in epochs if key in epoch][-1])
    axes.set_ylim(0, 104)
    axes.yaxis.set_major_formatter(PercentFormatter(100))
    x = max(epoch["total_epoch"] for epoch in epochs if "eval_top1" in epoch)
    height = math.inf
    for (_, color, name), end in zip(curves, ends, strict=True):
        height = min(end, height - _APART)
        _write_behind(axes, f"{name} {end:.1f}%", (x, height), color)
    _name_panel(axes, "validation\n(1 clip, center crop)")


def _draw_rate(axes: Axes, epochs: Sequence[dict[str, Any]]) -> None:
    _draw_line(axes, epochs, "learning_rate", INK, name="{:.2g}")
    if epochs[-1]["state"] == 0 or not axes.dataLim.minposy < math.inf:
        _start_at_zero(axes)
    else:  # the rates of several states differ by powers of ten
        axes.set_yscale("log")
        axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter("{x:g}")
    _name_panel(axes, "learning rate")


def _draw_speed(axes: Axes, epochs: Sequence[dict[str, Any]]) -> None:
    """Draw clips per second, with the fraction of time spent waiting for data as text."""
    _draw_line(axes, epochs, "clips_per_second", BLUE, name="{:.3g}/s")
    _start_at_zero(axes)
    waits = [epoch["data_wait_share"] for epoch in epochs if epoch.get("data_wait_share") is not None]
    if waits:
        fraction = f"waiting for data {100 * sum(waits) / len(waits):.0f}% of the time"
        axes.text(0.008, 0.06, fraction, transform=axes.transAxes, fontsize=8, color=MUTED)
    _name_panel(axes, "clips per second")
