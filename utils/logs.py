"""Log a run to the screen and to log.txt."""

import logging
from pathlib import Path

from tqdm import tqdm

from utils import distributed
from utils.files import append_text
from utils.text import printable, say


class _ScreenHandler(logging.Handler):
    """Print lines above the progress bar."""

    def emit(self, record: logging.LogRecord) -> None:
        with tqdm.external_write_mode():
            say(self.format(record))


class _FileHandler(logging.Handler):
    """Append lines to a file that is open only during a write, so that the folder may be moved."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path

    def emit(self, record: logging.LogRecord) -> None:
        append_text(self.path, printable(self.format(record)) + "\n")


def open_log(run_dir: Path, script: str) -> logging.Logger:
    """Return the logger of a script: rank 0 writes to the screen and to run_dir/log.txt, other ranks are silent."""
    logger = logging.getLogger(f"planning.{script}")
    logger.propagate = False
    logger.handlers.clear()
    logger.setLevel(logging.INFO if distributed.is_main() else logging.CRITICAL)
    if not distributed.is_main():
        logger.addHandler(logging.NullHandler())
        return logger
    run_dir.mkdir(parents=True, exist_ok=True)
    screen, file = _ScreenHandler(), _FileHandler(run_dir / "log.txt")
    screen.setFormatter(logging.Formatter("%(message)s"))
    file.setFormatter(logging.Formatter(f"%(asctime)s {script}: %(message)s", datefmt="%Y-%m-%d %H:%M:%S"))
    logger.addHandler(screen)
    logger.addHandler(file)
    return logger
