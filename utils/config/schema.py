"""The configuration of an experiment as a frozen value; its keys are those of `utils.config.sections`."""

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

OWN_WEIGHTS = "output/current.pth"  # stands for the weights that the record has trained, as in the released records


SECTIONS: dict[str, type] = {
    "dataset": DatasetConfig,
    "optimizer": OptimizerConfig,
    "sampler": SamplerConfig,
    "network": NetworkConfig,
    "logging": LoggingConfig,
    "search": SearchConfig,
}

# The section of a record in which each key of StateConfig is written.
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
    """The validated configuration of an experiment.

    Attributes:
        name: Name of the record.
        dataset: Section dataset.
        optimizer: Section optimizer.
        sampler: Section sampler.
        network: Section network.
        logging: Section logging.
        search: Section search.
        states: The states of the path, one for a plain record; for a search record the goal of its graph, at which its
            result is evaluated.
        base: The base config, "" if there is none.
        sources: File or command-line word that set each key, by 'section.key'.
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
        """The output folder of this record."""
        return Path(self.logging.output_dir) / self.name

    @property
    def saved_path(self) -> Path:
        """The file of the effective configuration of training."""
        return self.run_dir / "config.yml"

    @property
    def weights_path(self) -> Path:
        """The checkpoint that training writes and resumes from."""
        return self.run_dir / "current.pth"

    @property
    def eva_model(self) -> Path:
        """The file of the evaluated weights."""
        named = self.network.eva_model
        return self.weights_path if named in ("", OWN_WEIGHTS) else Path(named)

    @property
    def normalization(self) -> Normalization:
        """The normalization of clips."""
        return Normalization(self.dataset.mean, self.dataset.std)

    @property
    def evaluation_state(self) -> StateConfig:
        """The last state (of a search, the goal) with the clips of the final evaluation."""
        return replace(self.states[-1], num_segments=self.sampler.eva_num_segments)

    def clip_shape(self, state: InputConfig) -> ClipShape:
        """Return the frames of a state's clips."""
        return replace(state.clip_shape, frame_rate=self.sampler.frame_rate)

    @property
    def is_search(self) -> bool:
        """Whether the record is a search (train_3d_op.py) rather than a path to train (train_3d.py)."""
        return bool(self.search.inputs)

    @functools.cached_property
    def graph(self) -> Graph:
        """The candidate graph of a search, cached.

        Raises:
            GraphError: search.graph is not a graph that can be searched.
        """
        search = self.search
        return build_graph(search.graph, num_inputs=len(search.inputs), num_levels=len(search.lr_factors))

    def state_config(self, state: State, *, epochs: float) -> StateConfig:
        """Return the configuration of a state of the graph, trained for `epochs` epochs."""
        chosen = self.search.inputs[state.input]
        rate = float(f"{chosen.base_learning_rate * self.search.lr_factors[state.level]:.12g}")  # 0.07 x 0.1 is 0.007
        return StateConfig(**{**dataclasses.asdict(chosen), "base_learning_rate": rate, "epochs": epochs, "shares": 1})

    def epochs_before(self, state_index: int) -> float:
        """Return the total epochs of the states before `state_index`."""
        return sum((state.epochs for state in self.states[:state_index]), start=0)

    def with_states(self, states: Sequence[StateConfig]) -> "RunConfig":
        """Return this configuration as a plain record with other states."""
        return replace(self, states=tuple(states), search=replace(self.search, inputs=()))

    def require_file(self, section: str, key: str, *, hint: str) -> Path:
        """Return the path that is the value of a key.

        Args:
            section: Section of the key.
            key: The key.
            hint: What to do if there is no such file.

        Raises:
            ConfigError: There is no such file; names the key and the file that sets it.
        """
        named = getattr(getattr(self, section), key)
        if not named or not Path(named).exists():  # Path("") is the working directory, which exists
            source = self.sources.get(f"{section}.{key}", self.name)
            raise ConfigError(f"{source}: {section}.{key}: no such file '{named}'; {hint}")
        return Path(named)

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """Return the effective configuration as the sections of a record, without `base`."""
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
    """Return a value as a record writes it: tuples as lists, a budget without the units that are 0."""
    if isinstance(value, dict):
        return {key: number for key, number in value.items() if number}
    return list(value) if isinstance(value, tuple) else value
