"""The folder of one record: output/<record>/. Nothing in it is ever deleted or silently replaced."""

from pathlib import Path

from utils import distributed
from utils.config import ConfigError, RunConfig
from utils.config.record import list_differences
from utils.config.saved import load_saved_config
from utils.files import move_to_earlier, write_text_atomically
from utils.sealed import seal_text

EARLIER_PATTERN = "earlier-*"


def open_for_training(config: RunConfig, *, force: bool) -> str:
    """Make the record's folder, refuse one that belongs to another configuration, and save the effective one.

    Returns:
        A line that says what was moved away, or "".

    Raises:
        ConfigError: The folder holds a run of a changed record.
    """
    problem, notice = "", ""
    if distributed.is_main():
        config.run_dir.mkdir(parents=True, exist_ok=True)
        saved = config.saved_path
        if force and (folder := _move_everything(config.run_dir)) is not None:
            notice = f"moved the earlier run to {folder}"
        if saved.exists():
            problem = "; ".join(list_differences(config, load_saved_config(saved)))
        if not problem:
            title = f"Effective configuration of {config.name}, as it ran"
            write_text_atomically(saved, seal_text(config.to_yaml(), title))
    problem = distributed.broadcast_object(problem)
    if problem:
        raise ConfigError(
            f"{config.run_dir} holds a run of another configuration ({problem}); set it back, give this record a name "
            "of its own, or use --force (FORCE=1 with run.sh) to move the earlier run aside and start anew"
        )
    return distributed.broadcast_object(notice)


def _move_everything(run_dir: Path) -> Path | None:
    """Move all that an earlier run wrote, but what was moved before."""
    moved_before = set(run_dir.glob(EARLIER_PATTERN))
    return move_to_earlier(run_dir, sorted(path.name for path in run_dir.iterdir() if path not in moved_before))
