"""The drawings of a search's page as inline SVG: the graph of states, and the curve of a transition."""

import html
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from utils.search.page.geometry import Point, arrow_head, round_corners
from utils.search.page.labels import (
    Entry,
    Range,
    Ranges,
    broke_down,
    describe_edge,
    edge_name,
    fitted_curve,
    is_number,
    knee_epoch,
    knee_value,
    number,
    ticks,
    verdict_text,
)
from utils.search.page.layout import COMPACT, WIDE, Edge, Node, Sizes, lay_out

_SMALLEST = 0.85  # a graph shrinks so far to fit its page, then it scrolls: its words stay readable
_HALF_HEAD = 4.5  # half of an arrow head's base; that of the path is half as wide again


def graph_svgs(result: Entry, anchors: Mapping[str, str]) -> str:
    """Return the graph twice, for a desk and for a phone; the style sheet shows one of them.

    Args:
        result: The result of a search.
        anchors: For each transition that has a chart, the id of it: the transition's line leads there.
    """
    return "\n".join(_graph_svg(result, name, sizes, anchors) for name, sizes in (("wide", WIDE), ("compact", COMPACT)))


def _graph_svg(result: Entry, name: str, sizes: Sizes, anchors: Mapping[str, str]) -> str:
    drawing = lay_out(result, sizes)
    width, height = round(drawing.width), round(drawing.height)
    # The path is drawn last, over what it crosses; labels are over all lines.
    edges = sorted(drawing.edges, key=lambda edge: edge.role == "path")
    title = f"The graph of {html.escape(result['record'])}: {len(drawing.nodes)} states, {len(edges)} transitions"
    return "\n".join(
        [
            f'<div class="graph {name}" role="region" aria-label="Graph, {name}" tabindex="0">',
            f'<svg id="graph-{name}" viewBox="0 0 {width} {height}" role="group" aria-labelledby="graph-{name}-title" '
            f'font-size="{sizes.font}" style="width:clamp({_SMALLEST * width:.0f}px,100%,{width}px)">',
            f'<title id="graph-{name}-title">{title}</title>',
            *(_edge_svg(edge, result, anchors) for edge in edges),
            *(_label_svg(edge) for edge in drawing.edges),
            *(_node_svg(node, sizes) for node in drawing.nodes),
            "</svg></div>",
        ]
    )


def _edge_svg(edge: Edge, result: Entry, anchors: Mapping[str, str]) -> str:
    head, stop = arrow_head(edge.points, width=_HALF_HEAD * (1.5 if edge.role == "path" else 1))
    words = html.escape(describe_edge(edge.entry, result))
    shape = (
        f'<path class="reach" d="{_line_data(edge.points)}"/>'
        f'<path class="line" d="{_line_data([*edge.points[:-1], stop])}"/>'
        f'<polygon points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in head)}"/>'
    )
    group = f'<g class="edge {edge.role}" data-edge="{html.escape(edge.name)}"><title>{words}</title>{shape}</g>'
    anchor = anchors.get(edge.name)
    return f'<a href="#{anchor}" aria-label="{words}">{group}</a>' if anchor else group


def _line_data(points: Sequence[Point]) -> str:
    """Return a line with round corners as path data."""
    pieces: list[str] = []
    for (before, after), corner in zip(round_corners(points), points, strict=True):
        pieces.append(f"{'L' if pieces else 'M'}{before[0]:.1f} {before[1]:.1f}")
        if before != after:
            pieces.append(f"Q{corner[0]:.1f} {corner[1]:.1f} {after[0]:.1f} {after[1]:.1f}")
    return "".join(pieces)


def _label_svg(edge: Edge) -> str:
    box = edge.label_box
    return (
        f'<g class="label {edge.role}" data-label="{html.escape(edge.name)}" aria-hidden="true">'
        f'<rect x="{box.x:.1f}" y="{box.y:.1f}" width="{box.width:.1f}" height="{box.height:.1f}" rx="4"/>'
        f'<text x="{box.x + box.width / 2:.1f}" y="{box.y + box.height / 2:.1f}" text-anchor="middle" '
        f'dominant-baseline="central">{html.escape(edge.label)}</text></g>'
    )


def _node_svg(node: Node, sizes: Sizes) -> str:
    box, pad = node.box, sizes.pad
    texts = [f'<text class="name" x="{box.x + pad:.1f}" y="{box.y + sizes.line:.1f}">{html.escape(node.name)}</text>']
    if node.score:
        texts.append(
            f'<text class="score" x="{box.right - pad:.1f}" y="{box.y + sizes.line:.1f}" text-anchor="end">'
            f"{html.escape(node.score)}</text>"
        )
    rows = [("", line) for line in node.lines] + ([("tag", node.tag)] if node.tag else [])
    for row, (kind, line) in enumerate(rows, start=2):
        y = box.y + row * sizes.line
        texts.append(f'<text class="{kind or "line"}" x="{box.x + pad:.1f}" y="{y:.1f}">{html.escape(line)}</text>')
    kind = "node path" if node.is_on_path else "node"
    return (
        f'<g class="{kind}" data-node="{html.escape(node.name)}">'
        f'<rect x="{box.x:.1f}" y="{box.y:.1f}" width="{box.width:.1f}" height="{box.height:.1f}" rx="6"/>'
        f"{''.join(texts)}</g>"
    )


class Frame(NamedTuple):
    """Where a chart's scores and epochs are: a linear map from both to pixels."""

    epochs: Range
    scores: Range
    left: float = 42.0
    right: float = 330.0
    top: float = 22.0
    bottom: float = 166.0

    def x(self, epoch: float) -> float:
        """Return the place of an epoch."""
        low, high = self.epochs
        return self.left + (epoch - low) / (high - low) * (self.right - self.left)

    def y(self, score: float) -> float:
        """Return the height of a score."""
        low, high = self.scores
        return self.bottom - (score - low) / (high - low) * (self.bottom - self.top)


_WIDTH, _HEIGHT = 340, 204


def curve_svg(edge: Entry, ranges: Ranges, *, result: Entry, name: str) -> str:
    """Return the chart of a transition: its points, the fitted curve, the knee, and where training broke down.

    Args:
        edge: A transition with scores.
        ranges: Its axes (see `chart_ranges`).
        result: The result it is of.
        name: Id of the chart's title.
    """
    frame = Frame(ranges.epochs, ranges.scores)
    return "\n".join(
        [
            f'<svg class="chart" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-labelledby="{name}" font-size="12" '
            f'data-edge="{html.escape(edge_name(edge))}">',
            f'<title id="{name}">{html.escape(describe_edge(edge, result))}</title>',
            *_axes_svg(frame),
            *_fit_svg(edge, frame),
            *_knee_svg(edge, frame),
            *_points_svg(edge, frame),
            *_breakdown_svg(edge, frame),
            "</svg>",
        ]
    )


def _axes_svg(frame: Frame) -> Iterator[str]:
    for score in ticks(*frame.scores, most=8):
        y = frame.y(score)
        yield f'<path class="grid" d="M{frame.left} {y:.2f}H{frame.right}"/>'
        yield f'<text class="tick y" x="{frame.left - 7}" y="{y:.2f}" text-anchor="end" dominant-baseline="central">'
        yield f"{score:.10g}</text>"
    for epoch in ticks(*frame.epochs, most=8, whole=True):
        x = frame.x(epoch)
        yield f'<path class="mark" d="M{x:.2f} {frame.bottom}v4"/>'
        yield f'<text class="tick x" x="{x:.2f}" y="{frame.bottom + 17}" text-anchor="middle">{epoch:.0f}</text>'
    yield f'<path class="axis" d="M{frame.left} {frame.bottom}H{frame.right}"/>'
    yield f'<text class="tick" x="{frame.right}" y="{_HEIGHT - 4}" text-anchor="end">epoch</text>'


def _fit_svg(edge: Entry, frame: Frame) -> Iterator[str]:
    if points := fitted_curve(edge):
        data = " ".join(f"{frame.x(epoch):.2f},{frame.y(score):.2f}" for epoch, score in points)
        yield f'<polyline class="fit" points="{data}"/>'


def _points_svg(edge: Entry, frame: Frame) -> Iterator[str]:
    """Points up to the knee are filled; those beyond it belong to no path and are hollow."""
    knee = knee_epoch(edge)
    for epoch, score in enumerate(edge["scores"]):
        if is_number(score):
            kind = "kept" if knee is None or epoch <= knee else "beyond"
            yield f'<circle class="{kind}" cx="{frame.x(epoch):.2f}" cy="{frame.y(score):.2f}" r="3">'
            yield f"<title>epoch {epoch}: {number(score)}</title></circle>"


def _knee_svg(edge: Entry, frame: Frame) -> Iterator[str]:
    knee, value = knee_epoch(edge), knee_value(edge)
    if knee is None or value is None:
        return
    x, y = frame.x(knee), frame.y(value)
    yield f'<path class="knee" d="M{x:.2f} {frame.bottom}V{frame.top}"/>'
    yield f'<path class="diamond" d="M{x:.2f} {y - 7:.2f}l7 7l-7 7l-7 -7z"><title>knee: epoch {knee}, '
    yield f"{number(value)}</title></path>"
    # The label is above the plot, where no point can be, on the side with more room.
    is_left = knee > sum(frame.epochs) / 2
    yield f'<text class="knee" x="{x + (4 if is_left else -4):.2f}" y="{frame.top - 7}" '
    yield f'text-anchor="{"end" if is_left else "start"}">knee {knee}: {number(value)}</text>'


def _breakdown_svg(edge: Entry, frame: Frame) -> Iterator[str]:
    epoch = broke_down(edge)
    if epoch is None:
        return
    x, y = frame.x(epoch), frame.bottom
    yield f'<path class="lastline" d="M{x:.2f} {y}V{frame.top}"/>'
    yield f'<path class="broken" d="M{x - 5:.2f} {y - 5}l10 10m0 -10l-10 10"><title>epoch {epoch}: training broke '
    yield "down</title></path>"


def legend(kinds: Mapping[str, str]) -> str:
    """Return samples of lines with what they mean."""
    items = (
        f'<li><svg viewBox="0 0 40 12" width="40" height="12" aria-hidden="true"><g class="edge {kind}">'
        f'<path class="line" d="M1 6H32"/><polygon points="39,6 31,2 31,10"/></g></svg> {html.escape(text)}</li>'
        for kind, text in kinds.items()
    )
    return f'<ul class="legend">{"".join(items)}</ul>'


def verdict_mark(edge: Entry) -> str:
    """Return the sign and the word of a verdict."""
    sign, word = verdict_text(edge)
    kind = "broken" if broke_down(edge) is not None else edge["verdict"]
    return f'<span class="verdict {kind}"><span aria-hidden="true">{sign}</span> {html.escape(word)}</span>'
