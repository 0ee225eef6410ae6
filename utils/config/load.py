"""Parse an experiment once, default.yml <- base config <- record <- command line, into frozen dataclasses.

No dictionary leaves `load_config`. An unknown key, a wrong type or an invalid combination is an error here, in one line
that names the file, the section and the key. torch is not imported, so that errors show at once.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from utils.config.checks import check_config, check_search
from utils.config.network_names import normalization
from utils.config.schema import SECTIONS, STATE_KEYS, RunConfig, owner_of
from utils.config.sections import InputConfig, StateConfig
from utils.config.values import ConfigError, Setting, parse_value, shown, suggest
from utils.config.yaml_file import parse_yaml, read_yaml

PROJECT_ROOT = Path(__file__).resolve().parent.parent.parent
DEFAULT_CONFIG = PROJECT_ROOT / "base_config" / "default.yml"

Settings = dict[str, dict[str, Setting]]


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> RunConfig:
    """Load a record.

    Args:
        path: The record's YAML file; the base config named by its `base` is looked up from the working directory, then
            from the project's root.
        overrides: `section.key=value` words; the value is parsed as YAML.

    Returns:
        The validated configuration.

    Raises:
        ConfigError, YamlError: The record is invalid; the message is one line that says where and what to do.
    """
    return load_sections(read_yaml(Path(path)), Path(path), overrides)


def load_sections(record: Mapping[str, Any], path: Path, overrides: Sequence[str] = ()) -> RunConfig:
    """Load a record like `load_config`, from the parsed content of its file."""
    base = record.get("base")
    settings = _merge_base(base, path)
    _merge_layer(settings, {name: values for name, values in record.items() if name != "base"}, _display(path))
    for word in overrides:
        _merge_override(settings, word)
    return replace(_build(path.stem, settings), base=base or "")


def _merge_base(base: Any, record_path: Path) -> Settings:
    settings: Settings = {name: {} for name in SECTIONS}
    _merge_layer(settings, read_yaml(DEFAULT_CONFIG), _display(DEFAULT_CONFIG))
    if base is not None:
        base_path = _find_base(base, record_path)
        _merge_layer(settings, read_yaml(base_path), _display(base_path))
    return settings


def own_sections(config: RunConfig) -> dict[str, dict[str, Any]]:
    """Return the sections of a record with this configuration: the values that differ from those of its base.

    All keys of states are included, as lists.
    """
    base = _merge_base(config.base or None, Path(config.name))
    own = normalization(config.network.net_name, use_flow=config.dataset.use_flow)
    if config.normalization == own:  # implied by the network's name
        config = replace(config, dataset=replace(config.dataset, mean=(), std=()))
    sections = {
        name: {
            key: value
            for key, value in values.items()
            if key not in STATE_KEYS.get(name, ()) and (key not in base[name] or base[name][key].value != value)
        }
        for name, values in config.to_dict().items()
    }
    has_budget = config.optimizer.budget.is_given
    for name, keys in STATE_KEYS.items():
        sections[name] |= {
            key: [getattr(state, key) for state in config.states] for key in keys if has_budget or key != "shares"
        }
    return sections


def _display(path: Path) -> str:
    """Return a path relative to the working directory if it is below it, else unchanged."""
    return str(path.relative_to(Path.cwd())) if path.is_absolute() and path.is_relative_to(Path.cwd()) else str(path)


def find_file(path: Path) -> Path:
    """Look a file named by a record up from the working directory, then from the project's root.

    A path found in neither is returned unchanged.
    """
    return next((folder / path for folder in (Path(), PROJECT_ROOT) if (folder / path).is_file()), path)


def _find_base(base: Any, record_path: Path) -> Path:
    if not isinstance(base, str):
        raise ConfigError(
            f"{record_path}: base: found {shown(base)}, expected a path such as base_config/kinetics_base.yml"
        )
    if (found := find_file(Path(base))).is_file():
        return found
    known = sorted(f"base_config/{file.name}" for file in (PROJECT_ROOT / "base_config").glob("*_base.yml"))
    raise ConfigError(f"{record_path}: base: no such file '{base}'{suggest(base, known)}")


def _keys(section: str) -> list[str]:
    return [f.name for f in dataclasses.fields(SECTIONS[section])] + list(STATE_KEYS.get(section, ()))


def _merge_layer(settings: Settings, content: Mapping[str, Any], source: str) -> None:
    for section, values in content.items():
        if section not in SECTIONS:
            raise ConfigError(f"{source}: {section}: unknown section{suggest(section, SECTIONS)}")
        if values is None:
            continue
        if not isinstance(values, dict):
            raise ConfigError(f"{source}: {section}: found {shown(values)}, expected keys below it")
        for key, value in values.items():
            _set(settings, section, key, Setting(value, source))


def _merge_override(settings: Settings, word: str) -> None:
    name, equals, text = word.partition("=")
    section, dot, key = name.partition(".")
    if not (equals and dot):
        raise ConfigError(f"command line: {word!r}: expected section.key=value, e.g. optimizer.epochs=10")
    source = f"command line ({word[:100]})"
    if section not in SECTIONS:
        raise ConfigError(f"{source}: {section}: unknown section{suggest(section, SECTIONS)}")
    # `key=` means an empty string; YAML would parse it as null, which no key accepts.
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
    if inputs:  # a transition is trained at a constant rate, a budgeted path under its envelope
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
    """Return the inputs of a search; a key omitted from an input has the record's own value."""
    setting = settings["search"]["inputs"]
    entries = setting.value if isinstance(setting.value, list) else [setting.value]
    known = [f.name for f in dataclasses.fields(InputConfig)]
    own = {key: (section, settings[section].get(key)) for section, keys in STATE_KEYS.items() for key in keys}
    inputs = []
    for number, entry in enumerate(entries):
        name = f"search.inputs[{number}]"
        if not isinstance(entry, dict):
            example = "[{clip_length: 16}, {clip_length: 32}]"
            raise ConfigError(f"{setting.source}: {name}: found {shown(entry)}, expected keys, as in {example}")
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
    return parse_value(owner_of(section, key), key, setting, name=f"{section}.{key}")


def _build_states(settings: Settings) -> tuple[StateConfig, ...]:
    """Transpose the lists of a multi-state record; a value that is not a list applies to every state."""
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
