"""The run folder of a record, output/<record>/. Nothing in it is ever deleted or silently replaced."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from utils.config import ConfigError, RunConfig
from utils.config.record import list_differences, with_longer_states
from utils.config.saved import load_saved_config, saved_config
from utils.files import file_sha256, move_to_earlier, write_text_atomically
from utils.lock import LOCK_FILE
from utils.sealed import seal_text
from utils.training.checkpoint import CheckpointError, Position
from utils.training.epoch_lines import EPOCHS_FILE, reached_epochs, read_epochs

EARLIER_PATTERN = "earlier-*"


def move_aside(run_dir: Path) -> str:
    """Move the files of an earlier run into a folder earlier-NNN; return a message, "" if there were none."""
    stays = {*run_dir.glob(EARLIER_PATTERN), run_dir / LOCK_FILE}
    folder = move_to_earlier(run_dir, sorted(path.name for path in run_dir.iterdir() if path not in stays))
    return f"moved the earlier run to {folder}" if folder is not None else ""


def require_same_record(config: RunConfig) -> None:
    """Refuse a folder that holds a run of another configuration.

    Raises:
        ConfigError: It does; the message names every difference and what to do.
    """
    if config.saved_path.exists() and _has_trained(config.run_dir):
        saved = with_longer_states(load_saved_config(config.saved_path), config, first_state=0)
        refuse_differences(config, list_differences(config, saved))


def save_config(config: RunConfig) -> None:
    """Write the effective configuration to config.yml, unless it is there already."""
    title = f"Effective configuration of {config.name}, as it ran"
    text = seal_text(config.to_yaml(), title)
    if not (config.saved_path.exists() and config.saved_path.read_bytes() == text.encode()):
        write_text_atomically(config.saved_path, text)


def _has_trained(run_dir: Path) -> bool:
    """Return whether a folder holds weights, logged epochs or search events."""
    lines = {run_dir / EPOCHS_FILE: 1, run_dir / "search" / "journal.jsonl": 2}  # the journal's first line is a header
    has_lines = any(path.exists() and path.read_bytes().count(b"\n") >= count for path, count in lines.items())
    return has_lines or any(run_dir.glob("*.pth"))


def find_position(
    config: RunConfig, content: dict[str, Any], position: Position, *, list_sha256: str, start_weights: str
) -> Position:
    """Return the position at which a record resumes from its checkpoint.

    Args:
        config: The record.
        content: Content of the checkpoint.
        position: Position of the checkpoint.
        list_sha256: SHA-256 of the training list.
        start_weights: As returned by `describe_start`; "" if no longer known.

    Returns:
        The checkpoint's position; if the last state was complete and has more epochs now, the position within it.

    Raises:
        ConfigError, CheckpointError: The checkpoint is of another record, list or initial weights.
    """
    path = config.weights_path
    if not {"config", "list_sha256"} <= content.keys():
        raise CheckpointError(f"{path}: has no training configuration; load it with network.pretrained_model instead")
    trained = saved_config(content["config"], path)
    count = len(trained.states)
    is_complete = position.state == count
    epochs = [math.ceil(state.epochs) for state in trained.states]
    if not is_complete and not (position.state < count and position.epoch <= epochs[position.state]):
        raise CheckpointError(f"{path}: its position {position} is not within its own configuration")
    # If the result is an average or the best epoch, the weights of the last step are gone: no epochs can be added.
    is_other = is_complete and (trained.optimizer.ema > 0 or trained.optimizer.select == "best")
    first_state = count if is_other else min(position.state, count - 1)
    problems = list_differences(config, with_longer_states(trained, config, first_state=first_state))
    if content["list_sha256"] != list_sha256:
        problems.append(f"{config.dataset.list_file} has changed since {path} was trained on it")
    if start_weights and content.get("start_weights", start_weights) != start_weights:
        problems.append(f"network.pretrained_model: was {content['start_weights']}, is {start_weights}")
    refuse_differences(config, problems)
    if is_complete and config.states[-1].epochs > trained.states[-1].epochs:
        return Position(count - 1, int(trained.states[-1].epochs))
    return position


def describe_start(config: RunConfig) -> str:
    """Return a description of the initial weights; "" if their file is gone, which a resumed run does not need."""
    named = config.network.pretrained_model
    if not named:
        return "random"
    return f"weights with SHA-256 {file_sha256(Path(named))}" if Path(named).is_file() else ""


def refuse_differences(config: RunConfig, differences: Sequence[str]) -> None:
    """Raise a ConfigError that names the differences to the run in a folder and what to do, if there are any."""
    if not differences:
        return
    longer = (
        f"; to train longer, start a record of another name with network.pretrained_model={config.weights_path}, or "
        "raise optimizer.epochs of the last state if its rate is constant, optimizer.ema is 0 and select is last"
    )
    raise ConfigError(
        f"{config.run_dir} holds a run of another configuration ({'; '.join(differences)}); restore the values, rename "
        "this record, or use --force (FORCE=1 with run.sh) to move the earlier run aside and start over"
        + (longer if any(name.startswith("optimizer.epochs:") for name in differences) else "")
    )


def require_own_weights(content: dict[str, Any], config: RunConfig, *, path: Path) -> None:
    """Refuse to evaluate a checkpoint in the record's folder that another run than the folder's has trained.

    Args:
        content: Content of the file.
        config: The record.
        path: The file; one outside of the folder is not checked.

    Raises:
        ConfigError: config.yml or log.jsonl disagrees with the checkpoint.
    """
    if path != config.weights_path or not {"config", "position"} <= content.keys() or config.is_search:
        return
    trained, position = saved_config(content["config"], path), Position(**content["position"])
    if config.saved_path.exists():
        refuse_differences(config, list_differences(trained, load_saved_config(config.saved_path)))
    done = trained.epochs_before(position.state) + position.epoch
    epochs = read_epochs(config.run_dir)
    if epochs and (logged := reached_epochs(trained, epochs[-1])) != done:
        raise ConfigError(
            f"{path} holds the weights after {done:g} epochs, but {config.run_dir / EPOCHS_FILE} has "
            f"{logged:g}; continue the training first, or name the weights with network.eva_model"
        )
