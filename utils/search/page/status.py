"""Whether a search runs: said at the top of its page, which then reloads itself."""

from pathlib import Path
from xml.etree.ElementTree import Element

from utils.figures.markup import element

_RELOAD = Path(__file__).with_name("reload.js")


def render_status(text: str, *, is_complete: bool) -> Element:
    """Return the line at the top of a search's page: its status and, while it runs, how to follow it."""
    if is_complete:
        return element("div", element("span", text, kind="status"), kind="top")
    refresh = element("span", "reload the page to see how far it is", kind="refresh", id="refresh")
    return element("div", element("span", text, kind="status running"), refresh, kind="top")


def reload_script(*, is_complete: bool) -> str:
    """Return what reloads the page of a search that runs."""
    return "" if is_complete else _RELOAD.read_text("utf-8")
