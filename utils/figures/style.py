"""What all figures share: colours, places in inches, the title, and how a figure becomes a file.

Figures are matplotlib objects made without pyplot, so that nothing global is touched and no display is needed.
"""

import warnings
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from utils.files import write_atomically

INK, MUTED, GRID, BAND = "#1f2933", "#66727f", "#e4e8ec", "#f4f6f8"
BLUE, GREEN, ORANGE, PURPLE = "#2262a8", "#1b8a5a", "#c2571a", "#7b4ea3"


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, whole or not at all.

    Names of files and classes are written as they are: dollar signs in them are no mathematics, and a letter that the
    font lacks becomes a box.

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
    """Add axes at a place given in inches."""
    total_width, total_height = figure.get_size_inches()
    return figure.add_axes((left / total_width, bottom / total_height, width / total_width, height / total_height))


def write_title(figure: Figure, title: str, subtitle: str) -> None:
    """Write two lines in the upper left corner, at a fixed distance from the edge whatever the size of the figure."""
    width, height = figure.get_size_inches()
    figure.text(0.25 / width, 1 - 0.34 / height, title, fontsize=13, fontweight="bold", color=INK, va="center")
    figure.text(0.25 / width, 1 - 0.62 / height, subtitle, fontsize=9, color=MUTED, va="center")
