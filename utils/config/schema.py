"""A whole experiment, as all code past `load_config` sees it; its keys are those of `utils.config.sections`."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from utils.clip_shape import ClipShape
from utils.config.network_names import Normalization
from utils.config.sections import (
    DatasetConfig,
    InputConfig,
    LoggingConfig,
    NetworkConfig,
    OptimizerConfig,
    SamplerConfig,
    SearchConfig,
    StateConfig,
)
from utils.config.values import ConfigError
from utils.planning.graph import Graph, State, build_graph

OWN_WEIGHTS = "output/current.pth"  # the released records' way to say "what this record has trained"


SECTIONS: dict[str, type] = {
    "dataset": DatasetConfig,
    "optimizer": OptimizerConfig,
    "sampler": SamplerConfig,
    "network": NetworkConfig,
    "logging": LoggingConfig,
    "search": SearchConfig,
}

# In which section of a record each key of StateConfig is written.
STATE_KEYS: dict[str, tuple[str, ...]] = {
    "dataset": ("crop_size",),
    "optimizer": ("epochs", "shares", "base_learning_rate"),
    "sampler": ("num_segments", "clip_length", "num_steps", "batch_size", "iter_size"),
    "network": ("frozen_bn",),
}


def owner_of(section: str, key: str) -> type:
    """Return the class that declares a key of a section."""
    return StateConfig if key in STATE_KEYS.get(section, ()) else SECTIONS[section]


@dataclass(frozen=True)
class RunConfig:
    """One experiment, ready to use.

    `states` has one entry per state of the path (a plain run has one). A search record has the goal of its graph there:
    the setting that what it finds is evaluated at.
    """

    name: str
    dataset: DatasetConfig
    optimizer: OptimizerConfig
    sampler: SamplerConfig
    network: NetworkConfig
    logging: LoggingConfig
    search: SearchConfig
    states: tuple[StateConfig, ...]
    base: str = field(default="", compare=False)
    sources: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)

    @property
    def run_dir(self) -> Path:
        """The folder of everything this record writes."""
        return Path(self.logging.output_dir) / self.name

    @property
    def saved_path(self) -> Path:
        """The effective configuration as it was trained."""
        return self.run_dir / "config.yml"

    @property
    def weights_path(self) -> Path:
        """The checkpoint that training writes and continues from."""
        return self.run_dir / "current.pth"

    @property
    def eva_model(self) -> Path:
        """The weights that extraction evaluates."""
        named = self.network.eva_model
        return self.weights_path if named in ("", OWN_WEIGHTS) else Path(named)

    @property
    def normalization(self) -> Normalization:
        """What clips go through before the network."""
        return Normalization(self.dataset.mean, self.dataset.std)

    @property
    def evaluation_state(self) -> StateConfig:
        """The last state, the goal of a search, with the clips of the final evaluation."""
        return replace(self.states[-1], num_segments=self.sampler.eva_num_segments)

    def clip_shape(self, state: InputConfig) -> ClipShape:
        """Return which frames make the clips of a state."""
        return replace(state.clip_shape, frame_rate=self.sampler.frame_rate)

    @property
    def is_search(self) -> bool:
        """Whether the record describes a search for a path (train_3d_op.py) and not a path to train (train_3d.py)."""
        return bool(self.search.inputs)

    @functools.cached_property
    def graph(self) -> Graph:
        """The candidate graph of a search, built once.

        Raises:
            GraphError: search.graph is none that can be searched.
        """
        search = self.search
        return build_graph(search.graph, num_inputs=len(search.inputs), num_levels=len(search.lr_factors))

    def state_config(self, state: State, *, epochs: float) -> StateConfig:
        """Return the setting of a state of the graph."""
        chosen = self.search.inputs[state.input]
        rate = float(f"{chosen.base_learning_rate * self.search.lr_factors[state.level]:.12g}")  # 0.07 x 0.1 is 0.007
        return StateConfig(**{**dataclasses.asdict(chosen), "base_learning_rate": rate, "epochs": epochs, "shares": 1})

    def epochs_before(self, state_index: int) -> float:
        """Return the epochs of all states before one, of the whole path for their number."""
        return sum((state.epochs for state in self.states[:state_index]), start=0)

    def with_states(self, states: Sequence[StateConfig]) -> "RunConfig":
        """Return the plain record that trains states one after the other, otherwise as this one."""
        return replace(self, states=tuple(states), search=replace(self.search, inputs=()))

    def require_file(self, section: str, key: str, *, hint: str) -> Path:
        """Return the path under a key, which must exist; the error names the key and its file."""
        named = getattr(getattr(self, section), key)
        if not named or not Path(named).exists():  # Path("") is the working directory, which exists
            source = self.sources.get(f"{section}.{key}", self.name)
            raise ConfigError(f"{source}: {section}.{key}: no such file '{named}'; {hint}")
        return Path(named)

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """Return the effective configuration in the form of a record (without `base`)."""
        sections: dict[str, dict[str, Any]] = {}
        for name in SECTIONS:
            values = dataclasses.asdict(getattr(self, name))
            for key in STATE_KEYS.get(name, ()):
                entries = [getattr(state, key) for state in self.states]
                values[key] = entries if len(entries) > 1 else entries[0]
            sections[name] = {key: _written(value) for key, value in values.items()}
        return sections

    def to_yaml(self) -> str:
        """Return the effective configuration as YAML that `load_config` reads back to an equal value."""
        return yaml.safe_dump(self.to_dict(), sort_keys=False, default_flow_style=None, width=120)


def _written(value: Any) -> Any:
    """Return a value as a record says it: lists, and of a budget the one number that is given."""
    if isinstance(value, dict):
        return {key: number for key, number in value.items() if number}
    return list(value) if isinstance(value, tuple) else value
