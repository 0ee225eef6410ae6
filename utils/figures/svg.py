"""Draw the SVG of this project's own renderers with matplotlib, so that pages and figures show the same."""

import math
import re
from collections.abc import Iterable, Sequence
from typing import Any
from xml.etree.ElementTree import Element

from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyBboxPatch, Patch, PathPatch
from matplotlib.path import Path
from matplotlib.transforms import Affine2D, Transform

from utils.figures.style import LETTERS, PALETTE, write_title

_PIXEL = 1 / 100  # size of a pixel of a drawing, inches
_POINT = 72 * _PIXEL  # size of a pixel, points
_GAP = 16  # space between and around drawings, pixels
_HEAD = 0.8  # space above them for the title, inches
_CODES = {"M": [Path.MOVETO], "L": [Path.LINETO], "Q": [Path.CURVE3] * 2, "Z": [Path.CLOSEPOLY]}


def line_data(points: Iterable[tuple[float, float]]) -> str:
    """Return SVG path data of a polyline."""
    return "M" + "L".join(f"{x:.2f} {y:.2f}" for x, y in points)


def svg_figure(drawings: Sequence[Element], *, columns: int = 1, title: str, subtitle: str) -> Figure:
    """Return a figure of drawings in rows under a title.

    Args:
        drawings: SVG elements with a `viewBox`, all of one size. Their elements `path` (absolute M, L, Q and Z),
            `rect`, `circle` and `text` are drawn by their own attributes; a color is "none" or "var(--NAME)".
        columns: Number of drawings in a row.
        title: First line.
        subtitle: Second line.
    """
    boxes = [[float(value) for value in drawing.attrib["viewBox"].split()] for drawing in drawings]
    width, height = (max((box[k] for box in boxes), default=0) for k in (2, 3))
    columns, rows = min(columns, max(len(drawings), 1)), math.ceil(len(drawings) / columns)
    words = (letter * len(text) + 0.5 for letter, text in zip(LETTERS, (title, subtitle), strict=True))
    inner = (columns * (width + _GAP) + _GAP) * _PIXEL
    total = (rows * (height + _GAP) + _GAP) * _PIXEL + _HEAD
    figure = Figure(figsize=(max(inner, *words), total), facecolor="white")
    write_title(figure, title, subtitle)
    for number, (drawing, (left, top, *_)) in enumerate(zip(drawings, boxes, strict=True)):
        row, column = divmod(number, columns)
        corner = Affine2D().translate(column * (width + _GAP) + _GAP - left, row * (height + _GAP) + _GAP - top)
        _draw(figure, drawing, corner.scale(_PIXEL, -_PIXEL).translate(0, total - _HEAD) + figure.dpi_scale_trans)
    return figure


def _draw(figure: Figure, drawing: Element, transform: Transform) -> None:
    """Draw the shapes of a drawing in order.

    Args:
        figure: Figure to draw on.
        drawing: The SVG element.
        transform: Transform from pixels of the drawing to pixels of the figure.
    """
    for order, shape in enumerate(drawing.iter()):
        if shape.tag == "text":
            (x, y), size = _numbers(shape, "x", "y"), float(shape.get("font-size") or drawing.attrib["font-size"])
            is_central = shape.get("dominant-baseline") == "central"
            figure.text(
                x, y, shape.text or "", zorder=order, transform=transform,
                color=_color(shape.get("fill", "var(--ink)")), fontsize=size * _POINT,
                fontweight="bold" if shape.get("font-weight") else "normal",
                ha={"middle": "center", "end": "right"}.get(shape.get("text-anchor", ""), "left"),
                va="center_baseline" if is_central else "baseline",
            )  # fmt: skip
        elif shape.tag in _SHAPES:
            dashes = [float(length) for length in shape.get("stroke-dasharray", "").split()]
            width = float(shape.get("stroke-width", 1))
            figure.add_artist(
                _SHAPES[shape.tag](
                    shape, facecolor=_color(shape.get("fill", "none")), edgecolor=_color(shape.get("stroke", "none")),
                    linewidth=width * _POINT, linestyle=(0, [d / width for d in dashes]) if dashes else "solid",
                    zorder=order, capstyle="butt", transform=transform,
                )
            )  # fmt: skip


def _color(value: str) -> str:
    return value if value == "none" else PALETTE[value.removeprefix("var(--").removesuffix(")")][0]


def _numbers(shape: Element, *names: str) -> list[float]:
    return [float(shape.attrib[name]) for name in names]


def _path(shape: Element, **style: Any) -> Patch:
    vertices: list[tuple[float, float]] = []
    codes: list[Any] = []
    for letter, numbers in re.findall(r"([MLQZ])([^MLQZ]*)", shape.attrib["d"]):
        values = [float(value) for value in numbers.split()] or [0.0, 0.0]
        vertices += zip(values[::2], values[1::2], strict=True)
        codes += _CODES[letter]
    return PathPatch(Path(vertices, codes), **style)


def _rect(shape: Element, **style: Any) -> Patch:
    x, y, width, height, radius = _numbers(shape, "x", "y", "width", "height", "rx")
    return FancyBboxPatch((x, y), width, height, boxstyle=f"round,pad=0,rounding_size={radius}", **style)


def _circle(shape: Element, **style: Any) -> Patch:
    x, y, radius = _numbers(shape, "cx", "cy", "r")
    return Circle((x, y), radius, **style)


_SHAPES = {"path": _path, "rect": _rect, "circle": _circle}
