"""Small datasets in the official layouts, encoded once per module."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests import official_sets
from tests.official_sets import Videos


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Videos:
    return Videos(tmp_path_factory.mktemp("encoded"))


@pytest.fixture
def layout(tmp_path: Path, videos: Videos) -> Callable[[str], Path]:
    """Make one of the official layouts in a folder with a space in its name."""
    return lambda name: getattr(official_sets, name)(tmp_path / "data set", videos)
