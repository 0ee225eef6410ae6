"""Style of all figures and pages: colors, placement in inches, titles, and writing a figure to a file.

Figures are matplotlib objects created without pyplot: no global state, no display.
"""

import warnings
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from utils.files import write_atomically

# The palette: each color in figures and light pages, and in dark pages. On the backgrounds (back, panel, tint, cream)
# text in any other color but grid, faint and shade has a contrast of at least 4.5 to 1, as WCAG 2 asks.
PALETTE = {
    "back": ("#ffffff", "#14181d"), "panel": ("#f5f7f9", "#1c2229"), "tint": ("#e5eff9", "#1b2e42"),
    "cream": ("#fdf3e4", "#33261a"), "shade": ("#00000030", "#000000a0"), "grid": ("#d5dbe1", "#3a444e"),
    "ink": ("#1f2933", "#e7ebef"), "strong": ("#39444f", "#cbd3da"), "muted": ("#55606b", "#a9b4bf"),
    "faint": ("#87929d", "#7f8b96"), "blue": ("#1d5fa8", "#74b6f7"), "green": ("#146c43", "#66d3a0"),
    "orange": ("#9a4f08", "#f4b06f"), "red": ("#b3261e", "#ff8d84"), "purple": ("#7b4ea3", "#c3a0e6"),
}  # fmt: skip
INK, MUTED, GRID, PANEL, BLUE, GREEN, ORANGE, PURPLE, RED = (
    PALETTE[name][0] for name in ("ink", "muted", "grid", "panel", "blue", "green", "orange", "purple", "red")
)

LETTERS = 0.115, 0.072  # width of a character of the title and of the subtitle, inches


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, atomically.

    Names of files and classes are drawn literally: dollar signs do not start mathematics, and a glyph that the font
    lacks becomes a box.

    Raises:
        FileError: The file cannot be written.
    """
    FigureCanvasAgg(figure)
    for text in figure.findobj(Text):
        text.set_parse_math(False)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font", category=UserWarning)
        write_atomically(path, lambda file: figure.savefig(file, format="png", dpi=150))


def place(figure: Figure, left: float, bottom: float, width: float, height: float) -> Axes:
    """Add axes at a position given in inches."""
    total_width, total_height = figure.get_size_inches()
    return figure.add_axes((left / total_width, bottom / total_height, width / total_width, height / total_height))


def style_axes(axes: Axes) -> None:
    """Keep only the bottom spine, with horizontal grid lines behind the data and muted tick labels."""
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, labelcolor=MUTED, labelsize=9)
    for side, spine in axes.spines.items():
        spine.set(visible=side == "bottom", color=GRID)


def shorten(text: str, *, longest: int = 26) -> str:
    """Return a text cut to a number of characters, with an ellipsis at its end if it was longer."""
    return text if len(text) <= longest else f"{text[: longest - 1]}\u2026"


def write_title(figure: Figure, title: str, subtitle: str) -> None:
    """Write title and subtitle in the upper left corner, at a fixed distance from the edges, cut to fit the width."""
    width, height = figure.get_size_inches()
    title, subtitle = (
        shorten(text, longest=int((width - 0.5) / letter))
        for text, letter in zip((title, subtitle), LETTERS, strict=True)
    )
    figure.text(0.25 / width, 1 - 0.34 / height, title, fontsize=13, fontweight="bold", color=INK, va="center")
    figure.text(0.25 / width, 1 - 0.62 / height, subtitle, fontsize=9, color=MUTED, va="center")
