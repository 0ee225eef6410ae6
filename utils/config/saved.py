"""Read the configuration saved with a run, in config.yml or a checkpoint; both may be older than some keys."""

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
    """Load the config.yml of a run, with the normalization that the run used.

    Raises:
        SealError: The file was corrupted or edited.
    """
    require_sealed_text(path)
    return saved_config(read_yaml(path), path)


def saved_config(sections: Mapping[str, Any], path: Path) -> RunConfig:
    """Return the configuration of a run from its saved sections, with the normalization that the run used."""
    used = saved_normalization(sections)
    dataset = {**sections["dataset"], "mean": list(used.mean), "std": list(used.std)}
    return load_sections({**sections, "dataset": dataset}, path)


def saved_normalization(sections: Mapping[str, Any]) -> Normalization:
    """Return the normalization that a run used, from its saved sections.

    Runs older than the key dataset.mean used that of ImageNet or of flow for every network.
    """
    data = sections["dataset"]
    if "mean" in data:
        return Normalization(tuple(data["mean"]), tuple(data["std"]))
    return FLOW if data["use_flow"] else IMAGENET


def clip_differences(content: Mapping[str, Any], config: RunConfig) -> list[str]:
    """Return 'section.key: was X, is Y' for every setting of the last state's clips that differs from a record.

    Args:
        content: Content of a weight file; only checkpoints of this project have a "config".
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
    """Refuse weights that were trained with another normalization than a record's.

    Args:
        content: Content of the file; only checkpoints of this project have a "config".
        config: The record.
        path: The file.

    Raises:
        ConfigError: The normalizations differ; the message has both and what to set.
    """
    if not isinstance(content.get("config"), dict):
        return
    trained = saved_normalization(content["config"])
    if trained != config.normalization:
        found = f"dataset.mean {list(config.dataset.mean)}, dataset.std {list(config.dataset.std)}"
        mend = f"'dataset.mean={list(trained.mean)}' 'dataset.std={list(trained.std)}'"
        raise ConfigError(
            f"{path} was trained with another normalization than that of {config.name} ({found}); "
            f"set that of the weights: {mend}"
        )
