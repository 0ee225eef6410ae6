"""Names of files and classes are drawn literally, without matplotlib's mathematics or hidden labels."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from utils.evaluation.predictions import Window
from utils.figures.confusion import confusion_figure
from utils.figures.curves import curves_figure
from utils.figures.style import save_figure
from utils.figures.timeline import timeline_figure

NAMES = ("cost $_$", "_hidden", "$x^2$", r"a\$b", "Übung 笑う", "\x1b[31m\nred", "%s {x} _")
WINDOWS = [Window(float(i), i + 1.0, i, np.eye(7)[i]) for i in range(7)]
EPOCH = {"state": 0, "train_loss": 1.0, "learning_rate": 0.1, "clips_per_second": 1.0, "num_frames": 8}
EPOCHS = [{**EPOCH, "total_epoch": 1}, {**EPOCH, "total_epoch": 2, "state": 1, "learning_rate": 0.001}]
FIGURES = {
    "timeline": lambda: timeline_figure(WINDOWS, NAMES, title="cost $_$.mp4"),
    "confusion": lambda: confusion_figure(np.eye(7, dtype=int), class_names=NAMES, title="cost $_$.mp4", subtitle=""),
    "large confusion": lambda: confusion_figure(
        np.eye(77, dtype=int)[::-1], class_names=NAMES * 11, title="cost $_$.mp4", subtitle=""
    ),
    "curves": lambda: curves_figure(EPOCHS, title="cost $_$.mp4"),
}


def written(figure: Figure) -> list[Text]:
    return [text for text in figure.findobj(Text) if text.get_text()]


@pytest.mark.parametrize("name", FIGURES)
def test_names_are_drawn_as_they_are(name: str, tmp_path: Path) -> None:
    figure = FIGURES[name]()
    save_figure(figure, tmp_path / "p.png")
    assert not any(text.get_parse_math() for text in written(figure))
    shown = [text.get_text() for text in written(figure)]
    assert "cost $_$.mp4" in shown
    if name == "timeline":
        legend = figure.axes[0].get_legend()
        assert legend is not None and [text.get_text() for text in legend.get_texts()] == list(NAMES[:5])
    if name == "confusion":
        assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == list(NAMES)
