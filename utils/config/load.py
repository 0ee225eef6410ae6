"""Parse an experiment once: default.yml <- base config <- record <- command line, into frozen dataclasses.

Past `load_config` nobody sees a dictionary: an unknown key, a wrong type or an impossible combination is an error here,
in one line that names the file, the section and the key. No torch is imported, so that a mistake shows at once.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from utils.config.checks import check_config, check_search
from utils.config.network_names import Normalization, normalization
from utils.config.schema import (
    SECTIONS,
    STATE_KEYS,
    TRAINING,
    DatasetConfig,
    InputConfig,
    LoggingConfig,
    NetworkConfig,
    OptimizerConfig,
    SamplerConfig,
    SearchConfig,
    StateConfig,
)
from utils.config.values import ConfigError, Setting, find_field, parse_value, suggest
from utils.config.yaml_file import parse_yaml, read_yaml
from utils.planning.graph import Graph, State, build_graph

PROJECT_ROOT = Path(__file__).resolve().parent.parent.parent
DEFAULT_CONFIG = PROJECT_ROOT / "base_config" / "default.yml"
OWN_WEIGHTS = "output/current.pth"  # the released records' way to say "what this record has trained"

Settings = dict[str, dict[str, Setting]]


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
    def eva_num_frames(self) -> int:
        """Frames of an evaluation clip: the last state's piece, eva_num_segments times."""
        return self.sampler.eva_num_segments * self.states[-1].clip_length

    @property
    def normalization(self) -> Normalization:
        """What clips go through before the network."""
        return Normalization(self.dataset.mean, self.dataset.std)

    @property
    def network_arguments(self) -> dict[str, Any]:
        """The arguments of `model.create_model` for this record's network."""
        net = self.network
        return {
            "net_name": net.net_name,
            "num_classes": self.dataset.num_classes,
            "early_stride": net.early_stride,
            "dropout_ratio": net.dropout_ratio,
            "image_size": self.dataset.crop_size,
            "pooling_name": net.pooling_name,
            "base_width": net.base_width,
            "in_channels": 2 if self.dataset.use_flow else 3,
            "stochastic_depth": net.stochastic_depth if net.stochastic_depth >= 0 else None,
            "checkpoint_blocks": net.checkpoint_blocks,
        }

    @property
    def evaluation_state(self) -> StateConfig:
        """The last state, the goal of a search, with the clips of the final evaluation."""
        return replace(self.states[-1], num_segments=self.sampler.eva_num_segments)

    @property
    def is_search(self) -> bool:
        """Whether the record describes a search for a path (train_3d_op.py) and not a path to train (train_3d.py)."""
        return bool(self.search.inputs)

    @property
    def graph(self) -> Graph:
        """The candidate graph of a search."""
        search = self.search
        return build_graph(search.graph, num_inputs=len(search.inputs), num_levels=len(search.lr_factors))

    def state_config(self, state: State, *, epochs: int) -> StateConfig:
        """Return the setting of a state of the graph."""
        chosen = self.search.inputs[state.input]
        rate = float(f"{chosen.base_learning_rate * self.search.lr_factors[state.level]:.12g}")  # 0.07 x 0.1 is 0.007
        return StateConfig(**{**dataclasses.asdict(chosen), "base_learning_rate": rate, "epochs": epochs})

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
            sections[name] = {key: list(v) if isinstance(v, tuple) else v for key, v in values.items()}
        return sections

    def to_yaml(self) -> str:
        """Return the effective configuration as YAML that `load_config` reads back to an equal value."""
        return yaml.safe_dump(self.to_dict(), sort_keys=False, default_flow_style=None, width=120)


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> RunConfig:
    """Load a record.

    Args:
        path: The record's YAML file; its `base` names a base config, looked up from the record's working directory
            and then from the project's root.
        overrides: `section.key=value` words; the value is read as YAML.

    Returns:
        The validated configuration.

    Raises:
        ConfigError, YamlError: with one line that says where and what to do.
    """
    record_path = Path(path)
    record = read_yaml(record_path)
    base = record.pop("base", None)
    settings = _merge_base(base, record_path)
    _merge_layer(settings, record, _display(record_path))
    for word in overrides:
        _merge_override(settings, word)
    return replace(_build(record_path.stem, settings), base=base or "")


def _merge_base(base: Any, record_path: Path) -> Settings:
    settings: Settings = {name: {} for name in SECTIONS}
    _merge_layer(settings, read_yaml(DEFAULT_CONFIG), _display(DEFAULT_CONFIG))
    if base is not None:
        base_path = _find_base(base, record_path)
        _merge_layer(settings, read_yaml(base_path), _display(base_path))
    return settings


def own_sections(config: RunConfig) -> dict[str, dict[str, Any]]:
    """Return the sections of a record of this configuration: of `to_dict` what its base does not say already.

    The keys of states are all there, as lists.
    """
    base = _merge_base(config.base or None, Path(config.name))
    own = normalization(config.network.net_name, use_flow=config.dataset.use_flow)
    if config.normalization == own:  # it goes with the network's name
        config = replace(config, dataset=replace(config.dataset, mean=(), std=()))
    sections = {
        name: {
            key: value
            for key, value in values.items()
            if key not in STATE_KEYS.get(name, ()) and (key not in base[name] or base[name][key].value != value)
        }
        for name, values in config.to_dict().items()
    }
    for name, keys in STATE_KEYS.items():
        sections[name] |= {key: [getattr(state, key) for state in config.states] for key in keys}
    return sections


def training_values(config: RunConfig) -> dict[str, Any]:
    """Return the value of every key whose change changes the trained weights, by 'section.key'."""
    sections = replace(config, optimizer=_acting_schedule(config)).to_dict()
    return {
        f"{section}.{key}": value
        for section, values in sections.items()
        for key, value in values.items()
        if _scope(section, key) == TRAINING and (section != "search" or config.is_search)
    }


def _acting_schedule(config: RunConfig) -> OptimizerConfig:
    """Return the optimizer with the schedule as it acts: decays that no state reaches are none.

    The released records say "constant rate" with a step at epoch 1,000,000; written so or as `constant`, it is the same
    training.
    """
    settings = config.optimizer
    last = max(state.epochs for state in config.states)
    decays = tuple(epoch for epoch in settings.lr_decay_epochs if epoch < last) if settings.lr_decay_rate != 1 else ()
    if settings.lr_scheduler == "step" and decays:
        return settings
    scheduler = "constant" if settings.lr_scheduler == "step" else settings.lr_scheduler
    return replace(settings, lr_scheduler=scheduler, lr_decay_epochs=(), lr_decay_rate=1.0)


def list_differences(new: RunConfig, old: RunConfig) -> list[str]:
    """Return 'section.key: was OLD, is NEW' for every key whose change changes the trained weights."""
    before, after = training_values(old), training_values(new)
    names = [*after, *(name for name in before if name not in after)]
    return [
        f"{name}: was {before.get(name)}, is {after.get(name)}" for name in names if after.get(name) != before.get(name)
    ]


def _display(path: Path) -> str:
    """Show a path from the working directory where it lies below it."""
    return str(path.relative_to(Path.cwd())) if path.is_absolute() and path.is_relative_to(Path.cwd()) else str(path)


def _find_base(base: Any, record_path: Path) -> Path:
    if not isinstance(base, str):
        raise ConfigError(f"{record_path}: base: found {base!r}, expected a path such as base_config/kinetics_base.yml")
    for folder in (Path(), PROJECT_ROOT):
        if (folder / base).is_file():
            return folder / base
    known = sorted(f"base_config/{file.name}" for file in (PROJECT_ROOT / "base_config").glob("*_base.yml"))
    raise ConfigError(f"{record_path}: base: no such file '{base}'{suggest(base, known)}")


def _keys(section: str) -> list[str]:
    return [f.name for f in dataclasses.fields(SECTIONS[section])] + list(STATE_KEYS.get(section, ()))


def _owner(section: str, key: str) -> type:
    return StateConfig if key in STATE_KEYS.get(section, ()) else SECTIONS[section]


def _scope(section: str, key: str) -> str:
    return str(find_field(_owner(section, key), key).metadata["scope"])


def _merge_layer(settings: Settings, content: Mapping[str, Any], source: str) -> None:
    for section, values in content.items():
        if section not in SECTIONS:
            raise ConfigError(f"{source}: {section}: unknown section{suggest(section, SECTIONS)}")
        if values is None:
            continue
        if not isinstance(values, dict):
            raise ConfigError(f"{source}: {section}: found {values!r}, expected keys below it")
        for key, value in values.items():
            _set(settings, section, key, Setting(value, source))


def _merge_override(settings: Settings, word: str) -> None:
    name, equals, text = word.partition("=")
    section, dot, key = name.partition(".")
    if not (equals and dot):
        raise ConfigError(f"command line: {word!r}: expected section.key=value, e.g. optimizer.epochs=10")
    source = f"command line ({word})"
    if section not in SECTIONS:
        raise ConfigError(f"{source}: {section}: unknown section{suggest(section, SECTIONS)}")
    # `key=` is how a shell says "empty"; YAML reads nothing as null, which no key takes.
    value = parse_yaml(text, source=source) if text.strip() else ""
    _set(settings, section, key, Setting(value, source))


def _set(settings: Settings, section: str, key: Any, setting: Setting) -> None:
    if key not in _keys(section):
        elsewhere = [name for name in SECTIONS if key in _keys(name)]
        hint = f"; it belongs to section '{elsewhere[0]}'" if elsewhere else suggest(key, _keys(section))
        raise ConfigError(f"{setting.source}: {section}.{key}: unknown key{hint}")
    settings[section][key] = setting


def _build(name: str, settings: Settings) -> RunConfig:
    inputs = _build_inputs(settings)
    for section in SECTIONS:
        for key in _keys(section):
            derived = bool(inputs) and key in STATE_KEYS.get(section, ())
            if key not in settings[section] and not derived:
                raise ConfigError(f"{name}: {section}.{key} is missing; set it in the record or in its base config")
    sections: dict[str, Any] = {
        section: owner(
            **{
                f.name: _parse(section, f.name, settings[section][f.name])
                for f in dataclasses.fields(owner)
                if f.name != "inputs"
            },
            **({"inputs": inputs} if section == "search" else {}),
        )
        for section, owner in SECTIONS.items()
    }
    data = sections["dataset"]
    own = normalization(sections["network"].net_name, use_flow=data.use_flow)
    sections["dataset"] = replace(data, mean=data.mean or own.mean, std=data.std or own.std)
    if inputs:  # a search trains every transition at a constant rate
        sections["optimizer"] = replace(sections["optimizer"], lr_scheduler="constant", warmup_epoch=-1.0)
    sources = {f"{s}.{k}": setting.source for s, values in settings.items() for k, setting in values.items()}
    config = RunConfig(name=name, states=(), sources=sources, **sections)
    if inputs:
        check_search(config)
        goal = config.state_config(config.graph.goal, epochs=config.search.max_epochs)
    config = replace(config, states=(goal,) if inputs else _build_states(settings))
    check_config(config)
    return config


def _build_inputs(settings: Settings) -> tuple[InputConfig, ...]:
    """Return the inputs of a search; a key that an input leaves out has the record's own value."""
    setting = settings["search"]["inputs"]
    entries = setting.value if isinstance(setting.value, list) else [setting.value]
    known = [f.name for f in dataclasses.fields(InputConfig)]
    own = {key: (section, settings[section].get(key)) for section, keys in STATE_KEYS.items() for key in keys}
    inputs = []
    for number, entry in enumerate(entries):
        name = f"search.inputs[{number}]"
        if not isinstance(entry, dict):
            example = "[{clip_length: 16}, {clip_length: 32}]"
            raise ConfigError(f"{setting.source}: {name}: found {entry!r}, expected keys, as in {example}")
        for key in entry:
            if key not in known:
                raise ConfigError(f"{setting.source}: {name}.{key}: unknown key{suggest(key, known)}")
        values = {}
        for key in known:
            section, fallback = own[key]
            if key in entry:
                values[key] = parse_value(InputConfig, key, Setting(entry[key], setting.source), name=f"{name}.{key}")
            elif fallback is None or isinstance(fallback.value, list):
                raise ConfigError(f"{setting.source}: {name}.{key} is missing (or set {section}.{key} for all inputs)")
            else:
                values[key] = parse_value(InputConfig, key, fallback, name=f"{section}.{key}")
        inputs.append(InputConfig(**values))
    return tuple(inputs)


def _parse(section: str, key: str, setting: Setting) -> Any:
    return parse_value(_owner(section, key), key, setting, name=f"{section}.{key}")


def _build_states(settings: Settings) -> tuple[StateConfig, ...]:
    """Transpose the lists of a multi-state record; a value that is no list holds for every state."""
    named = [(section, key, settings[section][key]) for section, keys in STATE_KEYS.items() for key in keys]
    lists = [(f"{section}.{key}", setting) for section, key, setting in named if isinstance(setting.value, list)]
    lengths = {name: len(setting.value) for name, setting in lists}
    if len(set(lengths.values())) > 1:
        counts = ", ".join(f"{name} has {count}" for name, count in lengths.items())
        raise ConfigError(f"{lists[-1][1].source}: lists of unequal length: {counts}; give one entry per state")
    count = next(iter(lengths.values()), 1)
    if count == 0:
        raise ConfigError(f"{lists[0][1].source}: {lists[0][0]}: the list is empty; give one entry per state")
    columns = {
        key: [
            _parse(section, key, Setting(value, setting.source))
            for value in (setting.value if isinstance(setting.value, list) else [setting.value] * count)
        ]
        for section, key, setting in named
    }
    return tuple(StateConfig(**{key: values[i] for key, values in columns.items()}) for i in range(count))
