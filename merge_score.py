"""Merge the scores of a record into its result.

  python merge_score.py --config_file record/synthetic-dg-p3d-resnet18.yml

Every (video, clip, crop) must be present exactly once, whatever processes extracted it; videos that could not be read
are counted and named. The headline metric is the accuracy of videos by the mean of the probabilities over all views;
the metric of the paper's released code is computed from the logits, as there. NaN or infinite logits stop the merge, or
their video counts as missing (dataset.on_error).

Output in output/<record>/: result.html (the report, with pictures of the worst errors), result.txt (the same as text),
predictions.csv (every video: its class, the best five and their probabilities), result.json (for programs: metrics,
protocol, missing videos, checkpoint, versions, effective configuration), confusion.png and, if the record was trained
here, curves.png. An existing result of the same scores is kept; one of other scores is moved to
output/<record>/earlier-NNN.
"""

from typing import Any

from dataset.listing import read_class_names, read_list
from utils.cli import run_script, script_parser
from utils.config import RunConfig, load_config
from utils.evaluation.merging import merge_scores
from utils.evaluation.provenance import EXTRACT_SCRIPT, command_line
from utils.evaluation.top_classes import TopClasses
from utils.metrics import Metrics

SHOWN_ERRORS = 20


def main() -> None:
    """Parse the command line, then merge the scores."""
    arguments = script_parser(__doc__).parse_intermixed_args()
    config = load_config(arguments.config_file, arguments.overrides)
    merge(
        config,
        extracted_by=command_line(EXTRACT_SCRIPT, arguments.config_file, arguments.overrides),
        force=arguments.force,
    )


def merge(config: RunConfig, *, extracted_by: str, force: bool) -> None:
    """Merge the scores of a record; arguments as for `merge_scores`."""
    videos = read_list(
        config.require_file("dataset", "eva_list_file", hint="it must be the list that was extracted"),
        num_classes=config.dataset.num_classes,
    )
    names = read_class_names(config.dataset.eva_list_file, config.dataset.num_classes)

    def draw(result: dict[str, Any], metrics: Metrics, top_classes: TopClasses) -> None:
        # matplotlib and torch take 2 s: --help, an error or an existing result does not need them
        from dataset.build import make_reader
        from dataset.writers.strips import read_strips
        from utils.figures.result import Shown, draw_result

        mistakes = top_classes.worst_errors(SHOWN_ERRORS)
        records = [videos[mistake.video] for mistake in mistakes]
        strips = read_strips(records, lambda: make_reader(config, config.dataset.eva_root_path))
        shown = [Shown(m, record.path, strip) for m, record, strip in zip(mistakes, records, strips, strict=True)]
        draw_result(config, result, metrics=metrics, class_names=names, mistakes=shown)

    merge_scores(config, videos, class_names=names, draw=draw, extracted_by=extracted_by, force=force)


if __name__ == "__main__":
    run_script(main)
