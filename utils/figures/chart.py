"""Charts in SVG: axes with round numbers."""

import math
from collections.abc import Iterator
from typing import NamedTuple
from xml.etree.ElementTree import Element

from utils.figures.markup import element
from utils.figures.svg import line_data

Range = tuple[float, float]

WIDTH, HEIGHT = 340, 204  # of a chart, pixels
_MUTED, _GRID = "var(--muted)", "var(--grid)"


class Frame(NamedTuple):
    """The plot area of a chart: a linear map from values to pixels.

    Attributes:
        x_range: Least and greatest value of the horizontal axis.
        y_range: Least and greatest value of the vertical axis.
        left, right, top, bottom: Its sides, pixels from the chart's upper left corner.
    """

    x_range: Range
    y_range: Range
    left: float = 42.0
    right: float = 330.0
    top: float = 22.0
    bottom: float = 166.0

    def x(self, value: float) -> float:
        """Return where a value of the horizontal axis is, pixels."""
        low, high = self.x_range
        return self.left + (value - low) / (high - low) * (self.right - self.left)

    def y(self, value: float) -> float:
        """Return where a value of the vertical axis is, pixels."""
        low, high = self.y_range
        return self.bottom - (value - low) / (high - low) * (self.bottom - self.top)


def ticks(low: float, high: float, *, most: int, whole: bool = False) -> list[float]:
    """Return round numbers between two values, at most `most` of them."""
    span = max(high - low, 1e-9)
    power = 10.0 ** math.floor(math.log10(span / most))
    step = next(step for step in (power, 2 * power, 5 * power, 10 * power, 20 * power) if span / step <= most - 1)
    if whole:
        step = max(1.0, step)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [k * step for k in range(first, last + 1)]


def draw_axes(frame: Frame, *, x_name: str) -> Iterator[Element]:
    """Yield the axes of a chart: lines, ticks and numbers, which are whole on the horizontal axis.

    Args:
        frame: The plot area.
        x_name: Name of the horizontal axis.
    """
    left, right, bottom = frame.left, frame.right, frame.bottom
    words = {"font_size": 11, "fill": _MUTED}
    for value in ticks(*frame.y_range, most=8):
        y = frame.y(value)
        yield element("path", d=line_data([(left, y), (right, y)]), stroke=_GRID)
        place = {"x": left - 7, "y": y, "text_anchor": "end", "dominant_baseline": "central"}
        yield element("text", f"{value:.10g}", kind="tick y", **place, **words)
    for value in ticks(*frame.x_range, most=8, whole=True):
        x = frame.x(value)
        yield element("path", d=line_data([(x, bottom), (x, bottom + 4)]), stroke=_MUTED)
        yield element("text", f"{value:.0f}", kind="tick x", x=x, y=bottom + 17, text_anchor="middle", **words)
    yield element("path", d=line_data([(left, bottom), (right, bottom)]), stroke=_MUTED)
    yield element("text", x_name, x=right, y=HEIGHT - 4, text_anchor="end", **words)
