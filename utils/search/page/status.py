"""The status line of a search's page, and the script that reloads it while the search runs."""

from pathlib import Path
from xml.etree.ElementTree import Element

from utils.figures.markup import element

_RELOAD = Path(__file__).with_name("reload.js")


def render_status(text: str, *, is_complete: bool) -> Element:
    """Return the status line; while the search runs, with a place for the control of the reload script."""
    if is_complete:
        return element("div", element("span", text, kind="status"), kind="top")
    refresh = element("span", "reload the page for the current state", kind="refresh", id="refresh")
    return element("div", element("span", text, kind="status running"), refresh, kind="top")


def reload_script(*, is_complete: bool) -> str:
    """Return the JavaScript that reloads the page of a running search; empty for a finished one."""
    return "" if is_complete else _RELOAD.read_text("utf-8")
