"""The pictures of a search: as many charts, points and knees as the result has, at their values; words in place."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, PathPatch

from tests.utils.search.page.test_search_layout import CASES, result_of
from utils.figures.style import save_figure
from utils.search.page.figures import edges_figure, graph_figure
from utils.search.page.labels import edge_name, edge_role, ordered_edges


def drawn(figure: Figure) -> FigureCanvasAgg:
    """Draw a figure: a missing glyph or a layout that fails is a warning, and warnings are errors here."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return canvas


@pytest.mark.parametrize("case", CASES)
def test_every_curve_has_its_chart(case: str) -> None:
    edges = [edge for _, edge in ordered_edges(result_of(case)) if edge["scores"]]
    figure = edges_figure(result_of(case))
    drawn(figure)
    assert len(figure.axes) == len(edges)
    for axes, edge in zip(figure.axes, edges, strict=True):
        assert edge["start"] in axes.get_title(loc="left") and edge["end"] in axes.get_title(loc="left")
        assert edge["verdict"] in axes.get_title(loc="right")
        lines = {line.get_gid(): np.asarray(line.get_xydata()) for line in axes.lines}
        points = np.concatenate([lines[name] for name in ("kept", "beyond") if name in lines] or [np.empty((0, 2))])
        expected = [(epoch, score) for epoch, score in enumerate(edge["scores"]) if score is not None]
        np.testing.assert_array_equal(points, np.array(expected).reshape(-1, 2))
        knee = edge["knee"]
        if knee and knee["value"] is not None:
            assert lines["knee"].tolist() == [[knee["epoch"], knee["value"]]]
            assert len(lines["kept"]) == knee["epoch"] + 1
        else:
            assert "knee" not in lines
        assert ("fit" in lines) == (len(expected) > 1)
        broken = [epoch for epoch, score in enumerate(edge["scores"]) if score is None]
        assert ([lines["broken"][0][0]] if "broken" in lines else []) == broken
        low, high = axes.get_ylim()
        assert all(low < score < high for _, score in expected)
        assert axes.spines["top"].get_visible() == edge["on_path"]


@pytest.mark.parametrize("case", CASES)
def test_the_graph_has_every_state_and_transition(case: str) -> None:
    result = result_of(case)
    figure = graph_figure(result)
    drawn(figure)
    (axes,) = figure.axes
    nodes = {patch.get_gid(): patch for patch in axes.patches if isinstance(patch, FancyBboxPatch)}
    lines = {patch.get_gid(): patch for patch in axes.patches if isinstance(patch, PathPatch)}
    assert set(nodes) == {"initial", *(state["state"] for state in result["states"])}
    assert set(lines) == {edge_name(edge) for edge in result["edges"]}
    widths = {role: set() for role in ("path", "best", "lost", "running", "waiting")}  # type: dict[str, set[float]]
    for edge in result["edges"]:
        widths[edge_role(edge, result)].add(lines[edge_name(edge)].get_linewidth())
    others = widths["best"] | widths["lost"] | widths["waiting"]
    assert not widths["path"] or min(widths["path"]) > max(others, default=0)


@pytest.mark.parametrize("case", CASES)
def test_words_are_inside(case: str) -> None:
    """In the picture, and those of a state inside its box."""
    figure = graph_figure(result_of(case))
    renderer = drawn(figure).get_renderer()
    (axes,) = figure.axes
    whole = figure.bbox
    for text in [*figure.texts, *axes.texts]:
        box = text.get_window_extent(renderer)
        assert box.x0 >= whole.x0 and box.x1 <= whole.x1 and box.y0 >= whole.y0 and box.y1 <= whole.y1, text.get_text()
    for node in (patch for patch in axes.patches if isinstance(patch, FancyBboxPatch)):
        outline = node.get_window_extent(renderer)
        inside = [t for t in axes.texts if outline.contains(*t.get_window_extent(renderer).get_points().mean(axis=0))]
        assert len(inside) >= 2
        for text in inside:
            box = text.get_window_extent(renderer)
            assert outline.x0 < box.x0 and box.x1 < outline.x1 and outline.y0 < box.y0, text.get_text()


@pytest.mark.parametrize("figure_of", [graph_figure, edges_figure])
def test_names_are_not_taken_for_mathematics(figure_of: object, tmp_path: Path) -> None:
    result = {**result_of("1 x 1"), "record": r"a $\frac$ b_$^$"}
    assert callable(figure_of)
    figure = figure_of(result)
    save_figure(figure, tmp_path / "x.png")
    assert figure.texts[0].get_text() == r"a $\frac$ b_$^$"


def test_a_plan_selected_on_the_evaluation_list_says_so() -> None:
    said = [figure.texts[1].get_text() for figure in (graph_figure(result_of(c)) for c in ("eval_list", "finished"))]
    assert "selected on the evaluation list" in said[0] and "selected" not in said[1]
