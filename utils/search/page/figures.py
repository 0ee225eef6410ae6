"""Pictures of a search for papers: the graph with the chosen path, and every transition's curve.

The same content as the page, from the same layout. Figures are matplotlib objects made without pyplot.
"""

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, PathPatch, Polygon
from matplotlib.path import Path as Outline

from utils.search.page.geometry import Point, arrow_head, round_corners
from utils.search.page.labels import (
    METRICS,
    PROTOCOL,
    Entry,
    Ranges,
    arrow_name,
    broke_down,
    chart_ranges,
    edge_name,
    fitted_curve,
    is_number,
    knee_epoch,
    knee_value,
    number,
    ordered_edges,
    ticks,
    verdict_text,
)
from utils.search.page.layout import LABEL_FONT, WIDE, Edge, Node, lay_out

_INK, _MUTED, _GRID, _TINT = "#1f2933", "#55606b", "#e4e8ec", "#e5eff9"
_PATH, _BEST, _LOST, _KNEE, _BAD = "#1d5fa8", "#39444f", "#87929d", "#b05c0b", "#b3261e"
_PIXEL = 1 / 100  # inches of a pixel of the layout
_POINT = 72 * _PIXEL  # points of a pixel
_HEAD = 0.85  # inches above the drawing, for its title

# Colour, width in pixels and dashes of a line by the role of its edge.
_STROKES: dict[str, tuple[str, float, tuple[float, ...]]] = {
    "path": (_PATH, 4.0, ()),
    "best": (_BEST, 1.8, ()),
    "lost": (_LOST, 1.2, ()),
    "running": (_PATH, 2.4, (6, 3)),
    "waiting": (_LOST, 1.2, (2, 3)),
}


def graph_figure(result: Entry) -> Figure:
    """Draw the graph of a search with the chosen path.

    Args:
        result: See `utils.search.result.build_result`.
    """
    drawing = lay_out(result, WIDE)
    width, height = max(drawing.width * _PIXEL, 6.0), drawing.height * _PIXEL + _HEAD
    figure = Figure(figsize=(width, height), facecolor="white")
    axes = figure.add_axes((0, 0, drawing.width * _PIXEL / width, drawing.height * _PIXEL / height))
    axes.set(xlim=(0, drawing.width), ylim=(drawing.height, 0))
    axes.set_axis_off()
    for edge in sorted(drawing.edges, key=lambda edge: edge.role == "path"):
        _draw_edge(axes, edge)
    for edge in drawing.edges:
        _draw_label(axes, edge)
    for node in drawing.nodes:
        _draw_node(axes, node)
    _write_title(figure, result, _describe(result))
    return figure


def _describe(result: Entry) -> str:
    metric = METRICS[result["metric"]]
    if not result["complete"]:
        return f"the search is running; scores in % ({metric}, {PROTOCOL})"
    warning = ", selected on the evaluation list" if result["selection"]["kind"] == "eval_list" else ""
    return f"score {number(result['score'])}% ({metric}, {PROTOCOL}, fitted at the knee{warning})"


def _write_title(figure: Figure, result: Entry, subtitle: str) -> None:
    width, height = figure.get_size_inches()
    rows = ((result["record"], 0.3, 12, "bold", _INK), (subtitle, 0.56, 8.5, "normal", _MUTED))
    for text, down, size, weight, colour in rows:
        figure.text(
            0.12 / width, 1 - down / height, text,
            fontsize=size, fontweight=weight, color=colour, va="center", parse_math=False,
        )  # fmt: skip


def _draw_edge(axes: Axes, edge: Edge) -> None:
    colour, width, dashes = _STROKES[edge.role]
    head, stop = arrow_head(edge.points, width=6.5 if edge.role == "path" else 4.5)
    line = (*edge.points[:-1], stop)
    vertices: list[Point] = []
    codes: list[np.uint8] = []
    for (before, after), corner in zip(round_corners(line), line, strict=True):
        vertices.append(before)
        codes.append(Outline.LINETO if codes else Outline.MOVETO)
        if before != after:
            vertices += [corner, after]
            codes += [Outline.CURVE3, Outline.CURVE3]
    style = (0, dashes) if dashes else "solid"
    outline = Outline(vertices, codes)
    axes.add_patch(
        PathPatch(outline, fill=False, edgecolor=colour, linewidth=width * _POINT, linestyle=style, gid=edge.name)
    )
    axes.add_patch(Polygon(head, closed=True, facecolor=colour, linewidth=0))


def _draw_label(axes: Axes, edge: Edge) -> None:
    box, is_on_path = edge.label_box, edge.role == "path"
    axes.text(
        box.x + box.width / 2, box.y + box.height / 2, edge.label, ha="center", va="center",
        fontsize=LABEL_FONT * _POINT, fontweight="bold" if is_on_path else "normal",
        color=_PATH if is_on_path else _MUTED, bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.2},
    )  # fmt: skip


def _draw_node(axes: Axes, node: Node) -> None:
    box = node.box
    axes.add_patch(
        FancyBboxPatch(
            (box.x, box.y), box.width, box.height, boxstyle="round,pad=0,rounding_size=6", gid=node.name,
            facecolor=_TINT if node.is_on_path else "white", edgecolor=_PATH if node.is_on_path else _LOST,
            linewidth=(3 if node.is_on_path else 1.2) * _POINT,
        )
    )  # fmt: skip
    size, left, right = WIDE.font * _POINT, box.x + WIDE.pad, box.right - WIDE.pad
    axes.text(left, box.y + WIDE.line, node.name, fontsize=size, fontweight="bold", color=_INK)
    axes.text(right, box.y + WIDE.line, node.score, fontsize=size, fontweight="bold", color=_INK, ha="right")
    rows = [(line, _MUTED, "normal") for line in node.lines] + ([(node.tag, _PATH, "bold")] if node.tag else [])
    for row, (text, colour, weight) in enumerate(rows, start=2):
        axes.text(left, box.y + row * WIDE.line, text, fontsize=size, color=colour, fontweight=weight)


_COLUMNS = 3
_CHART_WIDTH, _CHART_HEIGHT = 2.75, 1.45  # inches
_GAP_X, _GAP_Y = 0.62, 0.78


def edges_figure(result: Entry) -> Figure:
    """Draw the curve of every transition that has scores, those of the path first.

    Args:
        result: See `utils.search.result.build_result`.
    """
    drawn = [(place, edge) for place, edge in ordered_edges(result) if edge["scores"]]
    columns, rows = min(_COLUMNS, max(len(drawn), 1)), math.ceil(len(drawn) / _COLUMNS)
    width = max(columns * (_CHART_WIDTH + _GAP_X) + 0.2, 6.0)
    height = _HEAD + rows * (_CHART_HEIGHT + _GAP_Y) + 0.1
    figure = Figure(figsize=(width, height), facecolor="white")
    ranges = chart_ranges(result)
    for k, (place, edge) in enumerate(drawn):
        left = (k % columns) * (_CHART_WIDTH + _GAP_X) + _GAP_X - 0.06
        bottom = height - _HEAD - (k // columns + 1) * (_CHART_HEIGHT + _GAP_Y) + _GAP_Y - 0.3
        axes = figure.add_axes((left / width, bottom / height, _CHART_WIDTH / width, _CHART_HEIGHT / height))
        _draw_chart(axes, place, edge, ranges[edge_name(edge)])
    metric = f"{METRICS[result['metric']]}, {PROTOCOL}"
    text = f"score in % ({metric}) over epochs; filled points: up to the knee; blue frames: on the path"
    _write_title(figure, result, text)
    return figure


def _draw_chart(axes: Axes, place: int, edge: Entry, ranges: Ranges) -> None:
    is_on_path = edge["on_path"]
    margin = 0.02 * (ranges.epochs[1] - ranges.epochs[0])
    axes.set(xlim=(ranges.epochs[0] - margin, ranges.epochs[1] + margin), ylim=ranges.scores)
    axes.set_xticks(ticks(*ranges.epochs, most=8, whole=True))
    axes.set_yticks(ticks(*ranges.scores, most=7))
    axes.grid(axis="y", color=_GRID, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(length=2, color=_LOST, labelcolor=_MUTED, labelsize=7)
    for side, spine in axes.spines.items():
        spine.set_visible(side == "bottom" or is_on_path)
        spine.set(color=_PATH if is_on_path else _LOST, linewidth=1.2 if is_on_path else 0.7)
    sign, word = verdict_text(edge)
    weight, colour = ("bold", _PATH) if is_on_path else ("normal", _INK)
    axes.set_title(f"{place}. {arrow_name(edge)}", loc="left", fontsize=8.5, fontweight=weight, color=colour, pad=14)
    axes.set_title(f"{sign} {word}", loc="right", fontsize=7.5, color=_MUTED, pad=14)
    _draw_curve(axes, edge)


def _draw_curve(axes: Axes, edge: Entry) -> None:
    """Points, fit, knee and breakdown."""
    if points := fitted_curve(edge):
        axes.plot(*zip(*points, strict=True), color=_PATH, linewidth=1.3, gid="fit")
    knee, value, broken = knee_epoch(edge), knee_value(edge), broke_down(edge)
    if knee is not None and value is not None:
        is_left = knee > sum(axes.get_xlim()) / 2
        axes.axvline(knee, color=_KNEE, linewidth=0.9, linestyle=(0, (4, 3)))
        axes.plot([knee], [value], marker="D", markersize=6.5, color=_KNEE, markeredgecolor="white", gid="knee")
        axes.annotate(
            f"knee {knee}: {number(value)}", (knee, 1), xycoords=("data", "axes fraction"),
            xytext=(3 if is_left else -3, 3), textcoords="offset points",
            ha="right" if is_left else "left", va="bottom", fontsize=7, color=_KNEE,
        )  # fmt: skip
    scores = [(epoch, score) for epoch, score in enumerate(edge["scores"]) if is_number(score)]
    kept = [(epoch, score) for epoch, score in scores if knee is None or epoch <= knee]
    for found, fill, name in ((kept, _INK, "kept"), (scores[len(kept) :], "white", "beyond")):
        if found:
            axes.plot(
                *zip(*found, strict=True), linestyle="none", marker="o", markersize=3.2, gid=name,
                markerfacecolor=fill, markeredgecolor=_INK, markeredgewidth=0.7,
            )  # fmt: skip
    if broken is not None:
        axes.axvline(broken, color=_BAD, linewidth=0.9, linestyle=(0, (1, 3)))
        low = axes.get_ylim()[0]
        axes.plot(
            [broken], [low], marker="x", markersize=6, color=_BAD, markeredgewidth=1.8, clip_on=False, gid="broken"
        )
