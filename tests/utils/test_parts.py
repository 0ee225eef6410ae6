"""The objects named in the registries exist and have the right kind."""

import subprocess
import sys

import pytest

from dataset.transforms.recipes import Recipe
from model.registry import BACKBONES, FAMILIES
from model.resnet3d import Backbone, Family
from tests.conftest import ROOT
from utils.config.network_names import OTHERS, RELEASED, Row
from utils.parts import FORMATS, METRICS, TRANSFORMS, find_part


@pytest.mark.parametrize("row", [row for row in (*RELEASED, *OTHERS) if row.home], ids=lambda row: row.home)
def test_rows_of_networks_name_constructors(row: Row) -> None:
    part = find_part(row.home)
    if isinstance(part, Family):
        assert {*row.backbones} <= BACKBONES.keys()
    elif isinstance(part, Backbone):
        assert {*row.families} <= FAMILIES.keys()
    else:
        assert callable(part) and len(row.names) == 1  # it is not told which of several it makes


@pytest.mark.parametrize("home", TRANSFORMS.values())
def test_rows_of_transforms_name_recipes(home: str) -> None:
    low, high = find_part(home).crop_scale
    assert isinstance(find_part(home), Recipe) and 0 < low <= high <= 1


@pytest.mark.parametrize("home", [*METRICS.values(), *(format.home for format in FORMATS.values())])
def test_rows_of_formats_and_metrics_name_callables(home: str) -> None:
    assert callable(find_part(home))


def test_listing_names_imports_none_of_the_parts() -> None:
    code = "import sys, utils.parts; sys.exit(any(name.startswith(('dataset', 'numpy')) for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
