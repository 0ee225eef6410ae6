"""Stores of videos: nothing is written outside of their folder."""

from pathlib import Path

import pytest

from dataset.listing import ListError
from dataset.synthetic.store import FORMATS
from dataset.writers.stores import ShardedEnvironments

STORES = {**{name: make for name, (make, _) in FORMATS.items()}, "shards": ShardedEnvironments}


@pytest.mark.parametrize("name", STORES)
def test_a_store_writes_below_its_folder_alone(name: str, tmp_path: Path) -> None:
    store = STORES[name](tmp_path / "root")
    for path in ("../v", "a/../../v", "..", ".", "/"):
        with pytest.raises(ListError, match=f"'{path}' leads out of the root of the videos"):
            store.write(path, [b"a"])
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == []
    store.write("/s/a/../v", [b"a"])  # an absolute path is placed below the folder
    assert all(path.is_relative_to(tmp_path / "root") for path in tmp_path.rglob("*"))
