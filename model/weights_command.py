"""The commands `python -m model.weights export | list | fetch`."""

import argparse
from pathlib import Path

import torch

from model.build import make_trained_network
from model.public_weights import COLUMNS, find_public_file, match_public_files, rows
from model.weights import export_weights
from model.weights_fetch import fetch
from utils.cli import Parser
from utils.config import load_config
from utils.files import write_atomically
from utils.text import say


def main(description: str | None) -> None:
    """Run one of the commands; `description` is that of the help."""
    parser = Parser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True, metavar="export | list | fetch")
    export = commands.add_parser("export", help="write a record's weights under the released names")
    export.add_argument("--config_file", required=True, type=Path, metavar="record/X.yml", help="the record (required)")
    export.add_argument("--output", type=Path, metavar="FILE", help="default: output/X/released.pth")
    export.add_argument("overrides", nargs="*", metavar="section.key=value", help="change a value of the record")
    listing = commands.add_parser("list", help="list public files of weights")
    listing.add_argument("pattern", nargs="?", default="*", help="shell wildcards; default: all")
    listing.add_argument("--markdown", action="store_true", help="the table of docs/weights.md")
    download = commands.add_parser("fetch", help="download a public file")
    download.add_argument("name", metavar="NAME", help="a file or a network that 'list' names")
    download.add_argument("--output", type=Path, default=Path("pretrained_weights"), metavar="FOLDER")
    download.add_argument("--mirror", metavar="URL", help="address of another folder that has the file")
    arguments = parser.parse_args()
    {"export": _export, "list": _list, "fetch": _fetch}[arguments.command](arguments)


def _export(arguments: argparse.Namespace) -> None:
    """Write the trained weights of a record."""
    config = load_config(arguments.config_file, arguments.overrides)
    network = make_trained_network(config, config.eva_model)
    released, output = export_weights(network), arguments.output or config.run_dir / "released.pth"
    write_atomically(output, lambda file: torch.save(released, file))
    say(f"{output}: {len(released)} tensors of {config.network.net_name}")
    # A file of weights alone cannot contain these settings.
    say(f"  set with it: dataset.mean={list(config.dataset.mean)} dataset.std={list(config.dataset.std)}")


def _list(arguments: argparse.Namespace) -> None:
    """Print the table of public files."""
    say(*format_table(arguments.pattern, markdown=arguments.markdown).splitlines())


def format_table(pattern: str, *, markdown: bool) -> str:
    """Return the table of the public files that match a pattern, as text or as Markdown."""
    files = match_public_files(pattern)
    if not markdown:
        table = [COLUMNS, *rows(files)]
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in table)
    table = [COLUMNS, ("---", "---", "---", "---:", "---:", "---")]
    for file, (name, net_name, *cells, license) in zip(files, rows(files), strict=True):
        own = f"[its own]({license})" if file.license else license
        table.append((f"[`{name}`]({file.url})", f"`{net_name}`", *cells, own))
    return "\n".join(f"| {' | '.join(row)} |" for row in table)


def _fetch(arguments: argparse.Namespace) -> None:
    """Download a public file and print how to use it."""
    file = find_public_file(arguments.name)
    path, url = arguments.output / file.file_name, file.url
    if arguments.mirror:
        url = f"{arguments.mirror.rstrip('/')}/{file.file_name}"
    sha256 = fetch(url, path, sha256_prefix=file.sha256_prefix)
    say(f"{path}: SHA-256 {sha256}, begins with {file.sha256_prefix} as published")
    say(f"  weights of {file.net_name}; in a record: network.pretrained_model: {path}")
