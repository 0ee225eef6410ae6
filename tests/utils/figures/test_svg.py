"""SVG drawn by matplotlib: every shape at its place and in its color; elements rendered as text."""

from io import BytesIO
from xml.etree.ElementTree import Element

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.typing import ColorType
from numpy.typing import NDArray
from PIL import Image

from utils.figures.markup import element, render, render_document
from utils.figures.style import PALETTE
from utils.figures.svg import line_data, svg_figure

SHAPES = (
    element("rect", x=10, y=10, width=60, height=40, rx=4, fill="var(--tint)", stroke="var(--blue)", stroke_width=4),
    element("circle", cx=100, cy=30, r=12, fill="var(--red)", stroke="none"),
    element("path", d="M130 10Q170 10 170 50", fill="none", stroke="var(--green)", stroke_width=6),
    element("path", d=f"{line_data([(10, 70), (50, 70), (50, 90)])}Z", fill="var(--ink)"),
    element("path", d="M70 80L190 80", stroke="var(--orange)", stroke_width=6, stroke_dasharray="20 30"),
    element("g", element("title", "not drawn"), element("text", "H", x=100, y=35, font_size=14, fill="var(--back)")),
)
# Colors at points: inside the rectangle, on its border, in the circle, on the middle of the curve, in the triangle, on
# a dash, between dashes, on the next dash, on the stem of the letter over the circle, and outside of all shapes.
PLACES = {
    (40, 30): "tint", (40, 10): "blue", (92, 30): "red", (160, 20): "green", (44, 74): "ink",
    (80, 80): "orange", (105, 80): "back", (130, 80): "orange", (102, 28): "back", (200, 95): "back",
}  # fmt: skip


def pixels(drawings: list[Element], *, columns: int = 1) -> NDArray[np.uint8]:
    """Return an image of drawings at two pixels for each of theirs."""
    file = BytesIO()
    svg_figure(drawings, columns=columns, title="", subtitle="").savefig(file, format="png", dpi=200)
    return np.asarray(Image.open(file).convert("RGB"))


@pytest.mark.parametrize("left", [0, -30])
def test_every_shape_is_where_it_is_in_the_drawing(left: float) -> None:
    svg = element("svg", *SHAPES, viewBox=f"{left} 0 240 100")
    picture = pixels([svg])
    bottom = picture.shape[0] - 2 * (100 + 16)  # the gap below
    for (x, y), name in PLACES.items():
        found = picture[bottom + 2 * y, round(2 * (16 + x - left))] / 255
        np.testing.assert_allclose(found, to_rgb(PALETTE[name][0]), atol=0.03, err_msg=f"{name} at {x}, {y}")


def test_drawings_are_in_rows() -> None:
    colors = ("red", "green", "blue")
    squares = [element("rect", x=0, y=0, width=40, height=40, rx=0, fill=f"var(--{name})") for name in colors]
    picture = pixels([element("svg", square, viewBox="0 0 40 40") for square in squares], columns=2)
    rows = [picture.shape[0] - 2 * (36 + 56), picture.shape[0] - 2 * 36]
    for name, row, column in zip(colors, (0, 0, 1), (0, 1, 0), strict=True):
        found = picture[rows[row], 2 * (36 + 56 * column)] / 255
        np.testing.assert_allclose(found, to_rgb(PALETTE[name][0]), atol=0.03)


def contrast(one: ColorType, other: ColorType) -> float:
    """Return the contrast ratio of two colors, as defined by WCAG 2."""
    channels = [np.array(to_rgb(color)) for color in (one, other)]
    linear = [np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4) for c in channels]
    low, high = sorted(float(value @ (0.2126, 0.7152, 0.0722)) + 0.05 for value in linear)
    return high / low


@pytest.mark.parametrize("shade", [0, 1], ids=["light", "dark"])
def test_text_is_readable_on_every_background(shade: int) -> None:
    backgrounds = ("back", "panel", "tint", "cream")
    for name in PALETTE.keys() - {*backgrounds, "grid", "shade", "faint"}:
        for background in backgrounds:
            assert contrast(PALETTE[name][shade], PALETTE[background][shade]) >= 4.5, f"{name} on {background}"


def test_attributes_of_an_element() -> None:
    node = element("text", "", "a", kind="tick", x=1 / 3, y=5.0, font_size=11, fill="", href=None, aria_label="b")
    assert render(node) == '<text class="tick" x="0.33" y="5" font-size="11" aria-label="b">a</text>'
    assert render(element("p", "a ", element("b", "c"), " d", element("i"), "e")) == "<p>a <b>c</b> d<i></i>e</p>\n"


def test_a_document_has_every_color_that_its_style_names() -> None:
    text = render_document("T", element("p", "content"))
    assert {part.split(")")[0] for part in text.split("var(--")[1:]} <= PALETTE.keys()
    assert text.startswith("<!DOCTYPE html>\n<html") and "<script" not in text
