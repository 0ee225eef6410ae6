"""Fixtures of all tests: the project's root on the path, a small embedded data set, and records that use it."""

import functools
import gc
import os
import signal
import sys
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from utils import stopping

# One thread everywhere: small networks are no slower, and processes that tests start get bit-equal sums.
os.environ["OMP_NUM_THREADS"] = "1"

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

# The slowest files run first; otherwise a core that starts one of them last would finish alone.
LONGEST = (
    *("budgeted_run", "search_workers", "torchvision_networks", "zoo", "search_run", "train", "stops", "model"),
    *("extract_merge", "export", "docs_extending", "weight_exchange", "paths_by_hand", "model_weights"),
    *("search_stops", "several_processes", "convolutions", "synthetic", "several_nodes", "faults", "weights_fetch"),
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the slowest files first; the order within a file and of the other files is kept."""
    ranks = {f"test_{name}": rank for rank, name in enumerate(LONGEST)}
    items.sort(key=lambda item: ranks.get(item.path.stem, len(ranks)))


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Exclude imported and collected objects from garbage collection, which takes a 20th of all processor time."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.fixture(autouse=True)
def signals() -> Iterator[None]:
    """Restore signal handlers after a test: shells of later tests could not trap signals that are ignored here."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)}
    yield
    loaders: Any = sys.modules.get("torch.utils.data._utils.signal_handling")
    if loaders is not None and signal.getsignal(signal.SIGCHLD) != before[signal.SIGCHLD]:
        loaders._SIGCHLD_handler_set = False  # otherwise torch sets no handler, and sees a dead worker after 5 s
    for number, handler in before.items():
        signal.signal(number, handler)
    stopping._state = stopping._State()


@pytest.fixture(scope="session")
def tiny_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with 36 training and 25 test videos of the embedded set: 16 frames of 32 x 32 pixels, H.264."""
    from dataset.synthetic import make_synthetic

    root = tmp_path_factory.mktemp("tiny")
    make_synthetic(root, num_train=36, num_test=25, size=32, frames=16, workers=1)
    return root


MakeRecord = Callable[..., Path]


def write_record(tiny_set: Path, folder: Path, name: str = "tiny", **sections: dict[str, Any]) -> Path:
    """Write a record of a small, fast experiment on the tiny set; keyword arguments override values of its sections.

    Its network has one convolution per unit and takes two thirds of the time of P3D; tests that need others name them.
    """
    content: dict[str, Any] = {
        "base": "base_config/synthetic_base.yml",
        "dataset": {
            "list_file": str(tiny_set / "train_list.txt"),
            "root_path": str(tiny_set),
            "eva_list_file": str(tiny_set / "test_list.txt"),
            "eva_root_path": str(tiny_set),
            "crop_size": 24,
            "eva_crop_size": 24,
            "num_workers": 0,
        },
        "optimizer": {"epochs": 2, "warmup_epoch": -1, "amp": "off"},  # float32 on every processor
        "sampler": {"clip_length": 8, "num_steps": 1, "batch_size": 4, "eva_num_clips": 2},
        "network": {"net_name": "c2d_resnet18", "base_width": 8, "dropout_ratio": 0.5, "early_stride": 2},
        "logging": {"output_dir": str(folder / "output"), "print_freq": 2},
    }
    for section, values in sections.items():
        content.setdefault(section, {}).update(values)
    path = folder / f"{name}.yml"
    path.write_text(yaml.safe_dump(content))
    return path


def few_videos(tiny_set: Path, folder: Path, *, num_train: int, num_test: int) -> dict[str, str]:
    """Write lists of the first videos of the tiny set; return the section of a record that reads them."""
    keys = {"list_file": ("train_list.txt", num_train), "eva_list_file": ("test_list.txt", num_test)}
    for name, count in keys.values():
        lines = (tiny_set / name).read_text().splitlines(keepends=True)
        (folder / name).write_text("".join(lines[:count]))
    return {key: str(folder / name) for key, (name, _) in keys.items()}


@pytest.fixture
def make_record(tiny_set: Path, tmp_path: Path) -> MakeRecord:
    """Return `write_record` for the tiny set and the test's own folder."""
    return functools.partial(write_record, tiny_set, tmp_path)
