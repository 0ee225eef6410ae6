"""What a run was made with: its config.yml, and what a checkpoint says of itself. Both may be older than a key."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from utils.config.load import load_sections
from utils.config.network_names import FLOW, IMAGENET, Normalization
from utils.config.schema import RunConfig
from utils.config.values import ConfigError
from utils.config.yaml_file import read_yaml
from utils.sealed import require_sealed_text


def load_saved_config(path: Path) -> RunConfig:
    """Load the config.yml of a run, with the numbers that the run normalised with.

    Raises:
        SealError: It was damaged or changed.
    """
    require_sealed_text(path)
    return saved_config(read_yaml(path), path)


def saved_config(sections: Mapping[str, Any], path: Path) -> RunConfig:
    """Return the effective configuration that a file of a run holds, with the numbers that the run normalised with."""
    used = saved_normalization(sections)
    dataset = {**sections["dataset"], "mean": list(used.mean), "std": list(used.std)}
    return load_sections({**sections, "dataset": dataset}, path)


def saved_normalization(sections: Mapping[str, Any]) -> Normalization:
    """Return the numbers that a run normalised with, from its effective configuration.

    A run that is older than dataset.mean had ImageNet's, or flow's, whatever its network.
    """
    data = sections["dataset"]
    if "mean" in data:
        return Normalization(tuple(data["mean"]), tuple(data["std"]))
    return FLOW if data["use_flow"] else IMAGENET


def clip_differences(content: Mapping[str, Any], config: RunConfig) -> list[str]:
    """Return 'section.key: was X, is Y' for what the last state's clips were in training and are not in a record.

    Args:
        content: Of a file of weights; only a checkpoint of this project says its configuration, in "config".
        config: The record.
    """
    if not isinstance(content.get("config"), dict):
        return []
    before, after, found = content["config"], config.to_dict(), []
    for section, key in (
        ("dataset", "use_flow"), ("dataset", "use_fore"), ("dataset", "eva_crop_size"), ("network", "early_stride"),
        ("sampler", "eva_num_segments"), ("sampler", "clip_length"), ("sampler", "num_steps"),
        ("sampler", "frame_rate"),
    ):  # fmt: skip
        was, now = (_last(sections[section].get(key)) for sections in (before, after))
        if was is not None and was != now:
            found.append(f"{section}.{key}: was {was}, is {now}")
    return found


def _last(value: Any) -> Any:
    return value[-1] if isinstance(value, list) else value


def require_normalization(content: Mapping[str, Any], config: RunConfig, *, path: Path) -> None:
    """Refuse weights that were trained with other numbers than a record normalises with.

    Args:
        content: Of the file; only a checkpoint of this project says its numbers, in "config".
        config: The record.
        path: The file.

    Raises:
        ConfigError: The numbers differ; names both and the way out.
    """
    if not isinstance(content.get("config"), dict):
        return
    trained = saved_normalization(content["config"])
    if trained != config.normalization:
        found = f"dataset.mean {list(config.dataset.mean)}, dataset.std {list(config.dataset.std)}"
        mend = f"'dataset.mean={list(trained.mean)}' 'dataset.std={list(trained.std)}'"
        raise ConfigError(
            f"{path} was trained on clips that were normalised otherwise than those of {config.name} ({found}); "
            f"normalise as the weights were trained: {mend}"
        )
