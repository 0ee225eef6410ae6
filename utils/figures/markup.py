"""Build HTML pages and SVG drawings as element trees: text is always escaped, and a page is one self-contained file."""

import base64
from collections.abc import Iterable, Sequence
from pathlib import Path
from xml.etree.ElementTree import Element, tostring

from utils.figures.style import PALETTE

Content = Element | str
Cells = Sequence[tuple[str, Content]]

_STYLE = Path(__file__).with_name("page.css")
# The page may load nothing from outside, whatever is written in a record.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"
_LINES = {"head", "header", "main", "section", "figure", "svg", "thead", "tr", "dl", "p", "script"}


def element(tag: str, *content: Element | str, **attributes: object) -> Element:
    """Return an HTML or SVG element.

    Args:
        tag: Tag name.
        content: Text and child elements, in order.
        attributes: Attributes by name; "kind" stands for class, an underscore for a hyphen. Values None and "" are
            omitted; floats are rounded to a hundredth.
    """
    node = Element(tag)
    for name, value in attributes.items():
        if value not in (None, ""):
            text = f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
            node.set("class" if name == "kind" else name.replace("_", "-"), text)
    for part in content:
        if isinstance(part, Element):
            node.append(part)
        elif len(node):
            node[-1].tail = (node[-1].tail or "") + part
        else:
            node.text = (node.text or "") + part
    node.tail = "\n" if tag in _LINES else None
    return node


def section(name: str, title: str, *content: Element | str) -> Element:
    """Return a section with a heading; `name` is the id of the heading."""
    return element("section", element("h2", title, id=name), *content, aria_labelledby=name)


def note(*content: Element | str) -> Element:
    """Return a paragraph of explanation, in a muted color."""
    return element("p", *content, kind="note")


def warning(strong: str, text: str) -> Element:
    """Return a highlighted warning: a few bold words, then the details."""
    return element("div", element("strong", f"⚠ {strong}"), f" {text}", kind="warning", role="note")


def facts(entries: Iterable[tuple[str, str, str]]) -> Element:
    """Return the headline figures; each entry has a name, a value and a line of explanation."""
    return element("dl", *(element("div", element("dt", term), *(
        element("dd", text, kind=kind) for kind, text in (("big", big), ("small", small))
    ), kind="fact") for term, big, small in entries), kind="facts")  # fmt: skip


def image(content: bytes, kind: str, words: str) -> Element:
    """Return an image embedded in the page: its encoded content, "jpeg" or "png", and its alternative text."""
    return element("img", src=f"data:image/{kind};base64,{base64.b64encode(content).decode()}", alt=words)


def scroll_box(content: Element, about: str, *, kind: str) -> Element:
    """Return a box that scrolls, also by keyboard, if its content is wider than the page.

    Args:
        content: Content of the box.
        about: Accessible name.
        kind: CSS classes.
    """
    return element("div", content, kind=kind, role="region", tabindex=0, aria_label=about)


def table(about: str, head: Cells, rows: Iterable[Element], *, kind: str = "") -> Element:
    """Return a table in a box that scrolls if the page is narrower.

    Args:
        about: What the table shows, for screen readers.
        head: Kinds and names of the columns.
        rows: See `table_row`.
        kind: "dense" for many columns, "tall" for many rows, which scroll under the head.
    """
    columns = (element("th", text, scope="col", kind=shape) for shape, text in head)
    whole = element("table", element("thead", element("tr", *columns)), element("tbody", *rows))
    return scroll_box(whole, f"Table: {about}", kind=f"scroll {kind}")


def numbers(*texts: str) -> list[tuple[str, Content]]:
    """Return cells, or column heads, of numbers."""
    return [("number", text) for text in texts]


def table_row(cells: Cells, *, kind: str = "", name: str = "") -> Element:
    """Return a row of a table.

    Args:
        cells: Kinds and contents: "", "number", "wide" for text that wraps; "th" or "th wide" for a heading.
        kind: CSS class of the row.
        name: The id of the row.
    """
    return element("tr", *(_cell(shape.split(), content) for shape, content in cells), kind=kind, id=name)


def _cell(shapes: Sequence[str], content: Content) -> Element:
    kind = " ".join(shape for shape in shapes if shape != "th")
    return element("th", content, scope="row", kind=kind) if "th" in shapes else element("td", content, kind=kind)


def isolate(name: str) -> Element:
    """Return a name isolated from its surroundings, whose order a right-to-left script would change."""
    return element("bdi", name)


def render(node: Element) -> str:
    """Return an element as HTML text."""
    return tostring(node, encoding="unicode", method="html")


def render_document(title: str, *content: Element, script: str = "") -> str:
    """Return a self-contained HTML page, light or dark, for desktops and phones.

    Args:
        title: Title of the document.
        content: Sections of the page.
        script: JavaScript to run in it; "" for none.
    """
    dark = f"@media (prefers-color-scheme: dark) {{ {_palette(1)} }}"
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("link", rel="icon", href="data:,"),
        element("title", title),
        element("style", "\n".join([_palette(0), dark, _STYLE.read_text("utf-8")])),
    )
    body = element("body", element("main", *content), *([element("script", script)] if script else []))
    return f"<!DOCTYPE html>\n{render(element('html', head, body, lang='en'))}\n"


def _palette(shade: int) -> str:
    return f":root {{ {' '.join(f'--{name}: {colors[shade]};' for name, colors in PALETTE.items())} }}"
