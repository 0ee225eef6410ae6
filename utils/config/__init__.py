"""Configuration: parse YAML files and the command line into a frozen `RunConfig`. No torch."""

from utils.config.load import load_config
from utils.config.schema import RunConfig
from utils.config.sections import StateConfig
from utils.config.values import ConfigError

__all__ = ["ConfigError", "RunConfig", "StateConfig", "load_config"]
