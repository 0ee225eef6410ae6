"""train_3d.py end to end: real videos, real processes, killed and continued, one process and two."""

import json
import sys
from pathlib import Path

import pytest
import torch

import helpers
from tests import forked
from tests.conftest import MakeRecord
from utils.config import ConfigError, load_config
from utils.training.checkpoint import load_checkpoint
from utils.training.engine import TrainingError

TWO_STATES = {
    "optimizer": {"epochs": [2, 1], "base_learning_rate": [0.02, 0.002]},
    "sampler": {"clip_length": [8, 16], "batch_size": [4, 2], "iter_size": [1, 2]},
    "network": {"net_name": "p3d_resnet18", "frozen_bn": [False, True]},
}


def train(record: Path, *overrides: str, force: bool = False) -> dict[str, torch.Tensor]:
    """Train in this process and return the network's weights."""
    config = load_config(record, overrides)
    helpers.train(config, force=force)
    return load_checkpoint(config.weights_path)[0]["network"]


def command(record: Path, *overrides: str) -> list[str]:
    return [sys.executable, "train_3d.py", "--config_file", str(record), *overrides]


def assert_equal(mine: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> None:
    assert mine.keys() == theirs.keys()
    assert [name for name in mine if not torch.equal(mine[name], theirs[name])] == []


def test_states_follow_each_other_and_leave_their_record(
    make_record: MakeRecord, tiny_set: Path, tmp_path: Path
) -> None:
    record = make_record(**TWO_STATES)
    weights = train(record, "logging.save_freq=1")
    run_dir = tmp_path / "output" / "tiny"
    content, position = load_checkpoint(run_dir / "current.pth")
    assert (position.state, position.epoch, position.step) == (2, 0, 0)
    assert content["class_names"] == (tiny_set / "classes.txt").read_text().splitlines()
    lines = [json.loads(line) for line in (run_dir / "log.jsonl").read_text().splitlines()]
    assert [(line["state"], line["epoch"], line["total_epoch"]) for line in lines] == [(0, 1, 1), (0, 2, 2), (1, 1, 3)]
    assert [line["clips"] for line in lines] == [36, 36, 36]
    assert [line["num_frames"] for line in lines] == [8, 8, 16]
    assert all(0 < line["train_loss"] < 10 and 0 <= line["eval_top1"] <= 100 for line in lines)
    assert {line["eval_videos"] for line in lines} == {25}
    assert sorted(path.name for path in run_dir.glob("*.pth")) == [
        "current.pth",
        "state1_epoch001.pth",
        "state1_epoch002.pth",
        "state2_epoch001.pth",
    ]
    assert load_config(run_dir / "config.yml").states == load_config(record).states
    assert any((run_dir / "tensorboard").iterdir())
    assert "state 2 of 2: clips of 1 x 16 frames" in (run_dir / "log.txt").read_text()
    # The second state began at the first one's weights; its frozen norms kept their statistics, the first norm moved.
    before = load_checkpoint(run_dir / "state1_epoch002.pth")[0]["network"]
    moved = [name for name in weights if name.endswith("running_mean") and not torch.equal(before[name], weights[name])]
    assert moved == ["stem.unit1.norm.running_mean"]
    assert not torch.equal(before["fc.weight"], weights["fc.weight"])
    assert content["optimizer"]["param_groups"][0]["lr"] < 0.002


def test_two_runs_are_bit_equal_whatever_the_loader_workers(make_record: MakeRecord) -> None:
    first = train(make_record("first"))
    assert_equal(first, train(make_record("second"), "dataset.num_workers=2"))
    other = train(make_record("third"), "optimizer.seed=1")
    assert not torch.equal(first["fc.weight"], other["fc.weight"])


def test_killed_at_any_moment_and_continued_equals_uninterrupted(make_record: MakeRecord, tmp_path: Path) -> None:
    expected = train(make_record("whole", **TWO_STATES))
    record = make_record("killed", **{**TWO_STATES, "logging": {"save_steps": 1, "print_freq": 1}})
    checkpoint = tmp_path / "output" / "killed" / "current.pth"
    # In the first epoch, in a later one, after the change of state.
    runs = [word for place in ("0,0,3", "0,1,4", "1,0,2") for word in (str(record), "1", f"kill:{place}")]
    words = [sys.executable, "-m", "tests.stopped_ranks", *runs]
    killed = forked.run(words, check=True)
    codes = [line for line in killed.stdout.splitlines() if line.startswith("[")]
    assert codes == ["[-9]"] * 3, "it ended before it could be killed"
    assert_equal(expected, train(record))
    lines = [json.loads(line) for line in (checkpoint.parent / "log.jsonl").read_text().splitlines()]
    whole = [json.loads(line) for line in (tmp_path / "output/whole/log.jsonl").read_text().splitlines()]
    exact = ("state", "epoch", "total_epoch", "train_loss", "clips", "learning_rate", "eval_top1", "eval_mean")
    assert [[line[key] for key in exact] for line in lines] == [[line[key] for key in exact] for line in whole]


def test_a_finished_run_is_left_alone_and_force_keeps_it_aside(
    make_record: MakeRecord, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = make_record(optimizer={"epochs": 1})
    weights = train(record)
    checkpoint = tmp_path / "output" / "tiny" / "current.pth"
    written = checkpoint.stat().st_mtime_ns
    train(record)
    assert checkpoint.stat().st_mtime_ns == written
    assert "training is complete" in capsys.readouterr().out
    assert_equal(weights, train(record, force=True))
    assert checkpoint.stat().st_mtime_ns != written
    earlier = tmp_path / "output" / "tiny" / "earlier-001"
    assert_equal(weights, load_checkpoint(earlier / "current.pth")[0]["network"])
    assert (earlier / "log.jsonl").exists()


def test_a_changed_record_is_refused_and_nothing_is_touched(make_record: MakeRecord, tmp_path: Path) -> None:
    record = make_record(optimizer={"epochs": 1})
    train(record)
    before = {path: path.read_bytes() for path in (tmp_path / "output").rglob("*") if path.is_file()}
    with pytest.raises(ConfigError, match=r"optimizer\.seed: was 0, is 3.*--force"):
        train(record, "optimizer.seed=3")
    assert {path: path.read_bytes() for path in (tmp_path / "output").rglob("*") if path.is_file()} == before


def test_a_changed_training_list_is_refused(make_record: MakeRecord, tmp_path: Path, tiny_set: Path) -> None:
    own_list = tmp_path / "own_list.txt"
    own_list.write_text((tiny_set / "train_list.txt").read_text())
    record = make_record(optimizer={"epochs": 1}, dataset={"list_file": str(own_list)})
    train(record)
    own_list.write_text("".join((tiny_set / "train_list.txt").read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(ConfigError, match=r"own_list\.txt has changed since"):
        train(record)


def test_two_gloo_processes_equal_one(make_record: MakeRecord, tmp_path: Path) -> None:
    sections = {"optimizer": {"epochs": 1, "num_gpu": 2}, "network": {"dropout_ratio": 0.0}}
    expected = train(make_record("one", **sections))
    record = make_record("two", **sections)
    forked.run([sys.executable, "-m", "tests.stopped_ranks", record, "2", "train"], check=True)
    found = load_checkpoint(tmp_path / "output" / "two" / "current.pth")[0]["network"]
    start = train_3d_start(record)
    for name, weight in expected.items():
        if weight.is_floating_point() and "running" not in name:  # statistics are averaged, not one after the other
            moved = (weight - start[name]).abs().max().item()
            assert moved > 0
            assert (weight - found[name]).abs().max().item() < 1e-3 * moved + 1e-6, name
    lines = [
        [json.loads(line) for line in (tmp_path / f"output/{name}/log.jsonl").read_text().splitlines()]
        for name in ("one", "two")
    ]
    assert lines[1][0]["clips"] == lines[0][0]["clips"] == 32
    assert lines[1][0]["train_loss"] == pytest.approx(lines[0][0]["train_loss"], rel=1e-3)
    assert lines[1][0]["eval_videos"] == 25  # no padding: 25 videos on two processes


def train_3d_start(record: Path) -> dict[str, torch.Tensor]:
    from model.build import make_initial_network

    return make_initial_network(load_config(record), trained=None).state_dict()


def test_a_rate_that_is_too_high_ends_in_one_line(make_record: MakeRecord) -> None:
    record = make_record(optimizer={"base_learning_rate": 1e20, "clip_gradient": 0})
    with pytest.raises(TrainingError, match="NaN or infinite"):
        train(record)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dataset": {"list_file": "none.txt"}}, "dataset.list_file: no such file 'none.txt'"),
        ({"dataset": {"embedded": True, "root_path": "n", "list_file": "n/a.txt"}}, "n/a.txt'; run.sh makes it"),
        ({"network": {"pretrained_model": "none.pth"}}, "network.pretrained_model: no such file 'none.pth'"),
        ({"dataset": {"num_classes": 5}}, "line 6: label 5 is outside 0..4"),
        ({"sampler": {"batch_size": 64}}, "36 videos, fewer than the 64 clips"),
        ({"optimizer": {"amp": "fp16"}}, "fp16 needs a GPU"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_mistakes_end_in_one_line_and_code_2(make_record: MakeRecord, change: dict, message: str) -> None:
    done = forked.run(command(make_record(**change)))
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1


def test_an_unreadable_video_stops_or_is_counted(
    make_record: MakeRecord, tmp_path: Path, tiny_set: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own_list = tmp_path / "own_list.txt"
    own_list.write_text((tiny_set / "train_list.txt").read_text() + "videos/not there.mp4 16 0\n")
    record = make_record(
        optimizer={"epochs": 1}, dataset={"list_file": str(own_list), "num_workers": 1}, sampler={"batch_size": 1}
    )
    with pytest.raises(ValueError, match=r"not there\.mp4"):
        train(record)
    train(
        make_record(
            "skipping",
            optimizer={"epochs": 1},
            dataset={"list_file": str(own_list), "on_error": "skip"},
            sampler={"batch_size": 1},
        )
    )
    said = capsys.readouterr().out
    assert "1 unreadable videos replaced" in said
    assert "not there.mp4" in said


def test_augmentation_and_optimizer_choices_train(make_record: MakeRecord) -> None:
    record = make_record(
        dataset={"transform_type": "mvit_default", "use_mixup": True, "use_fore": True},
        optimizer={
            "adamw_solver": True,
            "fc_higher_lr": True,
            "label_smooth": True,
            "lr_scheduler": "step",
            "lr_decay_epochs": [1],
            "epochs": 1,
            "base_learning_rate": 0.001,
            "amp": "bf16",
        },
    )
    assert all(torch.isfinite(weight).all() for weight in train(record).values() if weight.is_floating_point())


def test_a_constant_rate_is_the_released_records_step_that_never_comes(make_record: MakeRecord, tmp_path: Path) -> None:
    weights = train(make_record("constant", optimizer={"lr_scheduler": "constant"}))
    lines = (tmp_path / "output/constant/log.jsonl").read_text().splitlines()
    assert [json.loads(line)["learning_rate"] for line in lines] == [0.02, 0.02]
    step = {"lr_scheduler": "step", "lr_decay_epochs": [1_000_000], "lr_decay_rate": 1.0}
    assert_equal(train(make_record("step", optimizer=step)), weights)


@pytest.mark.parametrize("net_name", ["vit_deit_t_p16", "seq_p3d_eftnet_b0", "s3dg"])
def test_every_kind_of_network_trains_and_is_scored(make_record: MakeRecord, tmp_path: Path, net_name: str) -> None:
    record = make_record(
        optimizer={"epochs": 1},
        dataset={"crop_size": 32, "eva_crop_size": 32, "eva_num_crop": 1},
        network={"net_name": net_name, "checkpoint_blocks": True},
    )
    start = train_3d_start(record)
    weights = train(record)
    changed = [name for name, weight in weights.items() if not torch.equal(weight, start[name])]
    assert [name for name in weights if name not in changed and "num_batches" not in name] == []
    config = load_config(record)
    helpers.extract(config, crops=(0,), force=False, trained_by="", merged_by="")
    assert list((tmp_path / "output/tiny/scores").glob("part-*.npz"))
