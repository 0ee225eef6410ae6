"""Draw the figures of the documentation that no run writes: clips of the embedded data set, and the pipeline.

    python -m docs.make_pictures

writes docs/clips.png and docs/pipeline.png. The other figures are written by runs: confusion.png and curves.png by
`bash run.sh`, search-graph.png by `SEARCH=1 bash run.sh search-synthetic-dg-p3d-resnet18`.
"""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from dataset.synthetic.make import Parameters, make_video
from dataset.synthetic.scene import CLASSES
from utils.figures.style import BLUE, GREEN, INK, MUTED, ORANGE, save_figure

FOLDER = Path(__file__).resolve().parent
SHOWN = range(0, 40, 6)  # frames


def clips_figure() -> Figure:
    """Draw the first test video of each class, two classes a row: every sixth frame, orange-edged after a turn."""
    parameters = Parameters(num_train=1, num_test=len(CLASSES), size=72, frames=40, format="RAW", seed=0)
    figure = Figure(figsize=(10.4, 3.4))
    rows = len(CLASSES) // 2
    half = figure.add_gridspec(1, 2, left=0.132, right=0.995, top=0.93, bottom=0.015, wspace=0.2)
    for column in range(2):
        grid = half[column].subgridspec(rows, len(SHOWN), wspace=0.06, hspace=0.06)
        for row in range(rows):
            label = column * rows + row
            scene, frames = make_video("test", label, parameters=parameters)
            for place, number in enumerate(SHOWN):
                axes = figure.add_subplot(grid[row, place])
                axes.imshow(frames[number], interpolation="nearest")
                axes.set(xticks=[], yticks=[])
                color, width = (ORANGE, 1.8) if number > scene.turn else (INK, 0.6)
                for edge in axes.spines.values():
                    edge.set(color=color, linewidth=width)
                if row == 0:
                    axes.set_title(f"frame {number + 1}" if place == 0 else str(number + 1), fontsize=9, color=MUTED)
                if place == 0:
                    axes.set_ylabel(CLASSES[label], rotation=0, ha="right", va="center", labelpad=5, fontsize=9.5)
    return figure


def _box(axes: Axes, x: float, y: float, *, lines: str, color: str, width: float = 2.1) -> None:
    """Draw a rounded box centered on (x, y); the first line is bold."""
    height = 0.92
    axes.add_patch(
        FancyBboxPatch(
            (x - width / 2, y - height / 2), width, height, boxstyle="round,pad=0.02,rounding_size=0.1",
            facecolor="white", edgecolor=color, linewidth=1.6,
        )
    )  # fmt: skip
    title, *rest = lines.split("\n")
    axes.text(x, y + (0.24 if rest else 0), title, ha="center", va="center", fontsize=10, weight="bold", color=INK)
    if rest:
        axes.text(x, y - 0.14, "\n".join(rest), ha="center", va="center", fontsize=8, color=MUTED, linespacing=1.3)


def _arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float], *, color: str) -> None:
    axes.add_patch(FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=13, color=color, linewidth=1.4))


def _lane(axes: Axes, y: float, *, script: str, color: str, boxes: list[str]) -> list[float]:
    """Draw a script's row of boxes with arrows between them; return the x coordinates of the boxes."""
    axes.axhspan(y - 0.66, y + 0.66, color=color, alpha=0.07, linewidth=0)
    axes.text(0.1, y, script, ha="left", va="center", fontsize=10, weight="bold", color=color, family="monospace")
    places = [3.85 + 2.5 * index for index in range(len(boxes))]
    for x, lines in zip(places, boxes, strict=True):
        _box(axes, x, y, lines=lines, color=color)
    for x in places[1:]:
        _arrow(axes, (x - 1.46, y), (x - 1.07, y), color=color)
    return places


def pipeline_figure() -> Figure:
    """Draw the three steps of a run, and the files between them."""
    figure = Figure(figsize=(12, 4.1))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, 15.2), ylim=(-0.85, 4.35), xticks=[], yticks=[])
    axes.axis("off")
    train = _lane(axes, 3.5, script="train_3d.py", color=BLUE, boxes=[
        "read\nRAW, FRAME, LMDB\nonly the clip's frames", "transform\none draw for the clip\nuint8 [T, H, W, C]",
        "device\nnormalize\nfloat [N, C, T, H, W]", "network\nunit x block x depth\none or two heads",
        "states\nclip length, rate, ...\none after the other",
    ])  # fmt: skip
    extract = _lane(axes, 1.75, script="extract_score_3d.py", color=GREEN, boxes=[
        "read\nevery video once:\nits unique frames", "views\nclips x crops\nmade on the device",
        "network\nthe trained weights\nheads fused", "scores\none row for each\n(video, clip, crop)",
    ])  # fmt: skip
    merge = _lane(axes, 0.0, script="merge_score.py", color=ORANGE, boxes=[
        "join\nevery view once?\nwhich are missing?", "mean\nover the views\nof a video",
        "result\ntop-1/3/5, clip, video\nconfusion matrix",
    ])  # fmt: skip
    _bend(axes, [(train[4], 3.02), (train[4], 2.62), (extract[2], 2.62), (extract[2], 2.25)], BLUE)
    axes.text(train[4] - 0.15, 2.7, "weights (checkpoint)", ha="right", va="bottom", fontsize=8, color=BLUE)
    _bend(axes, [(extract[3], 1.27), (extract[3], 0.87), (merge[0], 0.87), (merge[0], 0.5)], GREEN)
    axes.text(extract[3] - 0.15, 0.95, "score files", ha="right", va="bottom", fontsize=8, color=GREEN)
    return figure


def _bend(axes: Axes, corners: list[tuple[float, float]], color: str) -> None:
    """Draw a line through the corners with an arrow at its end."""
    axes.plot(*np.transpose(corners[:-1]), color=color, linewidth=1.4, solid_joinstyle="round")
    _arrow(axes, corners[-2], corners[-1], color=color)


def main() -> None:
    """Draw both figures."""
    for name, figure in (("clips", clips_figure()), ("pipeline", pipeline_figure())):
        save_figure(figure, FOLDER / f"{name}.png")
        print(FOLDER / f"{name}.png")


if __name__ == "__main__":
    main()
