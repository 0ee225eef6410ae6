"""Parse an experiment once: default.yml <- base config <- record <- command line, into frozen dataclasses.

Past `load_config` nobody sees a dictionary: an unknown key, a wrong type or an impossible combination is an error here,
in one line that names the file, the section and the key. No torch is imported, so that a mistake shows at once.
"""

import dataclasses
import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import yaml

from utils import network_names
from utils.config_schema import (
    SECTIONS,
    STATE_KEYS,
    TRAINING,
    DatasetConfig,
    LoggingConfig,
    NetworkConfig,
    OptimizerConfig,
    SamplerConfig,
    StateConfig,
)
from utils.errors import UserError
from utils.yaml_file import parse_yaml, read_yaml

PROJECT_ROOT = Path(__file__).resolve().parent.parent
DEFAULT_CONFIG = PROJECT_ROOT / "base_config" / "default.yml"
OWN_WEIGHTS = "output/current.pth"  # the released records' way to say "what this record has trained"


class ConfigError(UserError):
    """A configuration that cannot be used: names file, section, key, what was found and what is allowed."""


@dataclass(frozen=True)
class Setting:
    """A value as it stands in a file or on the command line, before its type is checked."""

    value: Any
    source: str


Settings = dict[str, dict[str, Setting]]


@dataclass(frozen=True)
class RunConfig:
    """One experiment, ready to use. `states` has one entry per state of the path (a plain run has one)."""

    name: str
    dataset: DatasetConfig
    optimizer: OptimizerConfig
    sampler: SamplerConfig
    network: NetworkConfig
    logging: LoggingConfig
    states: tuple[StateConfig, ...]
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

    def require_file(self, section: str, key: str, *, hint: str) -> Path:
        """Return the path under a key, which must exist; the error names the key and its file."""
        path = Path(getattr(getattr(self, section), key))
        if not path.exists():
            source = self.sources.get(f"{section}.{key}", self.name)
            raise ConfigError(f"{source}: {section}.{key}: no such file '{path}'; {hint}")
        return path

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
    layers = [(DEFAULT_CONFIG, read_yaml(DEFAULT_CONFIG))]
    if base is not None:
        base_path = _find_base(base, record_path)
        layers.append((base_path, read_yaml(base_path)))
    layers.append((record_path, record))
    settings: Settings = {name: {} for name in SECTIONS}
    for source, content in layers:
        _merge_layer(settings, content, _display(source))
    for word in overrides:
        _merge_override(settings, word)
    return _build(record_path.stem, settings)


def list_differences(new: RunConfig, old: RunConfig) -> list[str]:
    """Return 'section.key: was OLD, is NEW' for every key whose change changes the trained weights."""
    before, after = old.to_dict(), new.to_dict()
    names = [f"{section}.{key}" for section in SECTIONS for key in _keys(section) if _scope(section, key) == TRAINING]
    pairs = [
        (name, before[name.split(".")[0]][name.split(".")[1]], after[name.split(".")[0]][name.split(".")[1]])
        for name in names
    ]
    return [
        f"{name}: was {old_value}, is {new_value}" for name, old_value, new_value in pairs if old_value != new_value
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
    raise ConfigError(f"{record_path}: base: no such file '{base}'{_suggest(base, known)}")


def _keys(section: str) -> list[str]:
    return [f.name for f in dataclasses.fields(SECTIONS[section])] + list(STATE_KEYS.get(section, ()))


def _owner(section: str, key: str) -> type:
    return StateConfig if key in STATE_KEYS.get(section, ()) else SECTIONS[section]


def _field(owner: type, key: str) -> Any:
    return next(f for f in dataclasses.fields(owner) if f.name == key)


def _scope(section: str, key: str) -> str:
    return str(_field(_owner(section, key), key).metadata["scope"])


def _suggest(word: str, known: Iterable[str]) -> str:
    """Return '; did you mean X? (known: ...)'."""
    names = list(known)
    close = difflib.get_close_matches(str(word), names, n=1)
    return f"; did you mean '{close[0]}'?" if close else f"; known: {', '.join(names)}"


def _merge_layer(settings: Settings, content: Mapping[str, Any], source: str) -> None:
    for section, values in content.items():
        if section not in SECTIONS:
            raise ConfigError(f"{source}: {section}: unknown section{_suggest(section, SECTIONS)}")
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
        raise ConfigError(f"{source}: {section}: unknown section{_suggest(section, SECTIONS)}")
    _set(settings, section, key, Setting(parse_yaml(text, source=source), source))


def _set(settings: Settings, section: str, key: Any, setting: Setting) -> None:
    if key not in _keys(section):
        elsewhere = [name for name in SECTIONS if key in _keys(name)]
        hint = f"; it belongs to section '{elsewhere[0]}'" if elsewhere else _suggest(key, _keys(section))
        raise ConfigError(f"{setting.source}: {section}.{key}: unknown key{hint}")
    settings[section][key] = setting


def _build(name: str, settings: Settings) -> RunConfig:
    for section in SECTIONS:
        for key in _keys(section):
            if key not in settings[section]:
                raise ConfigError(f"{name}: {section}.{key} is missing; set it in the record or in its base config")
    sections: dict[str, Any] = {
        section: owner(
            **{f.name: _parse(section, f.name, settings[section][f.name]) for f in dataclasses.fields(owner)}
        )
        for section, owner in SECTIONS.items()
    }
    sources = {f"{s}.{k}": setting.source for s, values in settings.items() for k, setting in values.items()}
    config = RunConfig(name=name, states=_build_states(settings), sources=sources, **sections)
    _check(config)
    return config


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


def _parse(section: str, key: str, setting: Setting) -> Any:
    """Check one value against its declaration."""
    owner = _owner(section, key)
    where = f"{setting.source}: {section}.{key}"
    value = _coerce(setting.value, get_type_hints(owner)[key], where)
    limits = _field(owner, key).metadata
    if limits["choices"] and value not in limits["choices"]:
        allowed = ", ".join(map(str, limits["choices"]))
        close = difflib.get_close_matches(str(value), [str(choice) for choice in limits["choices"]], n=1)
        hint = f"; did you mean '{close[0]}'?" if close else ""
        raise ConfigError(f"{where}: found '{value}', allowed: {allowed}{hint}")
    if limits["at_least"] is not None and not value >= limits["at_least"]:
        raise ConfigError(f"{where}: found {value}, must be at least {limits['at_least']}")
    if limits["below"] is not None and not value < limits["below"]:
        raise ConfigError(f"{where}: found {value}, must be below {limits['below']}")
    return value


def _coerce(value: Any, expected: type, where: str) -> Any:
    if get_origin(expected) is tuple:
        if not isinstance(value, list):
            raise ConfigError(f"{where}: found {value!r}, expected a list such as [30, 60]")
        return tuple(_coerce(item, get_args(expected)[0], where) for item in value)
    if expected is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not expected:
        names = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
        raise ConfigError(f"{where}: found {value!r} ({type(value).__name__}), expected {names[expected]}")
    if isinstance(value, float) and not abs(value) < float("inf"):
        raise ConfigError(f"{where}: found {value}, expected a finite number")
    return value


def _check(config: RunConfig) -> None:
    """Refuse combinations of values that could only fail later."""

    def fail(name: str, message: str) -> None:
        raise ConfigError(f"{config.sources[name]}: {name}: {message}")

    net_name, early_stride = config.network.net_name, config.network.early_stride
    try:
        network_names.parse_name(net_name)
    except network_names.UnknownNetworkError as error:
        fail("network.net_name", str(error))
    needed = network_names.min_clip_frames(net_name, early_stride)
    for index, state in enumerate(config.states):
        if state.num_frames < needed:
            fail(
                "sampler.clip_length",
                f"state {index + 1} has clips of {state.num_frames} frames (num_segments x "
                f"clip_length); {net_name} with early_stride {early_stride} needs at least {needed}",
            )
        if 0 < config.optimizer.warmup_epoch >= state.epochs:
            fail(
                "optimizer.warmup_epoch",
                f"{config.optimizer.warmup_epoch:g} epochs of warm-up do not fit into the "
                f"{state.epochs} epochs of state {index + 1}; a negative number means none",
            )
    if config.eva_num_frames < needed:
        fail(
            "sampler.eva_num_segments",
            f"evaluation clips have {config.eva_num_frames} frames; {net_name} with "
            f"early_stride {early_stride} needs at least {needed}",
        )
    if config.optimizer.lr_scheduler == "step" and not config.optimizer.lr_decay_epochs:
        fail("optimizer.lr_decay_epochs", "lr_scheduler step needs the epochs of the decays, e.g. [30, 60]")
    scale = config.dataset.crop_scale
    if scale and not (len(scale) == 2 and 0 < scale[0] <= scale[1] <= 1):
        fail("dataset.crop_scale", f"found {list(scale)}, expected two shares of the frame's area such as [0.5, 1.0]")
    if config.dataset.use_flow and config.dataset.format == "RAW":
        fail("dataset.use_flow", "flow is read from images; dataset.format must be FRAME or LMDB")
    if config.dataset.use_flow and config.dataset.use_fore:
        fail("dataset.use_fore", "the mean frame is subtracted from RGB; it cannot be used with use_flow")
    if config.network.transfer_weights and not config.network.remove_fc:
        fail("network.transfer_weights", "a 2D network's classifier is not transferred; set network.remove_fc: true")
    if config.optimizer.nesterov and config.optimizer.momentum == 0 and not config.optimizer.adamw_solver:
        fail("optimizer.nesterov", "Nesterov needs a momentum above 0")
