"""Lay out the graph of a search: coordinates of nodes, edges and labels, for the page and for the figures.

States are on a grid: inputs from left to right, short to long; learning rates from top to bottom, high to low; the
initial state has a row of its own above. Neighbors, including diagonal ones, are joined by straight lines. Any other
edge runs through the channels between rows and columns, each edge in its own lane, so that none crosses a state.
Units are those of SVG: pixels, y downwards.
"""

import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from utils.planning.graph import INITIAL
from utils.search.page.geometry import Box, Point, length_of, point_at
from utils.search.page.labels import (
    edge_label,
    edge_name,
    edge_role,
    initial_weights,
    state_lines,
    state_score,
    state_tag,
)
from utils.search.result import EdgeResult, SearchResult

Cell = tuple[int, int]  # column, row; the initial state is in row -1

_LANE = 13.0  # distance between the lanes of a channel, pixels
_MARGIN = 5.0
LABEL_FONT = 12.0
# Upper bounds of the width of a letter as fractions of the font size, for regular text and for bold text and numbers.
_LETTER, _BOLD_LETTER = 0.56, 0.64
# Candidate positions of a label as fractions of the length of its edge, the best first.
_LABEL_PLACES = sorted((k / 50 for k in range(5, 46)), key=lambda fraction: abs(fraction - 0.46))


class Sizes(NamedTuple):
    """Dimensions of a drawing, pixels.

    Attributes:
        node: Minimum width of a state; wider if its text needs more.
        gap_x: Minimum distance between columns.
        gap_y: Minimum distance between rows.
        line: Height of a line of text.
        font: Font size of the text in a state.
        pad: Distance of the text from the border of its state.
        wraps: Whether the text of a state is broken into short lines and labels are numbers only.
    """

    node: float
    gap_x: float
    gap_y: float
    line: float
    font: float
    pad: float
    wraps: bool


WIDE = Sizes(node=172, gap_x=128, gap_y=62, line=18, font=13, pad=10, wraps=False)
COMPACT = Sizes(node=88, gap_x=42, gap_y=46, line=14.5, font=11.5, pad=6, wraps=True)  # three columns on a phone


class Node(NamedTuple):
    """A state in the drawing.

    Attributes:
        name: Its name, "initial" or "(input,level)".
        box: Its position and size.
        score: Text of its best score, in the upper right corner.
        lines: Lines of text below its name.
        tag: Its role in the plan ("goal", "passed through"), or empty.
        is_on_path: Whether the chosen path leads through it.
    """

    name: str
    box: Box
    score: str
    lines: tuple[str, ...]
    tag: str
    is_on_path: bool


class Edge(NamedTuple):
    """A transition in the drawing.

    Attributes:
        name: "start -> end".
        role: "path", "best", "lost", "running" or "waiting".
        points: Corners of its line, from the border of the start state to that of the end state.
        label: Text of its knee.
        label_box: Position and size of the label.
        entry: The transition in the result.
    """

    name: str
    role: str
    points: tuple[Point, ...]
    label: str
    label_box: Box
    entry: EdgeResult


class Drawing(NamedTuple):
    """The laid-out graph; width and height in pixels."""

    width: float
    height: float
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]


@dataclass(frozen=True)
class _Grid:
    """The cell of every state, and the lanes of the edges that do not join neighbors."""

    cells: Mapping[str, Cell]
    edges: Sequence[tuple[str, str]]

    def route(self, edge: tuple[str, str]) -> tuple[tuple[str, int], ...]:
        """Return the channels an edge runs through: ("h", k) is above row k, ("v", k) is left of column k."""
        (column, row), (end_column, end_row) = self.cells[edge[0]], self.cells[edge[1]]
        if max(abs(end_column - column), abs(end_row - row)) == 1:
            return ()
        leave = row + 1 if end_row > row else row
        enter = end_row if end_row >= row else end_row + 1
        if leave == enter:
            return (("h", leave),)
        side = end_column + 1 if end_column < column else end_column
        return (("h", leave), ("v", side), ("h", enter))

    @cached_property
    def lanes(self) -> dict[tuple[tuple[str, str], tuple[str, int]], int]:
        """Number of the lane that each edge takes in each channel it runs through."""
        taken: Counter[tuple[str, int]] = Counter()
        lanes = {}
        for edge in self.edges:
            for channel in self.route(edge):
                lanes[edge, channel] = taken[channel]
                taken[channel] += 1
        return lanes

    def width_of_lanes(self, kind: str, last: int) -> float:
        """Return the total width of the lanes of channels 0 to `last` of a kind ("h" or "v"), pixels."""
        return _LANE * sum(channel[0] == kind and channel[1] <= last for _, channel in self.lanes)


def lay_out(result: SearchResult, sizes: Sizes) -> Drawing:
    """Lay out the graph of a running or finished search."""
    edges = [(str(edge.start), str(edge.end)) for edge in result.edges]
    grid = _Grid(_place_in_cells(result), edges)
    labels = [edge_label(entry, in_short=sizes.wraps) for entry in result.edges]
    nodes = _list_nodes(result, sizes)
    boxes = _place_boxes(grid, nodes, sizes, labels=labels)
    columns, rows = _channel_starts(grid, boxes)
    ports = _place_ports(grid, boxes)
    lines = [_draw_line(grid, edge, boxes, ports, columns, rows) for edge in edges]
    label_boxes = _place_labels(lines, labels, list(boxes.values()))
    return Drawing(
        width=max(box.right for box in boxes.values()) + _MARGIN,
        height=max(box.bottom for box in boxes.values()) + _MARGIN,
        nodes=tuple(node._replace(box=boxes[node.name]) for node in nodes),
        edges=tuple(
            Edge(edge_name(entry), edge_role(entry, result), line, label, box, entry)
            for entry, line, label, box in zip(result.edges, lines, labels, label_boxes, strict=True)
        ),
    )


def _place_in_cells(result: SearchResult) -> dict[str, Cell]:
    """Return the cell of every state; inputs and rates that no state uses take no column or row."""
    inputs = sorted({state.input for state in result.states})
    levels = sorted({state.level for state in result.states})
    cells = {str(s.state): (inputs.index(s.input), levels.index(s.level)) for s in result.states}
    first = [cells[str(edge.end)] for edge in result.edges if edge.start == INITIAL]
    return {"initial": (min(first, key=lambda cell: (cell[1], cell[0]))[0], -1), **cells}


def _place_boxes(grid: _Grid, nodes: Sequence[Node], sizes: Sizes, *, labels: Sequence[str]) -> dict[str, Box]:
    """Return the box of every state."""
    # Leave room left of the first column for the labels of edges that run there.
    left = _MARGIN + (max(map(_label_width, labels)) / 2 if grid.width_of_lanes("v", 0) else 0)
    most, has_tag = max(len(node.lines) for node in nodes), any(node.tag for node in nodes)
    start_height, height = sizes.line * 2 + 13, sizes.line * (1 + most + has_tag) + 13
    width = max([sizes.node] + [_width_of_words(node, sizes) for node in nodes])
    boxes = {}
    for name, (column, row) in grid.cells.items():
        x = left + column * (width + sizes.gap_x) + grid.width_of_lanes("v", column)
        y = _MARGIN + start_height + row * height + (row + 1) * sizes.gap_y + grid.width_of_lanes("h", row)
        boxes[name] = Box(x, y, width, height) if row >= 0 else Box(x, _MARGIN, width, start_height)
    return boxes


def _label_width(label: str) -> float:
    return _BOLD_LETTER * LABEL_FONT * len(label) + 6


def _width_of_words(node: Node, sizes: Sizes) -> float:
    """Return the width that a state needs for its text, pixels."""
    head = _BOLD_LETTER * len(f"{node.name} {node.score}")
    rest = [_LETTER * len(line) for line in node.lines] + [_BOLD_LETTER * len(node.tag)]
    return 2 * sizes.pad + sizes.font * max(head, *rest)


def _channel_starts(grid: _Grid, boxes: Mapping[str, Box]) -> tuple[list[float], list[float]]:
    """Return where the channels start: x of ("v", 0), ("v", 1), ... and y of ("h", 0), ("h", 1), ..."""
    by_column = {column: boxes[name] for name, (column, _) in grid.cells.items()}
    by_row = {row: boxes[name] for name, (_, row) in grid.cells.items()}
    left = min(box.x for box in boxes.values()) - grid.width_of_lanes("v", 0)
    columns = [left] + [by_column[column].right for column in sorted(by_column)]
    rows = [by_row[row].bottom for row in sorted(by_row)]
    return columns, rows


def _place_ports(grid: _Grid, boxes: Mapping[str, Box]) -> dict[tuple[tuple[str, str], str], Point]:
    """Return where every edge that takes lanes leaves its start state and enters its end state.

    The vertical edge has the middle of the upper or lower side, diagonal edges have its corners. Edges that take lanes
    are spread between them: those to and from the left over the left half, others over the right half. In a column,
    edges that enter a channel from above and edges that leave it downwards get different places; otherwise their lines
    could coincide.
    """
    wanted: dict[tuple[int, int, str], list[tuple[tuple[str, str], str]]] = defaultdict(list)
    for edge in grid.edges:
        if route := grid.route(edge):
            (column, _), (end_column, _) = grid.cells[edge[0]], grid.cells[edge[1]]
            turns = column if len(route) == 1 else route[1][1] - 0.5
            for name, (_, channel), towards in (
                (edge[0], route[0], end_column if len(route) == 1 else turns),
                (edge[1], route[-1], turns),
            ):
                half = "left" if towards < grid.cells[name][0] else "right"
                wanted[channel, grid.cells[name][0], half].append((edge, name))
    ports = {}
    for (channel, _, half), users in wanted.items():
        for number, (edge, name) in enumerate(users, start=1):
            fraction, box = 0.12 + 0.34 * number / (len(users) + 1), boxes[name]
            x = box.x + box.width * (fraction if half == "left" else 1 - fraction)
            ports[edge, name] = (x, box.bottom if channel > grid.cells[name][1] else box.y)
    return ports


def _draw_line(
    grid: _Grid,
    edge: tuple[str, str],
    boxes: Mapping[str, Box],
    ports: Mapping[tuple[tuple[str, str], str], Point],
    columns: Sequence[float],
    rows: Sequence[float],
) -> tuple[Point, ...]:
    """Return the corners of the line of an edge."""
    route = grid.route(edge)
    if not route:
        return _draw_straight(grid, edge, boxes)
    start, end = ports[edge, edge[0]], ports[edge, edge[1]]
    starts = {"v": columns, "h": rows}
    first = {"v": 0.5, "h": 0.85}  # keep a line that turns below a state away from it
    lanes = [starts[kind][k] + _LANE * (grid.lanes[edge, (kind, k)] + first[kind]) for kind, k in route]
    if len(lanes) == 1:
        return (start, (start[0], lanes[0]), (end[0], lanes[0]), end)
    leave, side, enter = lanes
    return (start, (start[0], leave), (side, leave), (side, enter), (end[0], enter), end)


def _draw_straight(grid: _Grid, edge: tuple[str, str], boxes: Mapping[str, Box]) -> tuple[Point, ...]:
    """Return the straight line between neighbors: middle to middle, or corner to corner."""
    (column, row), (end_column, end_row) = grid.cells[edge[0]], grid.cells[edge[1]]
    start, end = boxes[edge[0]], boxes[edge[1]]
    right, down = end_column - column, end_row - row
    if down == 0:
        y = start.y + start.height / 2
        return ((start.right, y), (end.x, y)) if right > 0 else ((start.x, y), (end.right, y))
    leave, enter = (start.bottom, end.y) if down > 0 else (start.y, end.bottom)
    fraction = 0.5 + 0.42 * right
    return ((start.x + fraction * start.width, leave), (end.x + (1 - fraction) * end.width, enter))


def _place_labels(lines: Sequence[Sequence[Point]], labels: Sequence[str], boxes: Sequence[Box]) -> list[Box]:
    """Place every label on its line, off the states and, if there is room, off other labels and lines."""
    placed: dict[int, Box] = {}
    pieces = [(number, a, b) for number, line in enumerate(lines) for a, b in itertools.pairwise(line)]
    # Short lines first: they have the fewest places.
    for number in sorted(range(len(lines)), key=lambda number: length_of(lines[number])):
        width, height = _label_width(labels[number]), LABEL_FONT + 4
        least = math.inf
        for fraction in _LABEL_PLACES:
            x, y = point_at(lines[number], fraction)
            box = Box(x - width / 2, y - height / 2, width, height)
            cost = 100.0 * sum(map(box.overlaps, boxes)) + 10 * sum(map(box.overlaps, placed.values()))
            cost += len({other for other, a, b in pieces if other != number and box.is_crossed(a, b)})
            if cost < least:
                best, least = box, cost
            if cost == 0:
                break
        placed[number] = best
    return [placed[number] for number in range(len(lines))]


def _list_nodes(result: SearchResult, sizes: Sizes) -> list[Node]:
    """Return the states with their texts, not yet placed."""
    nowhere = Box(0, 0, 0, 0)
    is_on_path = any(edge.start == INITIAL and edge.on_path for edge in result.edges)
    words = (initial_weights(result, in_short=sizes.wraps),)
    nodes = [Node("initial", nowhere, "", words, "", is_on_path)]
    for state in result.states:
        lines = state_lines(state, wraps=sizes.wraps)
        score, tag = state_score(state, result), state_tag(state, result, in_short=sizes.wraps)
        nodes.append(Node(str(state.state), nowhere, score, lines, tag, state.on_path))
    return nodes
