"""Small searches on the tiny data set, for the tests of train_3d_op.py."""

import functools
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import helpers
from tests.conftest import MakeRecord
from utils.config import RunConfig, load_config
from utils.search.run import search_path
from utils.training.checkpoint import load_checkpoint

SPACE = {
    "inputs": [{"clip_length": 8}, {"clip_length": 16, "batch_size": 2, "iter_size": 2}],
    "lr_factors": [1.0, 0.1],
    "graph": "extended",
    "attempt_epochs": 1,
    "max_epochs": 2,
    "heldout_fraction": 0.3,
}


def write_search(
    make: MakeRecord, name: str = "tiny", *, search: dict[str, Any] | None = None, **sections: dict[str, Any]
) -> Path:
    """Write a record of a small search; keywords of `search` are merged over it."""
    return make(name, search=SPACE | (search or {}), **{"logging": {"save_steps": 3}, **sections})


@pytest.fixture
def make_search(make_record: MakeRecord) -> Any:
    """`write_search` in the test's own folder."""
    return functools.partial(write_search, make_record)


def run(record: Path, *overrides: str, force: bool = False) -> tuple[RunConfig, dict[str, Any]]:
    """Run a search in this process; return the configuration and search.json."""
    config = load_config(record, overrides)
    search_path(config, helpers.make_search_parts, force=force)
    return config, read_result(config)


def read_result(config: RunConfig) -> dict[str, Any]:
    return json.loads((config.run_dir / "search.json").read_text())


def weights_of(config: RunConfig) -> dict[str, torch.Tensor]:
    return load_checkpoint(config.weights_path)[0]["network"]


def decisions(result: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the fields of the edges that do not depend on the clock."""
    return [{key: value for key, value in edge.items() if key != "seconds"} for edge in result["edges"]]


def command(record: Path, *arguments: str) -> list[str]:
    return [sys.executable, "train_3d_op.py", "--config_file", str(record), *arguments]
