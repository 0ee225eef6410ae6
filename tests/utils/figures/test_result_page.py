"""result.html shows the result and its warnings; names never become markup."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.utils.evaluation.test_result import make_result
from tests.utils.search.page.test_search_page import Element, read, table_of
from utils.config import RunConfig, load_config
from utils.evaluation.top_classes import Misclassification
from utils.figures.result import Shown, draw_result
from utils.metrics import ViewMetrics

NASTY = '<img src=x onerror=alert(1)> & "q" ]]> <!--'


@pytest.fixture
def config(tmp_path: Path) -> RunConfig:
    return load_config("record/synthetic-dg-p3d-resnet18.yml", [f"logging.output_dir={tmp_path}"])


def draw(config: RunConfig, result: Any, *, mistakes: tuple[Shown, ...] = ()) -> Element:
    """Draw a result of 6 classes, of which the last has no video and class 0 is taken for 2 twice and for 1 once."""
    labels, guesses = np.array([0, 0, 0, 0, 1, 2, 3, 4]), np.array([2, 1, 2, 0, 1, 2, 3, 4])
    metrics = ViewMetrics(6)
    metrics.add(np.eye(6, dtype=np.float32)[guesses][:, None, None], labels)
    names = [entry["name"] for entry in result["classes"]]
    draw_result(config, result, metrics=metrics.result(), class_names=names, mistakes=mistakes)
    return read((config.run_dir / "result.html").read_text())


def test_mistakes_have_a_picture_or_a_cause(config: RunConfig) -> None:
    result = make_result(missing=2)
    result["classes"][3]["name"] = result["missing"][0]["path"] = result["checkpoint"]["network"] = NASTY
    shown = (
        Shown(Misclassification(7, 3, 1, 0.125, 0.75), NASTY, b"\xff\xd8"),
        Shown(Misclassification(8, 0, 2, 0, 1), "b.mp4", NASTY),
    )
    page = draw(config, result, mistakes=shown)
    first, second = page.find("figure")
    assert f"1. {NASTY}" in first.text and f"predicted class 1 75.0%; true class {NASTY} 12.5%" in first.text
    assert first.find_one("img").get("src") == "data:image/jpeg;base64,/9g="
    assert not second.find("img") and f"no picture: {NASTY}" in second.text
    assert len(page.find("img")) == 2  # and the confusion matrix: there are no curves
    lost = table_of(page, "missing videos")
    assert [row["missing video"] for row in lost] == [NASTY, "v41.mp4"]


def test_classes_say_what_they_are_mistaken_for(config: RunConfig) -> None:
    rows = table_of(draw(config, make_result(classes_used=5)), "classes")
    assert [row["most often mistaken for"] for row in rows] == ["class 2 (2)", "", "", "", "", ""]
    assert (rows[5]["videos"], rows[5]["accuracy, %"]) == ("0", "–")
    result = make_result(classes_used=5)
    assert [row["accuracy, %"] for row in rows[:5]] == [f"{100 * c['accuracy']:.1f}" for c in result["classes"][:5]]


def test_the_headline_and_the_protocol_are_those_of_the_result(config: RunConfig) -> None:
    result = make_result(missing=1)
    page = draw(config, result)
    facts = [fact.text for fact in page.find("div", "fact")]
    assert facts[0].startswith(f"Video, top-1{100 * result['metrics']['video']['top1']:.2f}%top-3 ")
    assert facts[2].startswith(f"Clip, top-1{100 * result['metrics']['clip']['top1']:.2f}%")
    assert facts[3] == "Videos40of 41 in data/list.txt; 1 missing"
    assert {row["what"]: row["value"] for row in table_of(page, "protocol")}["videos"] == "40 scored of 41, 1 missing"
    assert "No video was misclassified." in page.text
    (warning,) = page.find("div", "warning")
    wrong = result["metrics"]["video_missing_counted_wrong"]["top1"]
    assert warning.text.startswith(f"⚠ 1 of 41 videos missing: with them counted as wrong, top-1 is {100 * wrong:.2f}%")


def test_an_incomplete_training_has_a_warning(config: RunConfig) -> None:
    (warning,) = draw(config, make_result(training_progress=(3, 8))).find("div", "warning")
    assert warning.text == "⚠ The training is not complete: 3 of 8 epochs."


def test_a_sound_result_has_no_warning(config: RunConfig) -> None:
    assert not draw(config, make_result()).find("div", "warning")


@pytest.mark.parametrize(("num_classes", "tops"), [(2, []), (3, ["2"]), (4, ["3"]), (5, ["3", "4"]), (6, ["3", "5"])])
def test_a_capped_top_k_has_its_true_name(config: RunConfig, num_classes: int, tops: list[str]) -> None:
    result = make_result(num_classes=num_classes)
    result["classes"] = make_result()["classes"]  # those of what `draw` draws
    fact = draw(config, result).find("div", "fact")[0].text
    assert re.findall(r"top-(\d) ", fact) == tops


def test_names_leave_the_words_around_them_alone(config: RunConfig) -> None:
    """Long names wrap, and right-to-left names do not move the numbers after them."""
    result = make_result(missing=1, classes_used=5)
    names = [f"{name} {'x' * 90}" for name in ("שלום", "مرحبا", "a", "b", "c", "d")]
    for entry, name in zip(result["classes"], names, strict=True):
        entry["name"] = name
    result["missing"][0]["path"] = "שלום.mp4"
    page = draw(config, result, mistakes=(Shown(Misclassification(7, 0, 1, 0.125, 0.75), "שלום/v.mp4", b"\xff\xd8"),))
    isolated = [name.text for name in page.find("bdi")]
    assert isolated == ["שלום/v.mp4", names[1], names[0], names[0], names[2], *names[1:], "שלום.mp4"]
    for cell in page.find("table")[0].find("bdi"):
        assert any("wide" in box.kinds and cell in box.walk() for box in [*page.find("th"), *page.find("td")])
    style = page.find_one("style").text
    assert ".head .verdict { white-space: nowrap; }" in style
    assert re.search(r"body \{[^}]*overflow-wrap: anywhere", style)


def test_what_scrolls_is_reached_by_the_keyboard(config: RunConfig) -> None:
    page = draw(config, make_result(missing=1))
    boxes = [*page.find("div", "scroll"), *page.find("div", "picture"), *page.find("pre")]
    assert len(boxes) == 6
    assert all(box.get("tabindex") == "0" for box in boxes)
    assert all(image.get("alt") for image in page.find("img"))
