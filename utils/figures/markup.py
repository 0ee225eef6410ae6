"""Pages and drawings as elements of HTML and SVG: text never becomes markup, and a page is one file of its own."""

import base64
from collections.abc import Iterable, Sequence
from pathlib import Path
from xml.etree.ElementTree import Element, tostring

from utils.figures.style import PALETTE

Content = Element | str
Cells = Sequence[tuple[str, Content]]

_STYLE = Path(__file__).with_name("page.css")
# Nothing but what is in the file itself may be loaded, whatever is written in a record.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"
_LINES = {"head", "header", "main", "section", "figure", "svg", "thead", "tr", "dl", "p", "script"}


def element(tag: str, *content: Element | str, **attributes: object) -> Element:
    """Return an element of a page or a drawing.

    Args:
        tag: Its name.
        content: Text and elements in it, in order; an empty text is nothing.
        attributes: By their names, "kind" for class and an underscore for a hyphen. Those that are None or "" are left
            out; coordinates are rounded to a hundredth.
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
    """Return a section of a page under its heading, whose id is `name`."""
    return element("section", element("h2", title, id=name), *content, aria_labelledby=name)


def note(*content: Element | str) -> Element:
    """Return a quiet paragraph."""
    return element("p", *content, kind="note")


def warning(strong: str, text: str) -> Element:
    """Return what must not be missed: a few words, and more about them."""
    return element("div", element("strong", f"⚠ {strong}"), f" {text}", kind="warning", role="note")


def facts(entries: Iterable[tuple[str, str, str]]) -> Element:
    """Return the numbers of a headline: of each what it is, the number, and a line about it."""
    return element("dl", *(element("div", element("dt", term), *(
        element("dd", text, kind=kind) for kind, text in (("big", big), ("small", small))
    ), kind="fact") for term, big, small in entries), kind="facts")  # fmt: skip


def image(content: bytes, kind: str, words: str) -> Element:
    """Return an encoded picture, "jpeg" or "png", that is part of the page, with words for those who do not see it."""
    return element("img", src=f"data:image/{kind};base64,{base64.b64encode(content).decode()}", alt=words)


def scroll_box(content: Element, about: str, *, kind: str) -> Element:
    """Return a box that scrolls, by the keyboard too, where its content is wider than the page.

    Args:
        content: What is in it.
        about: What that is, for those who hear the page.
        kind: Its classes.
    """
    return element("div", content, kind=kind, role="region", tabindex=0, aria_label=about)


def table(about: str, head: Cells, rows: Iterable[Element], *, kind: str = "") -> Element:
    """Return a table in a box of its own, which scrolls where the page is narrower.

    Args:
        about: What it is of, for those who hear the page.
        head: The columns' kinds and names.
        rows: See `table_row`.
        kind: "dense" for many columns, "tall" for any number of rows: these scroll under their head.
    """
    columns = (element("th", text, scope="col", kind=shape) for shape, text in head)
    whole = element("table", element("thead", element("tr", *columns)), element("tbody", *rows))
    return scroll_box(whole, f"Table: {about}", kind=f"scroll {kind}")


def numbers(*texts: str) -> list[tuple[str, Content]]:
    """Return cells of a row, or columns of a table, that hold numbers."""
    return [("number", text) for text in texts]


def table_row(cells: Cells, *, kind: str = "", name: str = "") -> Element:
    """Return a row of a table.

    Args:
        cells: Their kinds and contents: "", "number", "wide" for text that wraps; "th" or "th wide" for the heading.
        kind: Of the row.
        name: Its id.
    """
    return element("tr", *(_cell(shape.split(), content) for shape, content in cells), kind=kind, id=name)


def _cell(shapes: Sequence[str], content: Content) -> Element:
    kind = " ".join(shape for shape in shapes if shape != "th")
    return element("th", content, scope="row", kind=kind) if "th" in shapes else element("td", content, kind=kind)


def isolate(name: str) -> Element:
    """Return a name of any script, which leaves the order of the words around it alone."""
    return element("bdi", name)


def render(node: Element) -> str:
    """Return an element as text."""
    return tostring(node, encoding="unicode", method="html")


def render_document(title: str, *content: Element, script: str = "") -> str:
    """Return a whole page: light and dark, for a desk and a phone, without a network.

    Args:
        title: What the browser calls it.
        content: Its sections.
        script: What runs in it.
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
