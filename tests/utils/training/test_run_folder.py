"""The run folder: files of another run are refused by name, changes without effect never are."""

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

import helpers
from dataset.build import read_training_list
from tests.conftest import MakeRecord, few_videos
from tests.scripts.test_train import assert_equal, train
from tests.utils.test_lock import holder
from utils.config import ConfigError, RunConfig, load_config
from utils.config.declaring import TRAINING
from utils.config.keys import Key, input_keys, section_keys
from utils.config.record import list_differences
from utils.config.schema import SECTIONS
from utils.config.sections import BudgetConfig
from utils.errors import UserError
from utils.files import file_sha256
from utils.jsonl import write_lines
from utils.lock import LockError
from utils.training.checkpoint import CheckpointError, Position, save_checkpoint
from utils.training.run_folder import save_config
from utils.training.weight_files import read_weight_file

CONSTANT = {"optimizer": {"epochs": 1, "lr_scheduler": "constant"}}


def other_value(key: Key, value: Any) -> Any:
    """Return another value of a key, valid or not."""
    if key.choices:
        return next((choice for choice in key.choices if choice != value), value)
    if isinstance(value, bool):
        return not value
    if isinstance(value, BudgetConfig):
        return dataclasses.replace(value, epochs=value.epochs + 1)
    if isinstance(value, int | float):
        return value + 1
    return (*value, *(value[:1] or ("more",))) if isinstance(value, tuple) else f"{value}x"


@pytest.mark.parametrize("section", SECTIONS)
def test_the_scopes_of_the_schema_decide_which_keys_affect_training(section: str) -> None:
    name = "search-synthetic-dg-p3d-resnet18" if section == "search" else "synthetic-dg-p3d-resnet18"
    config = load_config(f"record/{name}.yml")
    constant = dataclasses.replace(config.optimizer, lr_scheduler="step", lr_decay_epochs=(1,), lr_decay_rate=0.1)
    config = dataclasses.replace(config, optimizer=constant)  # so that every key of the schedule acts
    plain, linear = config, dataclasses.replace(config, optimizer=dataclasses.replace(constant, envelope="linear"))
    budget = dataclasses.replace(constant, budget=BudgetConfig(epochs=1, hours=0, frames=0))
    shared = dataclasses.replace(config, optimizer=budget)
    best = dataclasses.replace(config, optimizer=dataclasses.replace(constant, select="best"))
    acting = {"envelope_warmup": linear, "envelope_epochs": linear, "shares": shared}
    acting |= {"heldout_fraction": best, "heldout_seed": best}
    for key in section_keys(section):
        config = acting.get(key.name, plain)
        if key.is_per_state:
            (state,) = config.states
            changed = dataclasses.replace(state, **{key.name: other_value(key, getattr(state, key.name))})
            other = dataclasses.replace(config, states=(changed,))
        else:
            values = getattr(config, section)
            changed = dataclasses.replace(values, **{key.name: other_value(key, getattr(values, key.name))})
            other = dataclasses.replace(config, **{section: changed})
        if other == config:
            assert len(key.choices) == 1
            continue
        names = [line.partition(":")[0] for line in list_differences(other, config)]
        assert (f"{section}.{key.name}" in names) == (key.scope == TRAINING) == bool(names)
    assert all(key.scope == TRAINING for key in input_keys())


def leave(record: Path, *overrides: str, position: Position, **changes: Any) -> RunConfig:
    """Write the files of a training up to a position, except its weights; return the record."""
    config = load_config(record, overrides)
    content = {"network": {"w": torch.ones(1)}, "config": config.to_dict(), "start_weights": "random", **changes}
    content.setdefault("list_sha256", read_training_list(config).sha256)
    save_checkpoint(config.weights_path, content, position=position)
    return config


@pytest.mark.parametrize(
    ("override", "changes", "named"),
    [
        ("optimizer.seed=3", {}, r"optimizer\.seed: was 3, is 0"),
        ("optimizer.base_learning_rate=0.5", {}, r"optimizer\.base_learning_rate: was 0\.5, is 0\.02"),
        ("sampler.clip_length=4", {}, r"sampler\.clip_length: was 4, is 8"),
        ("optimizer.seed=0", {"list_sha256": "0" * 64}, r"train_list\.txt has changed since"),
        ("optimizer.seed=0", {"position": Position(0, 7)}, "is not within its own configuration"),
        ("optimizer.seed=0", {"position": Position(5)}, "is not within its own configuration"),
        ("optimizer.seed=0", {"start_weights": "weights with SHA-256 a"}, "pretrained_model: was .* a, is random"),
        ("optimizer.epochs=2", {}, r"optimizer\.epochs: was 2, is 1.*network\.pretrained_model=.*current\.pth"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused_by_its_differences(
    make_record: MakeRecord, override: str, changes: dict[str, Any], named: str
) -> None:
    record = make_record(**CONSTANT)
    config = leave(record, override, **({"position": Position(0, 1)} | changes))
    before = config.weights_path.read_bytes()
    with pytest.raises((ConfigError, CheckpointError), match=named):
        helpers.train(load_config(record), force=False)
    assert [path.name for path in config.run_dir.iterdir()] == ["current.pth"]
    assert config.weights_path.read_bytes() == before


@pytest.mark.parametrize(
    ("settings", "position"),
    [
        ({"lr_scheduler": "cosine"}, Position(1)),
        ({"lr_scheduler": "step", "lr_decay_epochs": [2]}, Position(1)),
        ({"lr_scheduler": "constant", "ema": 0.9}, Position(1)),  # the weights of the last step are not kept
        ({"lr_scheduler": "constant", "epochs": [1, 1]}, Position(1)),
    ],
)
def test_more_epochs_are_refused_if_the_first_ones_would_differ(
    make_record: MakeRecord, settings: dict[str, Any], position: Position
) -> None:
    record = make_record(optimizer={"epochs": 1, **settings})
    leave(record, position=position)
    more = "optimizer.epochs=[3, 1]" if "epochs" in settings else "optimizer.epochs=3"
    with pytest.raises(ConfigError, match=r"optimizer\.epochs: was .*to train longer, start a record of another name"):
        helpers.train(load_config(record, [more]), force=False)


def test_a_start_that_failed_does_not_block_the_corrected_one(make_record: MakeRecord, tmp_path: Path) -> None:
    record = make_record(**CONSTANT)
    with pytest.raises(UserError, match="fewer than"):
        train(record, "sampler.batch_size=64")
    with pytest.raises(UserError):
        train(record, "optimizer.base_learning_rate=1e20", "optimizer.clip_gradient=0")  # stops within the first epoch
    folder = tmp_path / "output" / "tiny"
    assert (folder / "config.yml").exists()
    train(record)
    assert load_config(folder / "config.yml").states[0].batch_size == load_config(record).states[0].batch_size


def test_moved_data_and_settings_of_no_effect_never_block(
    make_record: MakeRecord, tmp_path: Path, tiny_set: Path
) -> None:
    record = make_record(**CONSTANT)
    weights = train(record)
    (tmp_path / "elsewhere").symlink_to(tiny_set)
    shutil.copy(tiny_set / "train_list.txt", tmp_path / "moved_list.txt")
    moved = (
        f"dataset.root_path={tmp_path / 'elsewhere'}",
        f"dataset.list_file={tmp_path / 'moved_list.txt'}",
        "dataset.num_workers=1",
        "logging.save_steps=2",
        "optimizer.eva_inter=false",
        "network.pretrained_model=",
    )
    assert_equal(weights, train(record, *moved))
    assert load_config(tmp_path / "output/tiny/config.yml").dataset.root_path == str(tmp_path / "elsewhere")


def test_training_can_be_extended_if_the_rate_is_constant(
    make_record: MakeRecord, tiny_set: Path, tmp_path: Path
) -> None:
    dataset = few_videos(tiny_set, tmp_path, num_train=12, num_test=5)
    expected = train(make_record("whole", **CONSTANT, dataset=dataset), "optimizer.epochs=2")
    record = make_record(**CONSTANT, dataset=dataset)
    train(record)
    assert_equal(expected, train(record, "optimizer.epochs=2"))
    lines = (tmp_path / "output/tiny/log.jsonl").read_text().splitlines()
    assert [json.loads(line)["total_epoch"] for line in lines] == [1, 2]


def test_other_initial_weights_are_refused_moved_ones_are_not(make_record: MakeRecord, tmp_path: Path) -> None:
    first = make_record("first", **CONSTANT)
    train(first)
    weights = tmp_path / "start.pth"
    shutil.copy(tmp_path / "output/first/current.pth", weights)
    record = make_record("second", **CONSTANT, network={"pretrained_model": str(weights)})
    trained = train(record)
    weights.rename(tmp_path / "moved.pth")
    assert_equal(trained, train(record))  # a resumed run does not need them
    assert_equal(trained, train(record, f"network.pretrained_model={tmp_path / 'moved.pth'}"))
    shutil.copy(tmp_path / "output/first/current.pth", weights)
    with weights.open("ab") as file:
        file.write(b"other")
    with pytest.raises(ConfigError, match=f"pretrained_model: was .*, is .*{file_sha256(weights)}"):
        train(record)


def test_weights_that_the_folder_did_not_train_are_not_evaluated_as_its_own(
    make_record: MakeRecord, tmp_path: Path
) -> None:
    record = make_record(optimizer={"epochs": 2, "lr_scheduler": "constant"})
    config = leave(record, position=Position(1))
    save_config(config)
    write_lines(config.run_dir / "log.jsonl", [{"state": 0, "epoch": epoch, "total_epoch": epoch} for epoch in (1, 2)])
    read_weight_file(config, config.weights_path)
    leave(record, position=Position(0, 1))
    with pytest.raises(ConfigError, match=r"weights after 1 epochs, but .*log\.jsonl has 2"):
        read_weight_file(config, config.weights_path)
    leave(record, "optimizer.seed=3", position=Position(1))
    with pytest.raises(ConfigError, match=r"optimizer\.seed: was 0, is 3"):
        read_weight_file(config, config.weights_path)
    shutil.copy(config.weights_path, tmp_path / "elsewhere.pth")
    read_weight_file(config, tmp_path / "elsewhere.pth")


def test_a_folder_in_use_is_refused_by_every_script(make_record: MakeRecord, tmp_path: Path) -> None:
    record = make_record(**CONSTANT)
    with holder(tmp_path / "output" / "tiny"):
        with pytest.raises(LockError, match="is in use by process"):
            train(record)
        with pytest.raises(LockError, match="is in use by process"):
            helpers.extract(load_config(record), crops=(0,), force=False, trained_by="", merged_by="")
