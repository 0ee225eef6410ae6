"""Classify videos: print the best classes of each, with their scores.

  python predict_3d.py --config_file record/X.yml --weights output/X/current.pth video.mp4
  python predict_3d.py --config_file record/X.yml videos/ --json out.json --annotate annotated --timeline timeline
  python predict_3d.py --config_file record/X.yml long.mp4 --stride 0.5s --segments segments.csv --features features
  python predict_3d.py --exported FOLDER video.mp4

A video is scored as in the evaluation of the record: sampler.eva_num_clips clips, dataset.eva_num_crop crops, mean of
their probabilities (softmax of the logits). --segments, --timeline, --annotate and --features also score it window by
window (a window is as long as a clip, center crop). A folder stands for all videos below it. The default of --weights
is the record's own; the class names are stored in the file. --exported takes a folder written by python -m
model.export, which needs no record. An argument section.key=value changes a value of the record. No GPU is needed.
Weights and lists named by the record are looked up from the working directory, then beside this script.

Each result is printed and written as soon as it is known. A file that cannot be read is reported in one line and again
at the end; the others are processed, and the exit code is 1. Nothing is overwritten. docs/predict.md documents each
output file.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from dataset.prediction.request import Outputs, make_request
from model.export.folder import read_exported
from utils.cli import Parser, importing, run_script
from utils.config import load_config
from utils.config.schema import SECTIONS


def parse_arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line; `inputs` are files and folders, `overrides` section.key=value words."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("inputs", nargs="+", metavar="VIDEO|FOLDER|section.key=value", help="videos and settings")
    network = parser.add_mutually_exclusive_group(required=True)
    network.add_argument("--config_file", type=Path, metavar="record/X.yml", help="record of the network")
    network.add_argument("--exported", type=Path, metavar="FOLDER", help="folder written by python -m model.export")
    parser.add_argument("--weights", help="weights, this project's or released names (default: the record's)")
    parser.add_argument("--top_k", type=int, default=5, help="number of best classes to print (default: 5)")
    parser.add_argument("--classes", type=Path, help="class names, one per line (default: those of the weights)")
    parser.add_argument("--stride", metavar="N|SECONDSs", help="window stride: 8 (frames) or 0.5s (default: a window)")
    files = parser.add_argument_group("results")
    files.add_argument("--json", type=Path, metavar="FILE", help="all results")
    files.add_argument("--csv", type=Path, metavar="FILE", help="table of the classes of each video")
    files.add_argument("--segments", type=Path, metavar="FILE", help="table of the times at which each class is seen")
    files.add_argument("--annotate", type=Path, metavar="FOLDER", help="copies of the videos, classes drawn in")
    files.add_argument("--timeline", type=Path, metavar="FOLDER", help="plots of long videos' scores over time")
    files.add_argument("--features", type=Path, metavar="FOLDER", help="classifier inputs of each window (.npy)")
    arguments = parser.parse_intermixed_args(words)
    is_override = {word: _is_override(word) for word in arguments.inputs}
    arguments.overrides = [word for word in arguments.inputs if is_override[word]]
    arguments.inputs = [Path(word) for word in arguments.inputs if not is_override[word]]
    if not arguments.inputs:
        parser.error("no video and no folder is given")
    if arguments.exported and arguments.weights:
        parser.error("--weights: an exported folder has its own; drop it, or use --config_file")
    if arguments.top_k < 1:
        parser.error(f"--top_k {arguments.top_k}: must be at least 1")
    return arguments


def _is_override(word: str) -> bool:
    return word.partition(".")[0] in SECTIONS and "=" in word and not Path(word).exists()


def main(words: Sequence[str] | None = None) -> None:
    """Parse the command line, then predict."""
    arguments = parse_arguments(words)
    names: tuple[str, ...] = ()
    if arguments.exported:
        exported = read_exported(arguments.exported, arguments.overrides)
        config, names = exported.config, exported.class_names
    else:
        weights = [f"network.eva_model={json.dumps(arguments.weights)}"] if arguments.weights else []
        config = load_config(arguments.config_file, [*arguments.overrides, *weights])
    outputs = {name: getattr(arguments, name) for name in Outputs.__dataclass_fields__}
    request = make_request(
        config,
        arguments.inputs,
        classes=arguments.classes,
        top_k=arguments.top_k,
        stride=arguments.stride,
        outputs=Outputs(**outputs),
    )
    request = replace(request, class_names=request.class_names or names)
    with importing():
        import helpers  # imports torch: only after the command line and the record have been validated

    if helpers.predict(config, request):
        sys.exit(1)


if __name__ == "__main__":
    run_script(main)
