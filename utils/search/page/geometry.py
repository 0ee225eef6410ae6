"""Points, boxes and polylines in SVG coordinates: pixels, y downwards."""

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

Point = tuple[float, float]

ARROW = 8.0  # length of an arrow head, pixels
_CORNER = 7.0  # radius of a rounded corner, pixels


class Box(NamedTuple):
    """A rectangle: upper left corner and size, pixels."""

    x: float
    y: float
    width: float
    height: float

    @property
    def right(self) -> float:
        """Coordinate x of the right side."""
        return self.x + self.width

    @property
    def bottom(self) -> float:
        """Coordinate y of the lower side."""
        return self.y + self.height

    def overlaps(self, other: "Box") -> bool:
        """Return whether two boxes have a common area."""
        return self.x < other.right and other.x < self.right and self.y < other.bottom and other.y < self.bottom

    def is_crossed(self, start: Point, end: Point) -> bool:
        """Return whether the segment between two points crosses the interior; touching the border does not count."""
        low, high = 0.0, 1.0  # the part of the segment inside, as fractions of its length
        for a, b, least, most in ((start[0], end[0], self.x, self.right), (start[1], end[1], self.y, self.bottom)):
            if a == b:
                if not least < a < most:
                    return False
                continue
            first, last = sorted(((least - a) / (b - a), (most - a) / (b - a)))
            low, high = max(low, first), min(high, last)
        return low < high


def length_of(line: Sequence[Point]) -> float:
    """Return the length of a polyline."""
    return sum(math.dist(a, b) for a, b in itertools.pairwise(line))


def point_at(line: Sequence[Point], fraction: float) -> Point:
    """Return the point of a polyline at a fraction (0 to 1) of its length."""
    lengths = [math.dist(a, b) for a, b in itertools.pairwise(line)]
    left = fraction * sum(lengths)
    for (a, b), length in zip(itertools.pairwise(line), lengths, strict=True):
        if left <= length and length > 0:
            part = left / length
            return a[0] + part * (b[0] - a[0]), a[1] + part * (b[1] - a[1])
        left -= length
    return line[-1]


def round_line(line: Sequence[Point]) -> str:
    """Return SVG path data of a polyline with rounded corners."""
    pieces = ["M{:.1f} {:.1f}".format(*line[0])]
    for before, corner, after in zip(line, line[1:], line[2:], strict=False):
        turn = []
        for other in (before, after):
            length = math.dist(corner, other)
            part = min(_CORNER, length / 2) / length if length else 0.0
            turn += [corner[0] + part * (other[0] - corner[0]), corner[1] + part * (other[1] - corner[1])]
        pieces.append("L{:.1f} {:.1f}Q{:.1f} {:.1f} {:.1f} {:.1f}".format(*turn[:2], *corner, *turn[2:]))
    return "".join([*pieces, "L{:.1f} {:.1f}".format(*line[-1])])


def arrow_head(line: Sequence[Point], *, width: float) -> tuple[tuple[Point, Point, Point], Point]:
    """Return the arrow head of a polyline.

    Args:
        line: Points of the polyline.
        width: Half the width of the head at its base, pixels.

    Returns:
        The triangle, tip first, and the middle of its base, where the line has to stop.
    """
    tip = line[-1]
    before = next(point for point in reversed(line[:-1]) if point != tip)
    length = math.dist(before, tip)
    x, y = (tip[0] - before[0]) / length, (tip[1] - before[1]) / length
    base = (tip[0] - ARROW * x, tip[1] - ARROW * y)
    left, right = (base[0] - width * y, base[1] + width * x), (base[0] + width * y, base[1] - width * x)
    return (tip, left, right), base
