"""Make the embedded dataset if a record uses it and it does not exist.

  python -m dataset.synthetic.embedded --config_file record/X.yml

run.sh calls this before training; it is also the first to report a mistake in the record.
"""

from pathlib import Path

from dataset.synthetic.make import make_synthetic
from utils.cli import run_script, script_parser
from utils.config import load_config
from utils.text import say


def main() -> None:
    """Parse the record; make its dataset if that is the embedded one and its lists do not exist."""
    arguments = script_parser(__doc__).parse_intermixed_args()
    data = load_config(arguments.config_file, arguments.overrides).dataset
    if data.embedded and not (Path(data.list_file).exists() and Path(data.eva_list_file).exists()):
        say(f"making the embedded dataset in {data.root_path}")
        make_synthetic(data.root_path, format=data.format)


if __name__ == "__main__":
    run_script(main)
