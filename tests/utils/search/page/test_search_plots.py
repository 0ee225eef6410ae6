"""The figures of a search: they show what its page shows, with all text inside."""

import itertools
import math
from dataclasses import replace
from pathlib import Path

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from tests.utils.search.page.test_search_layout import CASES, search_of
from utils.figures.style import save_figure
from utils.search.page.drawings import edges_figure, graph_figure
from utils.search.page.labels import arrow_name, drawn_edges, verdict_text


def drawn(figure: Figure) -> FigureCanvasAgg:
    """Draw a figure; a missing glyph or a failed layout is a warning, and warnings are errors here."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return canvas


@pytest.mark.parametrize("case", ["running", "first", "diverging, running", "1 x 1"])
def test_every_curve_has_its_chart(case: str) -> None:
    figure = edges_figure(search_of(case))
    renderer = drawn(figure).get_renderer()
    words = [text.get_text() for text in figure.texts]
    for place, edge in drawn_edges(search_of(case)):
        head = words.index(f"{place}. {arrow_name(edge)}")
        assert words[head + 1] == " ".join(verdict_text(edge))
        if edge.knee and math.isfinite(edge.knee.value):
            assert f"knee {edge.knee.epoch}: {edge.knee.value:.2f}" in words[head:]
    cards = [patch for patch in figure.artists if isinstance(patch, FancyBboxPatch)]
    assert len(cards) == len(drawn_edges(search_of(case)))
    boxes = [card.get_window_extent(renderer) for card in cards]
    assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))


@pytest.mark.parametrize("case", CASES)
def test_words_are_inside(case: str) -> None:
    """Text is inside the figure, and that of a state inside its box."""
    figure = graph_figure(search_of(case))
    renderer = drawn(figure).get_renderer()
    whole = figure.bbox
    for text in figure.texts:
        box = text.get_window_extent(renderer)
        assert box.x0 >= whole.x0 and box.x1 <= whole.x1 and box.y0 >= whole.y0 and box.y1 <= whole.y1, text.get_text()
    result = search_of(case)
    boxes = [patch for patch in figure.artists if isinstance(patch, FancyBboxPatch)]
    assert len(boxes) == len(result.edges) + len(result.states) + 1  # labels, then states
    for node in boxes[len(result.edges) :]:
        outline = node.get_window_extent(renderer)
        texts = [text for text in figure.texts if text.get_text()]
        inside = [t for t in texts if outline.contains(*t.get_window_extent(renderer).get_points().mean(axis=0))]
        assert len(inside) >= 2
        for text in inside:
            box = text.get_window_extent(renderer)
            assert outline.x0 < box.x0 and box.x1 < outline.x1 and outline.y0 < box.y0, text.get_text()


@pytest.mark.parametrize("figure_of", [graph_figure, edges_figure])
def test_names_are_not_taken_for_mathematics(figure_of: object, tmp_path: Path) -> None:
    result = replace(search_of("1 x 1"), record=r"a $\frac$ b_$^$")
    assert callable(figure_of)
    figure = figure_of(result)
    save_figure(figure, tmp_path / "x.png")
    assert figure.texts[0].get_text() == r"a $\frac$ b_$^$"


def test_a_plan_selected_on_the_evaluation_list_says_so() -> None:
    said = [figure.texts[1].get_text() for figure in (graph_figure(search_of(c)) for c in ("eval_list", "finished"))]
    assert "selected on the evaluation list" in said[0] and "selected" not in said[1]


def test_a_long_name_has_room() -> None:
    figure = edges_figure(replace(search_of("first"), record="a-long-name-of-a-record " * 6))
    renderer = drawn(figure).get_renderer()
    assert all(text.get_window_extent(renderer).x1 <= figure.bbox.x1 for text in figure.texts)
