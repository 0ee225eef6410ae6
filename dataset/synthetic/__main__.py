"""The command `python -m dataset.synthetic`."""

from dataset.synthetic.make import main
from utils.cli import run_script

if __name__ == "__main__":
    run_script(main)
