"""SVG drawings of a search for its page and its figures: the graph, and the curve of a transition.

Colors are those of the style sheet (`utils.figures.style.PALETTE`).
"""

from collections.abc import Iterator, Mapping, Sequence
from xml.etree.ElementTree import Element

from matplotlib.figure import Figure

from utils.figures.chart import HEIGHT, WIDTH, Frame, draw_axes
from utils.figures.markup import element
from utils.figures.svg import line_data, svg_figure
from utils.search.page import labels
from utils.search.page.geometry import Point, arrow_head, round_line
from utils.search.page.labels import Ranges, number
from utils.search.page.layout import LABEL_FONT, WIDE, Edge, Node, Sizes, lay_out
from utils.search.result import EdgeResult, SearchResult

_INK, _MUTED, _GRID, _BLUE, _ORANGE, _RED = (
    f"var(--{name})" for name in ("ink", "muted", "grid", "blue", "orange", "red")
)
_BACK, _TINT, _STRONG, _FAINT = (f"var(--{name})" for name in ("back", "tint", "strong", "faint"))
_BOLD = 650
_SMALLEST = 0.85  # a graph shrinks to this fraction to fit the page, then scrolls, so that its text stays readable

# Color, width and dashes of the line of a transition, and half the width of its arrow head, by its role in the plan.
_STROKES: dict[str, tuple[str, float, str, float]] = {
    "path": (_BLUE, 4, "", 6.75),
    "best": (_STRONG, 2, "", 4.5),
    "lost": (_FAINT, 1.3, "", 4.5),
    "running": (_BLUE, 2.6, "9 5", 4.5),
    "waiting": (_FAINT, 1.3, "2 4", 4.5),
}


def graph_svg(result: SearchResult, sizes: Sizes, *, name: str = "", anchors: Mapping[str, str]) -> Element:
    """Return the graph of a search.

    Args:
        result: The result of the search.
        sizes: Dimensions, for a desktop or a phone.
        name: The id of the SVG element.
        anchors: The id of the chart of each transition that has one; its line links there.
    """
    drawing = lay_out(result, sizes)
    width, height = round(drawing.width), round(drawing.height)
    # Draw the path last, over the lines it crosses; labels are over all lines.
    edges = sorted(drawing.edges, key=lambda edge: edge.role == "path")
    title = f"The graph of {result.record}: {len(drawing.nodes)} states, {len(edges)} transitions"
    return element(
        "svg",
        element("title", title, id=f"{name}-title"),
        *(_draw_edge(edge, result, anchors) for edge in edges),
        *(_draw_label(edge) for edge in drawing.edges),
        *(_draw_node(node, sizes) for node in drawing.nodes),
        id=name, viewBox=f"0 0 {width} {height}", role="group", aria_labelledby=f"{name}-title", font_size=sizes.font,
        style=f"width:clamp({_SMALLEST * width:.0f}px,100%,{width}px)",
    )  # fmt: skip


def _draw_edge(edge: Edge, result: SearchResult, anchors: Mapping[str, str]) -> Element:
    words = labels.describe_edge(edge.entry, result)
    reach = element("path", d=round_line(edge.points), kind="reach", fill="none", stroke="none", stroke_width=14)
    shapes = (element("title", words), reach, *_draw_arrow(edge.points, edge.role))
    group = element("g", *shapes, kind=f"edge {edge.role}", data_edge=edge.name)
    anchor = anchors.get(edge.name)
    return element("a", group, href=f"#{anchor}", aria_label=words) if anchor else group


def _draw_arrow(points: Sequence[Point], role: str) -> tuple[Element, Element]:
    color, width, dashes, half_head = _STROKES[role]
    head, stop = arrow_head(points, width=half_head)
    line = round_line([*points[:-1], stop])
    return (
        element("path", d=line, kind="line", fill="none", stroke=color, stroke_width=width, stroke_dasharray=dashes),
        element("path", d=f"{line_data(head)}Z", fill=color),
    )


def _draw_label(edge: Edge) -> Element:
    box = edge.label_box
    color, weight = {"path": (_BLUE, _BOLD), "best": (_INK, None), "running": (_INK, None)}.get(
        edge.role, (_MUTED, None)
    )
    return element(
        "g",
        element("rect", x=box.x, y=box.y, width=box.width, height=box.height, rx=4, fill=_BACK),
        element(
            "text", edge.label, x=box.x + box.width / 2, y=box.y + box.height / 2, text_anchor="middle",
            dominant_baseline="central", font_size=LABEL_FONT, font_weight=weight, fill=color,
        ),
        kind=f"label {edge.role}", data_label=edge.name, aria_hidden="true",
    )  # fmt: skip


def _draw_node(node: Node, sizes: Sizes) -> Element:
    box, left = node.box, node.box.x + sizes.pad
    fill, stroke, width, ink = (_TINT, _BLUE, 3, _INK) if node.is_on_path else (_BACK, _FAINT, 1.2, _MUTED)
    head = {"y": box.y + sizes.line, "font_weight": _BOLD}
    rows = [*((line, ink, None) for line in node.lines), (node.tag, _BLUE, _BOLD)]
    return element(
        "g",
        element("rect", x=box.x, y=box.y, width=box.width, height=box.height, rx=6,
                fill=fill, stroke=stroke, stroke_width=width),
        element("text", node.name, x=left, **head),
        element("text", node.score, x=box.right - sizes.pad, text_anchor="end", **head),
        *(element("text", text, x=left, y=box.y + row * sizes.line, fill=color, font_weight=weight)
          for row, (text, color, weight) in enumerate(rows, start=2)),
        kind="node path" if node.is_on_path else "node", data_node=node.name,
    )  # fmt: skip


def legend(kinds: Mapping[str, str]) -> Element:
    """Return a legend of line samples: role and meaning."""
    sample = {"viewBox": "0 0 40 12", "width": 40, "height": 12, "aria_hidden": "true"}
    items = (
        element("li", element("svg", *_draw_arrow([(1, 6), (39, 6)], role), **sample), f" {text}")
        for role, text in kinds.items()
    )
    return element("ul", *items, kind="legend")


def curve_svg(edge: EdgeResult, ranges: Ranges, *, result: SearchResult, name: str = "") -> Element:
    """Return the chart of a transition that has scores: points, fitted curve, knee and divergence."""
    frame = Frame(ranges.epochs, ranges.scores)
    curve = [(frame.x(epoch), frame.y(score)) for epoch, score in labels.fitted_curve(edge)]
    fit = [element("path", d=line_data(curve), kind="fit", fill="none", stroke=_BLUE, stroke_width=2)] if curve else []
    return element(
        "svg", element("title", labels.describe_edge(edge, result), id=name),
        *draw_axes(frame, x_name="epoch"), *fit, *_draw_knee(edge, frame), *_draw_points(edge, frame),
        *_draw_divergence(edge, frame),
        kind="chart", viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img", aria_labelledby=name, font_size=12,
        data_edge=labels.edge_name(edge),
    )  # fmt: skip


def _draw_points(edge: EdgeResult, frame: Frame) -> Iterator[Element]:
    """Draw filled points up to the knee and hollow ones beyond it, which belong to no path."""
    knee = labels.knee_epoch(edge)
    for epoch, score in enumerate(edge.scores):
        if labels.is_number(score):
            is_kept = knee is None or epoch <= knee
            look = {"kind": "kept", "fill": _INK} if is_kept else {"kind": "beyond", "fill": _BACK, "stroke": _INK}
            title = element("title", f"epoch {epoch}: {number(score)}")
            yield element("circle", title, cx=frame.x(epoch), cy=frame.y(score), r=3, stroke_width=1.2, **look)


def _draw_knee(edge: EdgeResult, frame: Frame) -> Iterator[Element]:
    knee, value = labels.knee_epoch(edge), labels.knee_value(edge)
    if knee is None or value is None:
        return
    x, y = frame.x(knee), frame.y(value)
    line = line_data([(x, frame.bottom), (x, frame.top)])
    yield element("path", d=line, stroke=_ORANGE, stroke_width=1.3, stroke_dasharray="4 3")
    diamond = f"{line_data([(x, y - 7), (x + 7, y), (x, y + 7), (x - 7, y)])}Z"
    title = element("title", f"knee: epoch {knee}, {number(value)}")
    yield element("path", title, d=diamond, kind="diamond", fill=_ORANGE, stroke=_BACK, stroke_width=1)
    # The label is above the plot, where there are no points, on the side with more room.
    shift, anchor = (4, "end") if knee > sum(frame.x_range) / 2 else (-4, "start")
    place = {"x": x + shift, "y": frame.top - 7, "text_anchor": anchor}
    yield element("text", f"knee {knee}: {number(value)}", kind="knee", fill=_ORANGE, font_weight=_BOLD, **place)


def _draw_divergence(edge: EdgeResult, frame: Frame) -> Iterator[Element]:
    epoch = labels.diverged_in(edge)
    if epoch is None:
        return
    x, y = frame.x(epoch), frame.bottom
    yield element("path", d=line_data([(x, y), (x, frame.top)]), stroke=_RED, stroke_width=1.2, stroke_dasharray="1 3")
    cross = line_data([(x - 5, y - 5), (x + 5, y + 5)]) + line_data([(x + 5, y - 5), (x - 5, y + 5)])
    title = element("title", f"epoch {epoch}: training diverged")
    yield element("path", title, d=cross, kind="diverged", stroke=_RED, stroke_width=2.4)


def graph_figure(result: SearchResult) -> Figure:
    """Return a figure of the graph of a search with the chosen path."""
    graph = graph_svg(result, WIDE, anchors={})
    return svg_figure([graph], title=result.record, subtitle=labels.describe_score(result))


def edges_figure(result: SearchResult) -> Figure:
    """Return a figure of the curves of all transitions that have scores, those of the path first."""
    ranges = labels.chart_ranges(result)
    cards = [
        _draw_card(place, edge, curve_svg(edge, ranges[labels.edge_name(edge)], result=result))
        for place, edge in labels.drawn_edges(result)
    ]
    metric = f"{labels.METRICS[result.metric]}, {labels.PROTOCOL}"
    subtitle = f"score in % ({metric}) over epochs; filled points: up to the knee; blue frames: on the path"
    return svg_figure(cards, columns=3, title=result.record, subtitle=subtitle)


def _draw_card(place: int, edge: EdgeResult, chart: Element) -> Element:
    """Return a chart with a frame, its name and its verdict."""
    color, width, ink = (_BLUE, 2, _BLUE) if edge.on_path else (_GRID, 1, _INK)
    return element(
        "svg",
        element("rect", x=1, y=-29, width=WIDTH - 2, height=HEIGHT + 34, rx=8,
                fill="none", stroke=color, stroke_width=width),
        element("text", f"{place}. {labels.arrow_name(edge)}", x=10, y=-10, font_weight=_BOLD, fill=ink),
        element("text", " ".join(labels.verdict_text(edge)), x=330, y=-10, text_anchor="end", fill=_MUTED),
        *chart,
        viewBox=f"0 -30 {WIDTH} {HEIGHT + 36}", font_size=12,
    )  # fmt: skip
