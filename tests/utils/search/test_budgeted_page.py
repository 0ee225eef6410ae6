"""The page of a budgeted search: charts with correct axes, and nothing that is not known yet."""

import functools
import itertools
import math

import numpy as np
import pytest

from tests.utils.search.page.test_search_page import Axis, Element, places_of, read, table_of
from tests.utils.search.test_budgeted_plan import INPUTS, train_closed_form
from utils.config import RunConfig, load_config
from utils.figures.chart import curves_chart
from utils.figures.markup import render
from utils.search.budgeted_events import BudgetedEvent, BudgetedHistory, Planned
from utils.search.budgeted_page import render_budgeted_page
from utils.search.budgeted_plan import make_policy
from utils.search.budgeted_report import BudgetedReport, build_report
from utils.search.events import End, FinalScore

SEARCH = (
    "search.budget={epochs: 60}",
    "search.inputs=[{clip_length: 8, num_steps: 1}, {clip_length: 16, num_steps: 1}, {clip_length: 16}]",
)


@functools.cache
def journal_of(policy: str) -> tuple[RunConfig, list[BudgetedEvent]]:
    config = load_config("record/plan-synthetic.yml", [*SEARCH, f"search.policy={policy}", "search.overhead=1"])
    return config, train_closed_form(config)


def report_of(policy: str, stop_after: int | None = None) -> BudgetedReport:
    """Return the report of a search stopped after a number of journal events; None: finished."""
    config, events = journal_of(policy)
    test = FinalScore("list <b>.txt", 81.25, 95.5, 98.75, 91.8333, videos=180, missing=2)
    history = BudgetedHistory(events[:stop_after] if stop_after is not None else [*events, test, End()])
    rule, seen = make_policy(config, INPUTS, scoring_videos=500), history.observations()
    path = rule.path_budget(seen)
    known = Planned(path.goal_only, 0.0, 0.0, rule.factors(seen), path.compute)
    return build_report(config, history, policy=rule, planned=history.plan or known)


def chart_of(page: Element, name: str) -> Element:
    return page.find_one("section", aria_labelledby=name).find_one("svg", "chart")


@pytest.mark.parametrize("policy", ["budgeted", "studied"])
def test_curves_are_drawn_where_their_values_are(policy: str) -> None:
    report = report_of(policy)
    page = read(render_budgeted_page(report))
    curves = chart_of(page, "pilots").find("path", "curve")
    x, y = (Axis(chart_of(page, "pilots"), name) for name in ("x", "y"))
    pilots = sorted({readout.pilot for readout in report.readouts})
    assert len(curves) == len(pilots)
    for curve, pilot in zip(curves, pilots, strict=True):
        wanted = [(100 * r.at, r.loss) for r in report.readouts if r.pilot == pilot]
        found = [(x.value(left), y.value(top)) for left, top in places_of(curve)]
        np.testing.assert_allclose(found, wanted, rtol=1e-3)
    # The axis of rates is logarithmic: points are above the tick of their factor.
    chart = chart_of(page, "peaks")
    places = {float(text.text): float(text.get("x")) for text in chart.find("text", "tick") if "x" in text.kinds}
    corners = {left for curve in chart.find("path", "curve") for left, _ in places_of(curve)}
    for peak in report.peaks:
        if math.isfinite(peak.loss):
            assert min(abs(places[peak.factor] - left) for left in corners) < 0.05


@pytest.mark.parametrize("policy", ["budgeted", "studied"])
def test_words_of_charts_are_inside_and_apart(policy: str) -> None:
    """Every chart has a name for each curve."""
    page = read(render_budgeted_page(report_of(policy)))
    figures = page.find("figure")
    assert len(figures) == 3
    for figure in figures:
        chart, names = figure.find_one("svg", "chart"), [item.text.strip() for item in figure.find("li")]
        assert "width" not in chart.attributes, "as wide as there is room"
        assert len(names) == len(chart.find("path", "curve"))
        assert all(name in chart.get("aria-label") for name in names)
        assert_apart(chart)


def assert_apart(chart: Element) -> None:
    """Assert that texts are inside the chart and apart, with letters 0.62 of the font size wide."""
    width, height = map(float, chart.get("viewbox").split()[2:])
    boxes = []
    for text in chart.find("text"):
        size = float(text.attributes.get("font-size") or 12)
        wide = 0.62 * size * len(text.text)
        shift = {"end": wide, "middle": wide / 2}.get(text.attributes.get("text-anchor") or "", 0)
        left, middle = float(text.get("x")) - shift, float(text.get("y"))
        middle -= 0 if text.attributes.get("dominant-baseline") else 0.35 * size
        boxes.append((left, middle - size / 2, left + wide, middle + size / 2))
        assert left >= 0 and left + wide <= width and middle >= size / 2 and middle + size / 2 <= height, text.text
    for a, b in itertools.combinations(boxes, 2):
        assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]


@pytest.mark.parametrize("values", [[(0, 0.0), (1, 0.0)], [(3, 1e-4), (3, 2e-4)], [(-2, 6.3), (3, 1234.0)]])
def test_any_curve_has_a_chart(values: list[tuple[float, float]]) -> None:
    assert_apart(read(render(curves_chart({"<b>": values}, x_name="x", y_name="y"))).find_one("svg", "chart"))


def test_a_running_search_shows_what_is_known_and_no_more() -> None:
    _, events = journal_of("budgeted")
    kinds = [event.kind for event in events]
    for stop_after, status in (
        (0, "peak rates and pilots"),
        (kinds.index("readout") + 1, "peak rates and pilots"),
        (len(events), "the plan is made, its path is in training"),
    ):
        page = read(render_budgeted_page(report_of("budgeted", stop_after)))
        assert page.find_one("span", "status").text == f"Searching: {status}"
        assert "location.reload()" in page.find_one("script").text
        assert all(table.find_one("tbody").children for table in page.find("table")), "no table is empty"
        assert ("Expected gain" in page.text) == (stop_after == len(events))
    assert "No rate has been tried yet." in read(render_budgeted_page(report_of("budgeted", 0))).text


def test_a_finished_search_says_what_it_has_found() -> None:
    report = report_of("studied")
    page = read(render_budgeted_page(report))
    assert page.find_one("span", "status").text == "Search finished: the path is trained"
    assert not page.find("script")
    facts = [fact.text for fact in page.find("div", "fact")]
    assert facts[1].startswith(f"Expected gain{report.plan.gain:.1f} points± {report.plan.spread:.1f}, over all")
    assert "100·exp(−loss/2)" in facts[1], "what points they are"
    assert facts[2].endswith("on top of the budget, readouts included")
    assert facts[3].startswith("Test, top-181.2%") and facts[3].endswith("180 videos of list <b>.txt, 2 missing")
    assert len(table_of(page, "splits")) == len(report.splits)
