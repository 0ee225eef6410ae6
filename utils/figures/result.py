"""The pictures beside a result."""

from collections.abc import Mapping, Sequence
from typing import Any

from utils.config import RunConfig
from utils.evaluation.result import CONFUSION_PICTURE, CURVES_PICTURE
from utils.figures.confusion import confusion_figure
from utils.figures.curves import curves_figure
from utils.figures.style import save_figure
from utils.metrics import Metrics
from utils.training.epoch_lines import read_epochs


def draw_result(config: RunConfig, result: Mapping[str, Any], *, metrics: Metrics, class_names: Sequence[str]) -> None:
    """Draw the confusion matrix of a result and, where the record was trained here, the curves of its training.

    Args:
        config: The record.
        result: What was found, as in result.json.
        metrics: The same in numbers.
        class_names: By number.

    Raises:
        FileError: A picture cannot be written.
    """
    protocol = result["protocol"]
    views = f"{protocol['num_views']} views ({protocol['num_clips']} clips x {protocol['num_crops']} crops)"
    confusion = confusion_figure(
        metrics.confusion,
        class_names=class_names,
        title=f"Confusion matrix of {config.name}",
        subtitle=f"{metrics.num_videos:,} videos, mean of {views}: top-1 {100 * metrics.video[1]:.2f}%",
    )
    save_figure(confusion, config.run_dir / CONFUSION_PICTURE)
    if epochs := read_epochs(config.run_dir):
        save_figure(curves_figure(epochs, title=f"Training of {config.name}"), config.run_dir / CURVES_PICTURE)
