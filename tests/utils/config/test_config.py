"""The configuration: released records keep their values, every invalid value is one precise line."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import ROOT
from utils.config import RunConfig, load_config
from utils.config.load import own_sections
from utils.config.network_names import Normalization
from utils.config.record import list_differences
from utils.config.saved import load_saved_config
from utils.config.sections import BudgetConfig
from utils.errors import UserError

RELEASED = json.loads((ROOT / "tests/data/released_records.json").read_text())
RECORDS = sorted(path.relative_to(ROOT) for path in ROOT.glob("record/*.yml"))
STATE_KEYS = {field.name for field in dataclasses.fields(RunConfig.__annotations__["states"].__args__[0])}


@pytest.fixture(autouse=True)
def _in_project_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


@pytest.mark.parametrize("name", sorted(RELEASED))
def test_released_files_hold_their_released_values(name: str) -> None:
    ours = yaml.safe_load((ROOT / name).read_text())
    assert ours.get("base") == RELEASED[name].get("base")
    for section, values in RELEASED[name].items():
        if isinstance(values, dict):
            assert {key: ours[section].get(key) for key in values} == values


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.stem)
def test_every_record_parses_to_the_values_of_its_files(path: Path) -> None:
    config = load_config(path)
    record = yaml.safe_load(path.read_text())
    merged: dict[str, dict] = {}
    for name in ("base_config/default.yml", record["base"], path):
        for section, values in yaml.safe_load((ROOT / name).read_text()).items():
            if isinstance(values, dict):
                merged.setdefault(section, {}).update(values)
    search = merged.pop("search")
    assert merged["dataset"]["mean"] == merged["dataset"]["std"] == []  # the network's default, ImageNet's
    merged["dataset"] |= {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
    assert config.is_search == bool(search["inputs"])
    if config.is_search:  # the states are those of the graph, the rate is constant
        assert (config.optimizer.lr_scheduler, config.optimizer.warmup_epoch) == ("constant", -1.0)
        check_search(config, search, merged)
        return
    for section, values in merged.items():
        for key, value in values.items():
            if key in STATE_KEYS:
                expected = value if isinstance(value, list) else [value] * len(config.states)
                assert [getattr(state, key) for state in config.states] == expected
            else:
                assert plain(getattr(getattr(config, section), key)) == value
    lengths = [
        len(merged["optimizer"][key]) for key in ("epochs", "shares") if isinstance(merged["optimizer"][key], list)
    ]
    assert len(config.states) == max(lengths, default=1)


def plain(value: Any) -> Any:
    """Return a value as a record writes it: tuples as lists, a budget without the units that are 0."""
    if isinstance(value, BudgetConfig):
        return {name: number for name, number in dataclasses.asdict(value).items() if number}
    return list(value) if isinstance(value, tuple) else value


def check_search(config: RunConfig, search: dict, merged: dict[str, dict]) -> None:
    """Return every key of a search record as its files have it."""
    rewritten = {"lr_scheduler", "warmup_epoch"}
    for section, values in merged.items():
        for key in set(values) - STATE_KEYS - rewritten:
            assert plain(getattr(getattr(config, section), key)) == values[key]
    own = {key: value for values in merged.values() for key, value in values.items() if key in STATE_KEYS}
    expected = [
        {key: value for key, value in {**own, **entry}.items() if key not in ("epochs", "shares")}
        for entry in search["inputs"]
    ]
    assert [dataclasses.asdict(entry) for entry in config.search.inputs] == expected
    for key in set(search) - {"inputs"}:
        found = plain(getattr(config.search, key))
        assert found == ([search[key]] if key == "graph" else search[key])
    assert config.states[0].base_learning_rate == pytest.approx(expected[-1]["base_learning_rate"] * 0.01)
    assert config.states[0].num_frames == expected[-1]["num_segments"] * expected[-1]["clip_length"]


def test_effective_configuration_reads_back_equal(tmp_path: Path) -> None:
    for record in RECORDS:
        config = load_config(record)
        saved = tmp_path / record.name
        saved.write_text(config.to_yaml())
        assert load_config(saved) == config


def test_later_layers_override_earlier_ones_and_the_command_line_overrides_all() -> None:
    record = "record/op-kinetics-dg-p3d-resnet50.yml"
    config = load_config(record)
    assert config.dataset.transform_type == "default"  # the record, over the base's rand_augment
    assert config.dataset.ra_m == 27  # the base
    assert config.optimizer.num_gpu == 4  # default.yml
    changed = load_config(record, ["optimizer.num_gpu=2", "optimizer.epochs=[1, 2, 3, 4, 5]", "dataset.root_path=/a b"])
    assert changed.optimizer.num_gpu == 2
    assert [state.epochs for state in changed.states] == [1, 2, 3, 4, 5]
    assert changed.dataset.root_path == "/a b"


def test_a_single_value_applies_to_every_state() -> None:
    config = load_config("record/kinetics-p3d-resnet50-1x16x1-128e.yml", ["sampler.clip_length=[8, 16, 32]"])
    assert [(state.clip_length, state.batch_size, state.frozen_bn) for state in config.states] == [
        (8, 16, False),
        (16, 16, False),
        (32, 16, False),
    ]


def test_eva_model_of_released_records_is_the_records_own_checkpoint() -> None:
    record = "record/kinetics-p3d-resnet50-1x16x1-128e.yml"
    assert load_config(record).eva_model == Path("output/kinetics-p3d-resnet50-1x16x1-128e/current.pth")
    assert load_config(record, ["network.eva_model=weights/best.pth"]).eva_model == Path("weights/best.pth")


@pytest.mark.parametrize(
    ("text", "value"),
    [("1e-4", 1e-4), ("2E3", 2000.0), (".5", 0.5), ("010", 10.0), ("3", 3.0), ("-1", -1.0)],
)
def test_numbers_are_parsed_as_people_write_them(text: str, value: float) -> None:
    config = load_config(
        "record/synthetic-dg-p3d-resnet18.yml", [f"optimizer.warmup_epoch={text}", "optimizer.epochs=5000"]
    )
    assert config.optimizer.warmup_epoch == value


def test_off_is_a_string() -> None:
    assert load_config("record/synthetic-dg-p3d-resnet18.yml", ["optimizer.amp=off"]).optimizer.amp == "off"


def test_an_empty_override_is_an_empty_string() -> None:
    record = "record/op-ucf101-dg-p3d-resnet50-kinetics.yml"
    assert load_config(record).network.pretrained_model
    assert load_config(record, ["network.pretrained_model="]).network.pretrained_model == ""
    with pytest.raises(UserError, match=r"dataset\.list_file=\): dataset\.list_file: no such file ''; write it"):
        load_config(record, ["dataset.list_file="]).require_file("dataset", "list_file", hint="write it")


BAD_OVERRIDES = [
    ("optimizer.epochs=", ["optimizer.epochs", "''", "a number"]),
    ("network.net_nam=x", ["network.net_nam", "unknown key", "did you mean 'net_name'"]),
    ("dataset.clip_length=8", ["dataset.clip_length", "belongs to section 'sampler'"]),
    ("datset.format=RAW", ["datset", "unknown section", "did you mean 'dataset'"]),
    ("dataset.format=LMBD", ["dataset.format", "'LMBD'", "RAW, FRAME, LMDB", "did you mean 'LMDB'"]),
    ("optimizer.epochs=ten", ["optimizer.epochs", "'ten'", "a number"]),
    ("optimizer.epochs=0", ["optimizer.epochs", "found 0", "above 0"]),
    ("optimizer.epochs=true", ["optimizer.epochs", "True", "a number"]),
    ("dataset.crop_size=[24, 0]", ["dataset.crop_size", "found 0", "at least 1"]),
    ("optimizer.nesterov=no", ["optimizer.nesterov", "'no'", "true or false"]),
    ("optimizer.base_learning_rate=.inf", ["optimizer.base_learning_rate", "finite"]),
    ("optimizer.lr_decay_epochs=30", ["optimizer.lr_decay_epochs", "a list"]),
    ("dataset.num_classes=1", ["dataset.num_classes", "at least 2"]),
    ("network.dropout_ratio=1.0", ["network.dropout_ratio", "below 1"]),
    ("network.net_name=dg_p3d_resnet51", ["network.net_name", "dg_p3d_resnet51", "dg_p3d_resnet50"]),
    ("sampler.clip_length=4", ["sampler.clip_length", "4 frames", "needs at least"]),
    ("sampler.clip_length=[]", ["sampler.clip_length", "empty"]),
    ("optimizer.lr_scheduler=step", ["optimizer.lr_decay_epochs", "[30, 60]"]),
    ("optimizer.warmup_epoch=100", ["optimizer.warmup_epoch", "do not fit"]),
    ("dataset.crop_scale=[0.5]", ["dataset.crop_scale", "[0.5, 1.0]"]),
    ("dataset.crop_scale=[0.9, 0.5]", ["dataset.crop_scale", "[0.9, 0.5]"]),
    ("dataset.mean=[0.5]", ["dataset.mean", "found 1 numbers", "expected 3"]),
    ("dataset.std=[1, 1]", ["dataset.std", "found 2 numbers", "expected 3"]),
    ("dataset.std=[0.2, 0, 0.2]", ["dataset.std", "[0.2, 0.0, 0.2]", "above 0"]),
    ("dataset.mean=[123.675, 116.28, 103.53]", ["dataset.mean", "123.675", "0..1"]),
    ("dataset.std=[58.395, 57.12, 57.375]", ["dataset.std", "58.395", "up to 1"]),
    ("dataset.use_flow=true", ["dataset.use_flow", "FRAME or LMDB"]),
    ("network.transfer_weights=true", ["network.transfer_weights", "remove_fc"]),
    ("optimizer.epochs", ["section.key=value"]),
    ("optimizer.epochs=[1", ["command line", "not valid YAML"]),
]


@pytest.mark.parametrize(("override", "parts"), BAD_OVERRIDES, ids=[override for override, _ in BAD_OVERRIDES])
def test_an_invalid_override_is_one_line_with_key_value_and_allowed_values(override: str, parts: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        load_config("record/synthetic-dg-p3d-resnet18.yml", [override])
    message = str(caught.value)
    assert "\n" not in message
    assert all(part in message for part in parts)


BAD_FILES = [
    (
        "base: base_config/kinetic_base.yml\n",
        ["base", "kinetic_base.yml", "did you mean 'base_config/kinetics_base.yml'"],
    ),
    ("base: 3\n", ["base", "3"]),
    ("- a\n", ["list", "sections"]),
    ("dataset: 5\n", ["dataset", "5", "keys below"]),
    ("dataset: {num_classes: 5\n", ["not valid YAML", "line"]),
    ("base: base_config/synthetic_base.yml\nnetwork:\n  net_name: a\n  net_name: b\n", ["line 4", "given twice"]),
    ("base: base_config/synthetic_base.yml\nnetwork:\n  net_nam: a\n", ["x.yml", "network.net_nam"]),
    ("base: base_config/synthetic_base.yml\n", ["network.net_name", "missing"]),
    (
        "base: base_config/synthetic_base.yml\nnetwork: {net_name: p3d_resnet18}\n"
        "sampler: {clip_length: [8, 16], batch_size: [1, 2, 3]}\n",
        ["x.yml", "unequal length", "clip_length has 2", "batch_size has 3"],
    ),
]


@pytest.mark.parametrize(("text", "parts"), BAD_FILES, ids=range(len(BAD_FILES)))
def test_an_invalid_file_is_named(text: str, parts: list[str], tmp_path: Path) -> None:
    path = tmp_path / "x.yml"
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        load_config(path)
    assert all(part in str(caught.value) for part in parts), str(caught.value)


def test_a_missing_record_is_named() -> None:
    with pytest.raises(UserError, match=r"record/nothing\.yml: no such file"):
        load_config("record/nothing.yml")


def test_a_missing_data_file_is_named_with_its_key() -> None:
    config = load_config("record/kinetics-p3d-resnet50-1x16x1-128e.yml")
    with pytest.raises(UserError) as caught:
        config.require_file("dataset", "list_file", hint="write it")
    assert str(caught.value) == (
        "base_config/kinetics_base.yml: dataset.list_file: no such file "
        "'dataset/kinetics_frame128_train_list.txt'; write it"
    )


def test_differences_are_the_keys_that_affect_the_weights() -> None:
    record = "record/synthetic-dg-p3d-resnet18.yml"
    old = load_config(record)
    assert list_differences(load_config(record, ["dataset.num_workers=3", "sampler.eva_num_clips=7"]), old) == []
    new = load_config(record, ["optimizer.seed=5", "sampler.clip_length=32"])
    assert list_differences(new, old) == ["optimizer.seed: was 0, is 5", "sampler.clip_length: was 16, is 32"]


def test_clips_get_the_normalization_of_the_network() -> None:
    record, flow = "record/synthetic-dg-p3d-resnet18.yml", ["dataset.use_flow=true", "dataset.format=FRAME"]
    assert load_config(record).normalization == Normalization((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert load_config(record, flow).normalization == Normalization((0.5, 0.5), (0.229, 0.229))
    theirs = ["network.net_name=torchvision/r3d_18", "network.base_width=64"]
    config = load_config(record, theirs)
    assert config.normalization == Normalization((0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989))
    assert config.to_dict()["dataset"]["mean"] == [0.43216, 0.394666, 0.37645]  # config.yml has the numbers
    assert not {"mean", "std"} & own_sections(config)["dataset"].keys()  # a record omits the defaults of the network
    other = load_config(record, [*theirs, "dataset.mean=[0.5, 0.5, 0.5]"])
    assert other.normalization == Normalization((0.5, 0.5, 0.5), (0.22803, 0.22145, 0.216989))
    assert own_sections(other)["dataset"]["mean"] == [0.5, 0.5, 0.5]


def test_a_run_older_than_the_key_used_imagenets_normalization(tmp_path: Path) -> None:
    def difference(*words: str) -> list[str]:
        """Between a record as it is and its run from before dataset.mean."""
        config = load_config("record/synthetic-dg-p3d-resnet18.yml", words)
        sections = config.to_dict()
        del sections["dataset"]["mean"], sections["dataset"]["std"]
        saved = tmp_path / "config.yml"
        saved.write_text(yaml.safe_dump(sections))
        return list_differences(config, load_saved_config(saved))

    theirs = ("network.net_name=torchvision/r3d_18", "network.base_width=64")
    assert difference() == difference("dataset.use_flow=true", "dataset.format=FRAME") == []
    assert difference(*theirs) == [
        "dataset.mean: was [0.485, 0.456, 0.406], is [0.43216, 0.394666, 0.37645]",
        "dataset.std: was [0.229, 0.224, 0.225], is [0.22803, 0.22145, 0.216989]",
    ]
    assert difference(*theirs, "dataset.mean=[0.485, 0.456, 0.406]", "dataset.std=[0.229, 0.224, 0.225]") == []


def test_a_decay_that_is_never_reached_is_a_constant_rate() -> None:
    record = "record/synthetic-dg-p3d-resnet18.yml"
    constant = load_config(record, ["optimizer.lr_scheduler=constant"])
    for never in (["lr_decay_epochs=[1000000]"], ["lr_decay_epochs=[3, 5]", "lr_decay_rate=1"]):
        words = ["optimizer.lr_scheduler=step", *(f"optimizer.{word}" for word in never)]
        assert list_differences(load_config(record, words), constant) == []
    reached = load_config(record, ["optimizer.lr_scheduler=step", "optimizer.lr_decay_epochs=[5]"])
    assert list_differences(reached, constant)[0] == "optimizer.lr_scheduler: was constant, is step"
    assert list_differences(load_config(record), constant) == ["optimizer.lr_scheduler: was constant, is cosine"]


@pytest.mark.parametrize("script", ["train_3d.py", "extract_score_3d.py", "merge_score.py"])
def test_scripts_end_with_one_line_and_code_2_before_torch_is_imported(script: str) -> None:
    code = (
        "import runpy, sys\n"
        f"sys.argv = ['{script}', '--config_file', 'record/synthetic-dg-p3d-resnet18.yml', 'network.net_nam=x']\n"
        "try:\n"
        f"    runpy.run_path('{script}', run_name='__main__')\n"
        "finally:\n"
        "    print('torch' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 2
    assert done.stdout.strip() == "False"
    assert done.stderr.startswith("error: command line (network.net_nam=x): network.net_nam: unknown key")
    assert done.stderr.count("\n") == 1
