"""Export a trained network as a folder that needs neither its record nor its data set.

  python -m model.export --config_file record/X.yml --format safetensors
  python -m model.export --config_file record/X.yml --format pt2 --output jumps network.eva_model=FILE
  python -m model.export --config_file record/X.yml --format onnx --opset 20

The folder (default: output/X/exported-FORMAT) contains the network, as weights under the released names (safetensors)
or as a program for batches of any size (pt2: torch.export, onnx: ONNX), and a JSON file with the shape of a clip, its
normalization and the names of the classes. Before the JSON file is written, the network's file is read back and run on
clips of the record's evaluation list; it is an error if its outputs differ from the network's.
python predict_3d.py --exported FOLDER uses the folder; docs/export.md says how other programs do.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from model.export.folder import FORMATS, require_new, require_packages
from utils.cli import Parser, run_script
from utils.config import load_config
from utils.text import say


def main(words: Sequence[str] | None = None) -> None:
    """Parse the command line, then export."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config_file", required=True, type=Path, metavar="record/X.yml", help="the record (required)")
    parser.add_argument("--format", required=True, choices=tuple(FORMATS), help="format of the network (required)")
    parser.add_argument("--output", type=Path, metavar="FOLDER", help="default: output/X/exported-FORMAT")
    parser.add_argument("--opset", type=int, metavar="N", help="onnx: version of the operators (default: torch's)")
    parser.add_argument("overrides", nargs="*", metavar="section.key=value", help="change a value of the record")
    arguments = parser.parse_intermixed_args(words)
    if arguments.opset is not None and arguments.format != "onnx":
        parser.error(f"--opset {arguments.opset}: {arguments.format} has no operator sets; it goes with --format onnx")
    config = load_config(arguments.config_file, arguments.overrides)
    chosen = FORMATS[arguments.format]
    require_packages(f"--format {arguments.format}", (*chosen.packages, *chosen.to_write))
    folder = arguments.output or config.run_dir / f"exported-{arguments.format}"
    require_new(folder)
    from model.export.write import export  # imports torch, which is slow: after all cheap checks

    say(*export(config, folder, kind=arguments.format, opset=arguments.opset))


if __name__ == "__main__":
    run_script(main)
