"""The command `python -m utils.launch`; user errors end in one line."""

from utils.cli import run_script
from utils.launch.torchrun import launch

if __name__ == "__main__":
    run_script(launch)
