"""SVG charts: axes with round ticks, and curves with a legend."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple
from xml.etree.ElementTree import Element

from utils.figures.markup import element
from utils.figures.svg import line_data

Range = tuple[float, float]
Points = Sequence[tuple[float, float]]

WIDTH, HEIGHT = 340, 204  # size of a chart, pixels
_MUTED, _GRID = "var(--muted)", "var(--grid)"
# Color and dashes of the curves in turn; the dashes distinguish them without color.
_STROKES = (("blue", ""), ("orange", "7 3"), ("green", "2 3"), ("purple", "9 3 2 3"), ("red", "4 4"))
_MARKED = 30  # curves with fewer points have a marker at each


class Frame(NamedTuple):
    """The plot area of a chart: a linear map from values to pixels.

    Attributes:
        x_range: Least and greatest value of the horizontal axis.
        y_range: Least and greatest value of the vertical axis.
        left, right, top, bottom: Sides of the plot area, pixels from the upper left corner of the chart.
    """

    x_range: Range
    y_range: Range
    left: float = 42.0
    right: float = 330.0
    top: float = 22.0
    bottom: float = 166.0

    def x(self, value: float) -> float:
        """Return the horizontal position of a value, pixels."""
        low, high = self.x_range
        return self.left + (value - low) / (high - low) * (self.right - self.left)

    def y(self, value: float) -> float:
        """Return the vertical position of a value, pixels."""
        low, high = self.y_range
        return self.bottom - (value - low) / (high - low) * (self.bottom - self.top)


def ticks(low: float, high: float, *, most: int, whole: bool = False) -> list[float]:
    """Return at most `most` round numbers between two values; integers if `whole`."""
    span = max(high - low, 1e-9)
    power = 10.0 ** math.floor(math.log10(span / most))
    step = next(step for step in (power, 2 * power, 5 * power, 10 * power, 20 * power) if span / step <= most - 1)
    if whole:
        step = max(1.0, step)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [k * step for k in range(first, last + 1)]


def _plain(value: float) -> str:
    return f"{value:.10g}"


def draw_axes(
    frame: Frame, *, x_name: str, y_name: str = "", whole: bool = True, x_text: Callable[[float], str] = _plain
) -> Iterator[Element]:
    """Yield the axes of a chart: lines, ticks and numbers.

    Args:
        frame: The plot area.
        x_name: Name of the horizontal axis, with its unit.
        y_name: Name of the vertical axis, with its unit, written above it.
        whole: Whether the ticks of the horizontal axis are whole numbers.
        x_text: Formats the number of such a tick.
    """
    left, right, bottom = frame.left, frame.right, frame.bottom
    words = {"font_size": 11, "fill": _MUTED}
    for value in ticks(*frame.y_range, most=8):
        y = frame.y(value)
        yield element("path", d=line_data([(left, y), (right, y)]), stroke=_GRID)
        place = {"x": left - 7, "y": y, "text_anchor": "end", "dominant_baseline": "central"}
        yield element("text", _plain(value), kind="tick y", **place, **words)
    for value in ticks(*frame.x_range, most=8, whole=whole):
        x = frame.x(value)
        yield element("path", d=line_data([(x, bottom), (x, bottom + 4)]), stroke=_MUTED)
        yield element("text", x_text(value), kind="tick x", x=x, y=bottom + 17, text_anchor="middle", **words)
    yield element("path", d=line_data([(left, bottom), (right, bottom)]), stroke=_MUTED)
    yield element("text", x_name, x=right, y=HEIGHT - 4, text_anchor="end", **words)
    if y_name:
        yield element("text", y_name, x=4, y=frame.top - 11, **words)


def curves_chart(
    curves: Mapping[str, Points],
    *,
    x_name: str,
    y_name: str,
    whole: bool = False,
    x_text: Callable[[float], str] = _plain,
) -> Element:
    """Return a figure element with curves in one chart, and their legend.

    Args:
        curves: Points of each curve from left to right, by name; at least one point in total.
        x_name: Name of the horizontal axis, with its unit.
        y_name: Name of the vertical axis, with its unit.
        whole: Whether the ticks of the horizontal axis are whole numbers.
        x_text: Formats the number of such a tick.
    """
    xs, ys = zip(*(point for points in curves.values() for point in points), strict=True)
    heights = _widen(ys, 0.06)
    longest = max(len(_plain(value)) for value in ticks(*heights, most=8))
    frame = Frame(_widen(xs, 0.03), heights, left=max(42.0, 9 + 0.62 * 11 * longest))
    about = f"{y_name} over {x_name}: {', '.join(curves)}"
    drawn, items = [], []
    for number, (name, points) in enumerate(curves.items()):
        color, dashes = _STROKES[number % len(_STROKES)]
        style = {"fill": "none", "stroke": f"var(--{color})", "stroke_width": 2, "stroke_dasharray": dashes}
        placed = [(frame.x(x), frame.y(y)) for x, y in points]
        drawn.append(element("path", d=line_data(placed), kind="curve", **style))
        if len(points) < _MARKED:
            drawn += [element("circle", cx=x, cy=y, r=3, fill=style["stroke"]) for x, y in placed]
        sample = element("path", d=line_data([(1, 6), (39, 6)]), **style)
        box = element("svg", sample, viewBox="0 0 40 12", width=40, height=12, aria_hidden="true")
        items.append(element("li", box, f" {name}"))
    axes = draw_axes(frame, x_name=x_name, y_name=y_name, whole=whole, x_text=x_text)
    size = {"viewBox": f"0 0 {WIDTH} {HEIGHT}", "font_size": 12}
    svg = element("svg", *axes, *drawn, kind="chart", role="img", aria_label=about, **size)
    return element("figure", svg, element("ul", *items, kind="legend"))


def _widen(values: Sequence[float], margin: float) -> Range:
    """Return the range of some values, widened at both ends by a fraction of it (of the value itself if constant)."""
    low, high = min(values), max(values)
    pad = margin * (high - low or abs(high) or 1.0)
    return low - pad, high + pad
