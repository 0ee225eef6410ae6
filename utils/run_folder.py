"""The folder of one record: output/<record>/. Nothing in it is ever deleted or silently replaced."""

from collections.abc import Iterable
from pathlib import Path

from utils import distributed
from utils.config import ConfigError, RunConfig, list_differences, load_config

CONFIG_FILE = "config.yml"
TRAINING_PRODUCTS = ("*.pth", "*.yml", "*.jsonl", "*.txt", "*.json", "*.png", "scores", "tensorboard")
EVALUATION_PRODUCTS = ("scores", "result.*", "*.png")
RESULT_PRODUCTS = ("result.*", "*.png")


def archive(run_dir: Path, patterns: Iterable[str]) -> Path | None:
    """Move what an earlier run wrote into run_dir/earlier-NNN (the next free number).

    Returns:
        The new folder, or None when there was nothing to move.
    """
    found = sorted({path for pattern in patterns for path in run_dir.glob(pattern)})
    if not found:
        return None
    number = 1
    while (run_dir / f"earlier-{number:03d}").exists():
        number += 1
    folder = run_dir / f"earlier-{number:03d}"
    folder.mkdir()
    for path in found:
        path.rename(folder / path.name)
    return folder


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
        saved = config.run_dir / CONFIG_FILE
        if force and (folder := archive(config.run_dir, TRAINING_PRODUCTS)) is not None:
            notice = f"moved the earlier run to {folder}"
        if saved.exists():
            problem = "; ".join(list_differences(config, load_config(saved)))
        if not problem:
            partial = saved.with_name(".config.yml.partial")
            partial.write_text(f"# Effective configuration of {config.name}, as it ran.\n{config.to_yaml()}")
            partial.replace(saved)
    problem = distributed.broadcast_object(problem)
    if problem:
        raise ConfigError(
            f"{config.run_dir} holds a run of another configuration ({problem}); give this record a name of its own, "
            "or use --force (FORCE=1 with run.sh) to move the earlier run aside and start anew"
        )
    return distributed.broadcast_object(notice)
