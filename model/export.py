"""The command behind `python -m model.weights export`: what a record has trained, under the released names."""

import argparse
from pathlib import Path

import torch

from model.build import make_trained_network
from model.weights import export_weights
from utils.cli import Parser
from utils.config import load_config
from utils.files import write_atomically
from utils.text import say


def main(description: str | None) -> None:
    """Write the weights of a record's network; `description` is the help's."""
    parser = Parser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=["export"])
    parser.add_argument("--config_file", required=True, type=Path, metavar="record/X.yml", help="the record (required)")
    parser.add_argument("--output", type=Path, metavar="FILE", help="default: output/X/released.pth")
    parser.add_argument("overrides", nargs="*", metavar="section.key=value", help="change a value of the record")
    arguments = parser.parse_intermixed_args()
    config = load_config(arguments.config_file, arguments.overrides)
    network = make_trained_network(config, config.eva_model)
    released, output = export_weights(network), arguments.output or config.run_dir / "released.pth"
    write_atomically(output, lambda file: torch.save(released, file))
    say(f"{output}: {len(released)} tensors of {config.network.net_name}")
    # A file of weights alone cannot say what they were trained on.
    say(f"  set with it: dataset.mean={list(config.dataset.mean)} dataset.std={list(config.dataset.std)}")
