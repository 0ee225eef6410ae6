"""Make the embedded data set when a record asks for it and it is absent.

  python -m dataset.synthetic.embedded --config_file record/X.yml

run.sh calls this before training; as it parses the record, it is also where a mistake in the record shows first.
"""

from pathlib import Path

from dataset.synthetic.make import make_synthetic
from utils.cli import run_script, script_parser
from utils.config import load_config
from utils.text import say


def main() -> None:
    """Parse the record; make its data set if that is the embedded one and its lists are not there."""
    arguments = script_parser(__doc__).parse_intermixed_args()
    data = load_config(arguments.config_file, arguments.overrides).dataset
    if data.embedded and not (Path(data.list_file).exists() and Path(data.eva_list_file).exists()):
        say(f"making the embedded data set in {data.root_path}")
        make_synthetic(data.root_path, format=data.format)


if __name__ == "__main__":
    run_script(main)
