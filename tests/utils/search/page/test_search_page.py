"""The page of a search: well-formed, self-contained HTML that shows exactly the result."""

import functools
import html.parser
import itertools
import json
import math
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from tests.conftest import ROOT
from tests.utils.search.page.test_search_layout import (
    CASES,
    FINISHED,
    SMALL,
    journal_of,
    result_of,
    search_of,
    simulate,
)
from utils.figures.chart import ticks
from utils.search.page.labels import SIGNS, chart_ranges
from utils.search.page.page import render_page
from utils.text import describe_time

VOID = {"meta", "link", "br", "hr", "img", "input"}


class Element:
    """A node of a page: tag, attributes, children and direct text."""

    def __init__(self, tag: str, attributes: dict[str, str | None]) -> None:
        self.tag, self.attributes = tag, attributes
        self.children: list[Element] = []
        self.pieces: list[str | Element] = []

    @property
    def text(self) -> str:
        """All text in the node, in order."""
        return "".join(piece if isinstance(piece, str) else piece.text for piece in self.pieces)

    @property
    def kinds(self) -> set[str]:
        """CSS classes of the node."""
        return set((self.attributes.get("class") or "").split())

    def get(self, name: str) -> str:
        """Return an attribute that must exist."""
        value = self.attributes[name]
        assert value is not None
        return value

    def walk(self) -> Iterator["Element"]:
        """Yield the node and its descendants."""
        yield self
        for child in self.children:
            yield from child.walk()

    def find(self, tag: str, kind: str = "", **attributes: str) -> list["Element"]:
        """Return all descendants with a tag, a class and attributes ("data_edge" is data-edge)."""
        wanted = {name.replace("_", "-"): value for name, value in attributes.items()}
        return [
            element
            for element in self.walk()
            if element.tag == tag
            and (not kind or kind in element.kinds)
            and all(element.attributes.get(name) == value for name, value in wanted.items())
        ]

    def find_one(self, tag: str, kind: str = "", **attributes: str) -> "Element":
        """Return the only such element."""
        (element,) = self.find(tag, kind, **attributes)
        return element


class Reader(html.parser.HTMLParser):
    """Strict parser: every element is closed, in order."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.root = Element("root", {})
        self._open = [self.root]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs), f"<{tag}> has an attribute twice"
        element = Element(tag, dict(attrs))
        self._open[-1].children.append(element)
        self._open[-1].pieces.append(element)
        if tag not in VOID:
            self._open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self._open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop().tag == tag

    def handle_data(self, data: str) -> None:
        self._open[-1].pieces.append(data)

    def finish(self) -> Element:
        """Return the root of the page."""
        self.close()
        assert self._open == [self.root], "an element is left open"
        return self.root


def read(text: str) -> Element:
    """Parse a page."""
    reader = Reader()
    reader.feed(text)
    return reader.finish()


@functools.cache
def page_of(case: str) -> Element:
    """Return the parsed page of a case."""
    return read(render_page(search_of(case)))


def rows_of(table: Element) -> list[dict[str, str]]:
    """Return the rows of a table, cells by column name."""
    head = [cell.text for cell in table.find_one("thead").find("th")]
    rows = [[cell.text for cell in row.children] for row in table.find_one("tbody").find("tr")]
    assert all(len(row) == len(head) for row in rows)
    return [dict(zip(head, row, strict=True)) for row in rows]


def name_of(edge: dict[str, Any]) -> str:
    """Return the name of a transition in the attributes of the page."""
    return f"{edge['start']} -> {edge['end']}"


def table_of(page: Element, about: str) -> list[dict[str, str]]:
    return rows_of(page.find_one("div", "scroll", aria_label=f"Table: {about}").find_one("table"))


@pytest.mark.parametrize("case", CASES)
def test_the_page_is_whole(case: str) -> None:
    page = page_of(case)
    ids = Counter(element.attributes["id"] for element in page.walk() if "id" in element.attributes)
    assert max(ids.values()) == 1
    for element in page.walk():
        assert "style" not in element.attributes or element.tag == "svg"
        for name in ("aria-labelledby", "href"):
            target = element.attributes.get(name) or ""
            if name == "aria-labelledby" and target:
                assert target in ids
            if target.startswith("#"):
                assert target[1:] in ids
    assert page.find_one("html").get("lang") == "en"
    assert len(page.find("h1")) == 1
    for svg in page.find("svg"):
        assert svg.attributes.get("aria-hidden") == "true" or svg.attributes.get("role") in ("img", "group")
        if svg.attributes.get("role"):
            assert svg.find("title", id=svg.get("aria-labelledby"))[0].text


@pytest.mark.parametrize("case", CASES)
def test_the_page_loads_nothing(case: str) -> None:
    text = render_page(search_of(case))
    assert not re.search(r"https?:|url\(|@import|//\w", text)
    links = [e.get("href") for e in page_of(case).walk() if "href" in e.attributes and e.get("href")[0] != "#"]
    plan = journal_of(case).plan
    trains = bool(plan and plan.trained_steps)
    assert links == ["data:,", *([f"{Path(SMALL).stem}-path.yml"] if trains and case != "large" else [])] or (
        case == "large" and len(links) == 2
    )
    assert not [e for e in page_of(case).walk() if "src" in e.attributes or e.tag in ("img", "iframe", "object")]
    policy = page_of(case).find_one("meta", http_equiv="Content-Security-Policy").get("content")
    assert policy.startswith("default-src 'none';")


@pytest.mark.parametrize("stop_after", [None, 5])
def test_nothing_from_a_record_becomes_markup(tmp_path: Path, stop_after: int | None) -> None:
    """The elements of the page do not depend on the name and the values of the record."""
    nasty = "<img src=x onerror=alert(1)> & \"q\" 'a' ]]> <!--"
    content = yaml.safe_load((ROOT / SMALL).read_text())
    content["base"] = str(ROOT / content["base"])
    pages = []
    for name in ("plain", nasty):
        content["dataset"] |= {"list_file": f"{name}.txt", "eva_list_file": f"{name}-test.txt"}
        record = tmp_path / f"{name}.yml"
        record.write_text(yaml.safe_dump(content))
        small = ["search.inputs=[{clip_length: 8}]", f"logging.output_dir={json.dumps(name)}"]
        result = simulate(record, *small, stop_after=stop_after).result()
        pages.append(read(render_page(replace(result, network=f"network {name}"))))
    plain, odd = ([(e.tag, sorted(e.attributes)) for e in page.walk()] for page in pages)
    assert plain == odd
    assert pages[1].find_one("h1").text == nasty
    assert f"network {nasty}" in pages[1].text
    if stop_after is None:
        (link,) = (e for e in pages[1].find("a") if not e.get("href").startswith("#"))
        assert re.fullmatch(r"[\w.%-]+", link.get("href")) and link.text == f"{nasty}-path.yml"


class Axis:
    """Converts positions in a chart to values, only from the positions of its tick labels."""

    def __init__(self, chart: Element, name: str) -> None:
        labels = [text for text in chart.find("text", "tick") if name in text.kinds]
        values = np.array([float(text.text) for text in labels])
        places = np.array([float(text.get(name)) for text in labels])
        assert len(values) >= 2
        slope, start = np.polyfit(places, values, 1)
        np.testing.assert_allclose(start + slope * places, values, atol=1e-3 * float(np.ptp(values)))
        self.slope, self.start = float(slope), float(start)
        self.places = (float(places.min()), float(places.max()))

    def value(self, place: Any) -> Any:
        """Return the value at a position, or the values at an array of positions."""
        return self.start + self.slope * place

    @property
    def tolerance(self) -> float:
        """Value of a few hundredths of a pixel, to which positions are rounded."""
        return abs(self.slope) * 0.03


@pytest.mark.parametrize("case", CASES)
def test_every_curve_is_drawn_where_its_scores_are(case: str) -> None:
    result, page = result_of(case), page_of(case)
    charts = {chart.get("data-edge"): chart for chart in page.find("svg", "chart")}
    assert set(charts) == {name_of(edge) for edge in result["edges"] if edge["scores"]}
    for edge in result["edges"]:
        if edge["scores"]:
            check_chart(charts[name_of(edge)], edge)


def places_of(line: Element) -> Any:
    """Return the corners of a polyline, [points, 2]."""
    return np.array(re.findall(r"([-\d.]+) ([-\d.]+)", line.get("d")), dtype=float)


def check_chart(chart: Element, edge: dict[str, Any]) -> None:
    """Assert that points, fitted curve, knee and divergence of a chart are at their values."""
    x, y = Axis(chart, "x"), Axis(chart, "y")
    points = [(x.value(float(c.get("cx"))), y.value(float(c.get("cy")))) for c in chart.find("circle")]
    expected = [(epoch, score) for epoch, score in enumerate(edge["scores"]) if score is not None]
    assert len(points) == len(expected)
    for found, wanted in zip(points, expected, strict=True):
        assert found == (pytest.approx(wanted[0], abs=x.tolerance), pytest.approx(wanted[1], abs=y.tolerance))
    for line in chart.find("path", "fit"):
        fit = edge["fit"]
        places = places_of(line)
        epochs = x.value(places[:, 0])
        fitted = -fit["a"] * np.exp(-fit["b"] * epochs) - fit["c"] * epochs - fit["d"] * epochs**2 + fit["e"]
        steep = np.abs(np.gradient(fitted, epochs))
        off = np.abs(y.value(places[:, 1]) - fitted)
        assert (off <= y.tolerance + 2 * x.tolerance * steep + 0.02 * np.ptp(fitted)).all()
        assert epochs[0] == pytest.approx(0, abs=x.tolerance)
        assert epochs[-1] == pytest.approx(len(expected) - 1, abs=x.tolerance)
    assert bool(chart.find("path", "fit")) == (len(expected) > 1)
    knee = edge["knee"]
    diamonds = [places_of(mark).mean(axis=0) for mark in chart.find("path", "diamond")]
    assert len(diamonds) == (knee is not None and knee["value"] is not None)
    for place in diamonds:
        assert x.value(place[0]) == pytest.approx(knee["epoch"], abs=x.tolerance)
        assert y.value(place[1]) == pytest.approx(knee["value"], abs=y.tolerance)
        assert chart.find_one("text", "knee").text == f"knee {knee['epoch']}: {knee['value']:.2f}"
    kept = [circle for circle in chart.find("circle") if "kept" in circle.kinds]
    last = len(edge["scores"]) - 1 if knee is None else knee["epoch"]
    assert len(kept) == sum(epoch <= last for epoch, _ in expected)
    marks = [places_of(mark).mean(axis=0)[0] for mark in chart.find("path", "diverged")]
    where = [epoch for epoch, score in enumerate(edge["scores"]) if score is None]
    assert [x.value(place) for place in marks] == pytest.approx(where, abs=x.tolerance)


@pytest.mark.parametrize("case", CASES)
def test_charts_hold_all_they_draw(case: str) -> None:
    for chart in page_of(case).find("svg", "chart"):
        width, height = map(float, chart.get("viewbox").split()[2:])
        for circle in chart.find("circle"):
            assert 3 <= float(circle.get("cx")) <= width - 3 and 3 <= float(circle.get("cy")) <= height - 3


@pytest.mark.parametrize("case", CASES)
def test_rivals_have_the_same_axes(case: str) -> None:
    ranges = chart_ranges(search_of(case))
    drawn = [edge for edge in result_of(case)["edges"] if edge["scores"]]
    for one, other in itertools.combinations(drawn, 2):
        are_first = [edge["start"] == "initial" for edge in (one, other)]
        if all(are_first) or (not any(are_first) and one["end"] == other["end"]):
            assert ranges[name_of(one)] == ranges[name_of(other)]
    for edge in drawn:
        low, high = ranges[name_of(edge)].scores
        assert all(low < score < high for score in edge["scores"] if score is not None)
        assert high - low >= 4 - 1e-9


@pytest.mark.parametrize("case", ["first", "all diverged"])
def test_an_axis_of_zeros_does_not_go_below_them(case: str) -> None:
    for chart in page_of(case).find("svg", "chart"):
        assert not [text.text for text in chart.find("text", "y") if text.text.startswith("-")]


@pytest.mark.parametrize("case", CASES)
def test_the_path_comes_first_and_stands_out(case: str) -> None:
    result, page = result_of(case), page_of(case)
    on_path = [name_of(edge) for edge in result["edges"] if edge["on_path"]]
    shown = [figure.find_one("svg", "chart").get("data-edge") for figure in page.find("figure")]
    walked = shown[: len(on_path)]
    assert sorted(walked) == sorted(on_path)
    assert [name.split(" -> ")[0] for name in walked[1:]] == [name.split(" -> ")[1] for name in walked[:-1]]
    framed = [figure.find_one("svg", "chart").get("data-edge") for figure in page.find("figure", "path")]
    assert framed == walked
    assert sum(figure.text.count("on the path ·") for figure in page.find("figure")) == len(on_path)
    for name in ("wide", "compact"):
        svg = page.find_one("svg", id=f"graph-{name}")
        assert {g.get("data-edge") for g in svg.find("g", "edge") if "path" in g.kinds} == set(on_path)
        assert {g.get("data-edge") for g in svg.find("g", "edge")} == set(map(name_of, result["edges"]))
        assert len(svg.find("g", "node")) == len(result["states"]) + 1
        labels = {g.get("data-label"): g.find_one("text").text for g in svg.find("g", "label")}
        for edge in result["edges"]:
            if edge["knee"]:
                assert re.match(r"\d+", labels[name_of(edge)])[0] == str(edge["knee"]["epoch"])  # type: ignore[index]


@pytest.mark.parametrize("case", ["finished", "running"])
def test_the_lines_of_the_path_are_the_widest(case: str) -> None:
    """They differ in width, not only in color."""
    graph = page_of(case).find_one("svg", id="graph-wide")
    widths = {
        role: {float(line.get("stroke-width")) for edge in graph.find("g", role) for line in edge.find("path", "line")}
        for role in ("lost", "best", "running", "path")
    }
    found = [width for widths in widths.values() for width in widths]
    assert len(found) == 3 and found == sorted(set(found))


def test_desk_and_phone_show_one_graph_each() -> None:
    style = page_of("finished").find_one("style").text
    narrow = style[style.index("@media (max-width: 760px)") :]
    assert ".graph.compact { display: none; }" in style[: style.index("@media (max-width: 760px)")]
    assert ".graph.wide { display: none; }" in narrow and ".graph.compact { display: block; }" in narrow


@pytest.mark.parametrize("case", CASES)
def test_every_transition_is_in_the_table(case: str) -> None:
    result = result_of(case)
    rows = {row["transition"]: row for row in table_of(page_of(case), "transitions")}
    assert len(rows) == len(result["edges"])
    for place, edge in enumerate(result["edges"], start=1):
        row = rows[f"{edge['start']} → {edge['end']}"]
        assert row["#"] == str(place)
        assert row["verdict"].split(",")[0] == edge["verdict"]
        assert ("diverged" in row["verdict"]) == (None in edge["scores"])
        assert row["knee"] == (str(edge["knee"]["epoch"]) if edge["knee"] else "–")
        value = edge["knee"] and edge["knee"]["value"]
        assert row["score"] == ("–" if value is None else f"{value:.2f}")
        assert [int(row[key].replace(",", "")) for key in ("epochs", "clips", "scored clips")] == [
            edge["epochs_trained"], edge["clips"], edge["scored_clips"]
        ]  # fmt: skip
        assert row["time"] == describe_time(edge["seconds"])
        for key in ("a", "b", "c", "d", "e", "residual"):
            if edge["fit"]:
                assert float(row[key]) == pytest.approx(edge["fit"][key], rel=6e-3, abs=1e-12)
            else:
                assert row[key] == "–"


@pytest.mark.parametrize("case", ["finished", "running", "diverging", "all diverged"])
def test_scores_of_every_epoch_can_be_read(case: str) -> None:
    for edge in result_of(case)["edges"]:
        if not edge["scores"]:
            continue
        rows = table_of(page_of(case), f"scores of {edge['start']} → {edge['end']}")
        written = ["diverged" if score is None else f"{score:.2f}" for score in edge["scores"]]
        assert [row["score, %"] for row in rows] == written
        assert [row["epoch"] for row in rows] == [str(epoch) for epoch in range(len(written))]


@pytest.mark.parametrize("case", CASES)
def test_verdicts_have_a_sign_and_a_word(case: str) -> None:
    result = result_of(case)
    marks = {
        f.find_one("svg", "chart").get("data-edge"): f.find_one("span", "verdict") for f in page_of(case).find("figure")
    }
    for edge in result["edges"]:
        if edge["scores"]:
            has_diverged = None in edge["scores"]
            sign, word = (
                ("✕", f"{edge['verdict']}, diverged") if has_diverged else (SIGNS[edge["verdict"]], edge["verdict"])
            )
            assert marks[name_of(edge)].text == f"{sign} {word}"
    assert len(set(SIGNS.values()) | {"✕"}) == len(SIGNS) + 1


@pytest.mark.parametrize("case", FINISHED)
def test_the_path_is_a_table(case: str) -> None:
    result = result_of(case)
    rows = table_of(page_of(case), "path")
    trained = [row for row in rows if row["#"] != "–"]
    assert [row["#"] for row in trained] == [str(k) for k in range(1, len(result["path"]) + 1)]
    for row, step in zip(trained, result["path"], strict=True):
        assert row["state"] == step["state"]
        assert int(row["epochs"]) == step["epochs"]
        assert row["score, %"] == f"{step['score']:.2f}"
        assert float(row["rate"]) == step["learning_rate"]
        assert row["batch"] == f"{step['batch_size']} × {step['iter_size']}"
        assert str(step["clip_length"]) in row["clip"] and (step["num_segments"] > 1) == (" x " in row["clip"])
    assert [row["state"] for row in rows if row["#"] == "–"] == result["skipped_states"]
    warned = "No transition improved" in page_of(case).text
    assert warned == (not result["path"])


def test_the_headline_shows_the_result() -> None:
    result, page = result_of("finished"), page_of("finished")
    facts = [fact.text for fact in page.find("div", "fact")]
    assert facts[0].startswith(f"Score of the path{result['score']:.2f}%mean of top-1, top-3 and top-5")
    assert facts[1].startswith("Test, once at the end91.83%mean of top-1, top-3 and top-5; top-1 81.25, top-3 95.50")
    assert "180 videos of data/synthetic/test_list.txt, 1 missing" in facts[1]
    assert f"{sum(step['epochs'] for step in result['path'])} epochs" in facts[2]
    assert "120 videos held out of data/synthetic/train_list.txt (0.2 of every class, seed 0)" in page.text
    assert "5 of 18" not in page.text and "18 of 18 transitions decided" in page.text


def test_a_path_selected_on_the_evaluation_list_has_a_warning() -> None:
    warning = page_of("eval_list").find_one("div", "warning")
    assert warning.text.startswith("⚠ Selected on the evaluation list.")
    facts = [fact.text for fact in page_of("eval_list").find("div", "fact")]
    assert not any(fact.startswith("Test") for fact in facts)
    assert any(
        fact.startswith("On the list it was selected on81.25%top-1; top-3 95.50, top-5 98.75; 1 clip") for fact in facts
    )
    assert not page_of("finished").find("div", "warning")


@pytest.mark.parametrize("case", FINISHED)
def test_the_ledger_adds_up(case: str) -> None:
    result = result_of(case)
    rows = {row[""]: row for row in table_of(page_of(case), "compute")}
    whole = {
        "epochs": "epochs_trained",
        "clips trained": "clips",
        "frames trained": "frames",
        "multiply-adds forward": "multiply_adds",
        "clips scored": "scored_clips",
    }
    for name, key in whole.items():
        assert int(rows[name]["the search"].replace(",", "")) == sum(edge[key] for edge in result["edges"])
    assert rows["time"]["the search"] == describe_time(sum(edge["seconds"] for edge in result["edges"]))
    epochs = sum(step["epochs"] for step in result["path"])
    assert rows["epochs"]["the path alone"] == str(epochs)
    assert rows["clips trained"]["the path alone"] == f"{480 * epochs:,}"
    if epochs:
        ratio = sum(edge["epochs_trained"] for edge in result["edges"]) / epochs
        assert rows["epochs"]["ratio"] == f"{ratio:.1f} ×"


@pytest.mark.parametrize("case", CASES)
def test_the_configuration_is_folded_in(case: str) -> None:
    text = page_of(case).find_one("pre").text
    config = journal_of(case).config.to_dict()
    assert yaml.safe_load(text) == json.loads(json.dumps(config))


def test_a_running_search_shows_its_progress() -> None:
    page, result = page_of("running"), result_of("running")
    bar = page.find_one("progress")
    assert (bar.get("value"), bar.get("max")) == ("5", "18")
    low, high = result["left"]["epochs"]
    assert f"Left{low} to {high} epochs" in page.text
    assert "In training: transition 6, (1,0) → (2,0), 7 of at most 8 epochs, its knee at epoch" in page.text
    assert "reload the page" in page.find_one("span", id="refresh").text  # shown without scripts
    assert "location.reload()" in page.find_one("script").text
    assert not page.find("div", "scroll", aria_label="Table: path")
    for case in FINISHED:
        assert not page_of(case).find("script") and not page_of(case).find("progress")


def test_ticks_are_round_numbers_inside() -> None:
    rng = np.random.default_rng(0)
    for _ in range(500):
        low = rng.uniform(-20, 100)
        high = low + 10 ** rng.uniform(-1, 2.5)
        most = int(rng.integers(4, 9))
        values = ticks(low, high, most=most)
        assert 1 <= len(values) <= most
        assert all(low - 1e-6 <= value <= high + 1e-6 for value in values)
        for step in np.diff(values):
            mantissa = step / 10 ** math.floor(math.log10(step) + 1e-9)
            assert min(abs(mantissa - round_one) for round_one in (1, 2, 5, 10)) < 1e-6
    assert ticks(0, 3, most=8, whole=True) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (99.4, "99 s"), (720, "12 min"), (12600, "3.5 h"), (3.6e6, "1,000.0 h")]
)
def test_durations_are_written_in_readable_units(seconds: float, text: str) -> None:
    assert describe_time(seconds) == text


def test_a_page_can_be_rendered_before_any_score() -> None:
    result = search_of("first")
    bare = tuple(
        replace(edge, scores=(), verdict="waiting", fit=None, cost=replace(edge.cost, epochs_trained=0))
        for edge in result.edges
    )
    page = read(render_page(replace(result, edges=bare)))
    assert not page.find("figure")
    assert len(table_of(page, "transitions")) == 18
