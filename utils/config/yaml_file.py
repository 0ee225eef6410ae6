"""Parse YAML without its usual traps: `1e-4` is a number, `off` is a string, and a duplicate key is an error."""

import functools
import itertools
import re
from pathlib import Path
from typing import Any

import yaml

from utils.errors import UserError

_MOST_CHARACTERS, _MOST_VALUES, _MOST_DIGITS = 200_000, 10_000, 20


class YamlError(UserError):
    """A YAML file or value cannot be parsed."""


class _Loader(yaml.SafeLoader):
    """`yaml.SafeLoader` with YAML 1.2 scalars (no octal `010`, no boolean `no`/`off`) and unique keys."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, list | dict):
                raise yaml.constructor.ConstructorError(None, None, "a key must be a scalar", key_node.start_mark)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} is given twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


def _whole_number(_loader: yaml.SafeLoader, node: yaml.Node) -> int:
    if len(node.value) > _MOST_DIGITS:
        raise yaml.constructor.ConstructorError(
            None, None, f"found a number of {len(node.value)} digits", node.start_mark
        )
    return int(node.value)


_Loader.yaml_implicit_resolvers = {}  # of this class only: drop the YAML 1.1 resolvers
_Loader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile(r"^(?:~|null|)$"), ["~", "n", ""])
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|false|False)$"), list("tTfF"))
_Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"^[-+]?[0-9]+$"), list("-+0123456789"))
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?$|^[-+]?\.inf$|^\.nan$"),
    list("-+.0123456789"),
)
_Loader.add_constructor("tag:yaml.org,2002:int", _whole_number)


def _count_values(node: yaml.Node, counted: dict[int, int]) -> int:
    """Return the number of values of a node with its aliases expanded; a few aliases can stand for billions.

    Args:
        node: The parsed node.
        counted: Counts of the nodes seen so far, by id.
    """
    if id(node) not in counted:
        counted[id(node)] = _MOST_VALUES + 1  # the count of a node that contains itself
        children = [] if isinstance(node, yaml.ScalarNode) else node.value
        flat = itertools.chain(*children) if isinstance(node, yaml.MappingNode) else children
        counted[id(node)] = 1 + sum(_count_values(child, counted) for child in flat)
    return counted[id(node)]


@functools.lru_cache(maxsize=32)  # every record loads default.yml and a base config: half of the time of a load
def _compose(text: str) -> yaml.Node | None:
    loader = _Loader(text)
    try:
        return loader.get_single_node()
    finally:
        loader.dispose()


def _construct(text: str, *, source: str) -> Any:
    node = _compose(text)
    if node is None:
        return None
    if _count_values(node, {}) > _MOST_VALUES:
        raise YamlError(f"{source}: has more than {_MOST_VALUES} values with its aliases (*name) expanded")
    return _Loader("").construct_document(node)


def parse_yaml(text: str, *, source: str) -> Any:
    """Parse YAML text; errors begin with `source`, a file's path or a command-line word."""
    if len(text) > _MOST_CHARACTERS:
        raise YamlError(f"{source}: has {len(text)} characters; a record has at most {_MOST_CHARACTERS}")
    try:
        return _construct(text, source=source)
    except RecursionError:
        raise YamlError(f"{source}: not valid YAML: brackets or lists are nested too deep") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f", line {mark.line + 1}" if mark is not None else ""
        raise YamlError(f"{source}{where}: not valid YAML: {error.problem or error.context}") from None
    except yaml.YAMLError as error:
        raise YamlError(f"{source}: not valid YAML: {' '.join(str(error).split())}") from None


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file that holds a mapping (an empty file is an empty mapping)."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise YamlError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise YamlError(f"{path}: cannot be read: {error}") from None
    content = parse_yaml(text, source=str(path))
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise YamlError(f"{path}: found {type(content).__name__}, expected sections such as 'dataset:'")
    return content
