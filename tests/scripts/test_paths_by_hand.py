"""Paths that a hand writes: one envelope, fractions of epochs, crops, momenta and budgets, trained for real."""

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import helpers
from dataset.build import (
    make_plan,
    make_training_loader,
    make_validation_loader,
    read_evaluation_list,
    read_training_list,
)
from model.summary import measure
from tests import forked
from tests.conftest import MakeRecord
from tests.scripts.test_train import assert_equal, train
from utils import stopping
from utils.config import ConfigError, RunConfig, load_config
from utils.config.budget import budget_to_epochs
from utils.config.load import load_sections
from utils.config.record import list_differences
from utils.config.saved import load_saved_config
from utils.evaluation.protocol import read_history
from utils.planning.envelope import SHAPES, Envelope
from utils.sealed import read_sealed_json
from utils.training.checkpoint import Position, load_checkpoint
from utils.training.engine import DivergedError
from utils.training.state import StateTrainer, TrainingRecord

CPU = torch.device("cpu")
VIDEOS = 36
PATH: dict[str, dict[str, Any]] = {
    "dataset": {"crop_size": [16, 20, 24]},
    "optimizer": {
        "envelope": "linear",
        "envelope_warmup": 0.2,
        "warmup_multiplier": 10,
        "base_learning_rate": [0.02, 0.01, 0.03],
        "epochs": [0.5, 1.4, 1],
        "lr_scheduler": "step",  # has no meaning under an envelope
        "warmup_epoch": 50,
    },
    "sampler": {"clip_length": [4, 8, 8], "batch_size": [8, 4, 4], "iter_size": [1, 2, 1]},
}
STEPS = (2, 7, 9)  # of 0.5 x 4, 1.4 x 5 (the last step of an epoch is half a one) and 1 x 9


def stop_at(monkeypatch: pytest.MonkeyPatch, target: Position) -> None:
    """Ask a training to stop when it is about to train the step behind a position."""
    train_epoch = StateTrainer.train_epoch

    def train_until(self: StateTrainer, position: Position, *rest: Any) -> Any:
        with monkeypatch.context() as patch:
            if (position.state, position.epoch) == (target.state, target.epoch):
                asked = iter(step + 1 == target.step for step in range(position.step, 1000))
                patch.setattr(stopping, "requested", lambda: next(asked))
            return train_epoch(self, position, *rest)

    monkeypatch.setattr(StateTrainer, "train_epoch", train_until)


def rates_of(config: RunConfig) -> list[list[float]]:
    """The learning rate of every step of every state."""
    network = helpers.make_initial_network(config, trained=None)
    rates = []
    for index in range(len(config.states)):
        learner = helpers.make_learner(config, index, network=network, num_videos=VIDEOS, device=CPU)
        epochs = range(learner.length.num_epochs)
        steps = [(epoch, step) for epoch in epochs for step in range(learner.length.steps_of_epoch(epoch))]
        rates.append([learner.rate(*each) for each in steps])
    return rates


@pytest.mark.parametrize("shape", SHAPES)
def test_an_envelope_over_three_states_is_the_scalar_formula_at_every_step(make_record: MakeRecord, shape: str) -> None:
    config = load_config(make_record(**PATH), [f"optimizer.envelope={shape}"])
    rates = rates_of(config)
    assert tuple(map(len, rates)) == STEPS
    computes = [8 * 4 * 16 * 16, 8 * 8 * 20 * 20, 4 * 8 * 24 * 24]  # clips x frames x pixels of a step
    whole = sum(steps * compute for steps, compute in zip(STEPS, computes, strict=True))
    envelope, spent = Envelope(shape, 0.2, 0.1), 0
    for found, base, compute in zip(rates, (0.02, 0.01, 0.03), computes, strict=True):
        for rate in found:
            assert rate == pytest.approx(base * envelope.factor(spent / whole), rel=1e-12)
            spent += compute
    assert spent == whole
    assert rates[0][0] == pytest.approx(0.002)  # the warm-up begins once, at the path's start


def test_the_record_knows_every_shape() -> None:
    config = load_config("record/synthetic-dg-p3d-resnet18.yml")
    choices = config.optimizer.__dataclass_fields__["envelope"].metadata["choices"]
    assert choices == ("none", *SHAPES)


def test_a_path_with_fractions_of_epochs_leaves_its_record_and_is_continued_inside_the_cut_epoch(
    make_record: MakeRecord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ema = "optimizer.ema=0.5"
    expected = train(make_record("whole", **PATH), ema)
    record = make_record("stopped", **PATH)
    for target in (Position(0, 0, 1), Position(1, 1, 1)):
        with monkeypatch.context() as patch:
            stop_at(patch, target)
            with pytest.raises(BaseException, match="saved after step"):
                train(record, ema)
        assert load_checkpoint(tmp_path / "output/stopped/current.pth")[1] == target
    assert_equal(expected, train(record, ema))
    written = [
        [json.loads(line) for line in (tmp_path / "output" / name / "log.jsonl").read_text().splitlines()]
        for name in ("whole", "stopped")
    ]
    exact = ("state", "epoch", "total_epoch", "train_loss", "clips", "learning_rate", "eval_top1")
    lines, again = ([[line[key] for key in exact[:5]] for line in each] for each in written)
    assert lines == again
    assert [line[:3] for line in lines] == [[0, 1, 0.5], [1, 1, 1.5], [1, 2, 1.9], [2, 1, 2.9]]
    assert [line[4] for line in lines] == [16, 36, 16, 36]
    assert all("eval_top1" in line for line in written[0])  # at the end of every state too
    for line, frames, side in zip(written[0], (4, 8, 8, 8), (16, 20, 20, 24), strict=True):
        cost = measure("c2d_resnet18", frames=frames, size=side, num_classes=12, early_stride=2, base_width=8)
        assert line["multiply_adds"] == line["clips"] * (cost.multiply_adds or 0) > 0
    content, position = load_checkpoint(tmp_path / "output/whole/current.pth")
    assert position == Position(3)
    assert content["config"]["optimizer"]["epochs"] == [0.5, 1.4, 1]
    text = (tmp_path / "output/whole/log.txt").read_text()
    assert "state 2 of 3: clips of 1 x 8 frames, every 1, 20 px; rate 0.01" in text
    assert "state 2 took " in text and ", 52 clips, 416 frames, " in text and "; all states so far: " in text
    assert "1.4 epochs" in text and "epoch 2/2: loss" in text


def test_every_state_has_its_crop_and_the_evaluation_its_own(make_record: MakeRecord) -> None:
    config = load_config(make_record(**PATH), ["dataset.eva_crop_size=32"])
    videos = read_training_list(config)
    for index, side in enumerate((16, 20, 24)):
        loader, _ = make_training_loader(config, index, videos=videos, plan=make_plan(config, index))
        validation = make_validation_loader(
            config, config.states[index], videos=read_evaluation_list(config), root_path=config.dataset.eva_root_path
        )
        assert next(iter(loader)).clips.shape[2:4] == next(iter(validation)).clips.shape[2:4] == (side, side)
    assert config.evaluation_state.crop_size == 24
    scorer = helpers.make_view_scorer(config, network=torch.nn.Identity(), dtype=None, device=CPU)
    assert scorer.crop_size == 32


@pytest.mark.parametrize("keeps", [True, False])
def test_momenta_are_kept_over_a_change_of_state_where_asked_also_by_a_continued_run(
    make_record: MakeRecord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keeps: bool
) -> None:
    path = {"optimizer": {"epochs": [1, 0.5], "keep_momentum": keeps, "adamw_solver": True, "seed": 1}}
    taken: list[int] = []
    make_learner = helpers.make_learner

    def look(*arguments: Any, **named: Any) -> Any:
        learner = make_learner(*arguments, **named)
        step = learner.optimizer.step

        def count_and_step(*a: Any, **k: Any) -> Any:
            counts = learner.optimizer.state
            taken.append(int(next(iter(counts.values()))["step"]) if counts else 0)
            return step(*a, **k)

        monkeypatch.setattr(learner.optimizer, "step", count_and_step)
        return learner

    monkeypatch.setattr(helpers, "make_learner", look)
    expected = train(make_record("whole", **path))
    assert taken == [*range(9), *(range(9, 13) if keeps else range(4))]
    record = make_record("stopped", **path)
    with monkeypatch.context() as patch:
        finish = TrainingRecord.finish_epoch

        def finish_and_end(self: TrainingRecord, *rest: Any) -> None:
            finish(self, *rest)
            raise DivergedError("killed")

        patch.setattr(TrainingRecord, "finish_epoch", finish_and_end)
        with pytest.raises(DivergedError, match="killed"):
            train(record)
    assert load_checkpoint(tmp_path / "output/stopped/current.pth")[1] == Position(1)
    assert_equal(expected, train(record))


def test_without_an_envelope_the_schedules_of_states_are_what_they_were(make_record: MakeRecord) -> None:
    """Bit for bit the formulas of the released schedules, restarted in every state."""
    states = {"epochs": [2, 3], "base_learning_rate": [0.02, 0.002]}
    settings = {"envelope_warmup": 0.5, "lr_scheduler": "step", "lr_decay_epochs": [1, 2], "lr_decay_rate": 0.1}
    rates = rates_of(load_config(make_record(optimizer=states | settings)))
    assert rates == [
        [base * 0.1 ** min(step // 9, 2) for step in range(9 * epochs)] for base, epochs in ((0.02, 2), (0.002, 3))
    ]
    whole = load_config(make_record(optimizer={"epochs": 2}))
    as_float = dataclasses.replace(whole, states=tuple(dataclasses.replace(s, epochs=2.0) for s in whole.states))
    assert rates_of(whole) == rates_of(as_float)


BUDGET: dict[str, dict[str, Any]] = {
    "dataset": {"crop_size": [16, 24]},
    "optimizer": {
        "budget": {"epochs": 1.5}, "shares": [0.25, 0.75], "envelope": "linear", "eva_inter": False, "epochs": 77,
    },
    "sampler": {"clip_length": [4, 8], "batch_size": [8, 4]},
}  # fmt: skip


@pytest.mark.parametrize("budget", [{"epochs": 1.5}, {"frames": 1.5 * VIDEOS * 8}, {"hours": 0.01}])
def test_a_budget_is_divided_by_what_inputs_cost(make_record: MakeRecord, budget: dict[str, float]) -> None:
    config = load_config(make_record(**BUDGET), [f"optimizer.budget={budget}"])
    seconds = [0.1, 0.5] if "hours" in budget else []
    settled = budget_to_epochs(config, clips_per_epoch=[32, 36], seconds_per_clip=seconds)
    costs: list[float]
    whole, costs = 1.5 * 36 * 8 * 24 * 24, [32 * 4 * 16 * 16, 36 * 8 * 24 * 24]  # clips x frames x pixels
    if "hours" in budget:
        whole, costs = 36, [32 * 0.1, 36 * 0.5]
    expected = [share * whole / cost for share, cost in zip((0.25, 0.75), costs, strict=True)]
    assert [state.epochs for state in settled.states] == pytest.approx(expected, rel=1e-8)
    assert list_differences(settled, config) == []  # it is the same record
    assert load_config_text(settled) == settled


def load_config_text(config: RunConfig) -> RunConfig:
    """The configuration as its own YAML is read back."""
    return dataclasses.replace(load_sections(yaml.safe_load(config.to_yaml()), Path(f"{config.name}.yml")))


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("optimizer.budget={epochs: 2, hours: 1}", r"optimizer\.budget: found several units, expected one of epochs"),
        ("optimizer.budget={days: 2}", r"optimizer\.budget\.days: unknown key.*known: epochs, hours, frames"),
        ("optimizer.budget=20", r"optimizer\.budget: found 20, expected one of .*'epochs'"),
        ("optimizer.budget={epochs: -1}", r"optimizer\.budget\.epochs: found -1, must be at least 0"),
        ("optimizer.budget={}", r"optimizer\.shares: there is no budget to divide"),
        ("optimizer.shares=[0.5, 0.6]", r"optimizer\.shares: found \[0\.5, 0\.6\], which add up to 1\.1"),
        ("optimizer.shares=1", r"optimizer\.shares: found \[1, 1\], which add up to 2"),
        ("optimizer.shares=[0, 1]", r"optimizer\.shares: found 0, must be above 0"),
    ],
)
def test_a_budget_that_cannot_be_divided_is_refused(make_record: MakeRecord, override: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load_config(make_record(**BUDGET), [override])


@pytest.mark.parametrize("key", ["envelope=linear", "budget={epochs: 2}", "keep_momentum=true"])
def test_a_search_has_neither_envelope_nor_budget(key: str) -> None:
    with pytest.raises(ConfigError, match=rf"optimizer\.{key.partition('=')[0]}: a search trains its transitions"):
        load_config("record/search-synthetic-dg-p3d-resnet18.yml", [f"optimizer.{key}"])


def test_a_warm_up_that_does_not_fit_into_a_share_is_refused_once_it_is_known(make_record: MakeRecord) -> None:
    overrides = ("optimizer.envelope=none", "optimizer.warmup_epoch=1.2")
    with pytest.raises(ConfigError, match=r"1\.2 epochs of warm-up do not fit into the 1\.125 epochs of state 2"):
        train(make_record(**BUDGET), *overrides)


def test_a_budget_is_trained_and_the_result_says_that_it_is_spent(make_record: MakeRecord) -> None:
    record = make_record(**BUDGET)
    train(record)
    config = load_config(record)
    lines = [json.loads(line) for line in (config.run_dir / "log.jsonl").read_text().splitlines()]
    assert [(line["state"], line["clips"]) for line in lines] == [(0, 32), (0, 32), (1, 36), (1, 4)]
    saved = load_saved_config(config.saved_path)
    assert saved.optimizer.budget.epochs == 1.5
    history = read_history(config)
    assert (history.progress, history.differences) == ((saved.epochs_before(2), saved.epochs_before(2)), [])
    train(record)  # complete: the very same record
    with pytest.raises(ConfigError, match=r"optimizer\.budget: was \{'epochs': 1\.5\}, is \{'epochs': 3\}"):
        train(record, "optimizer.budget={epochs: 3}")


def test_hours_are_divided_by_costs_that_two_processes_measure_once(make_record: MakeRecord) -> None:
    record = make_record(**BUDGET)
    text = yaml.safe_load(record.read_text())
    text["optimizer"]["budget"] = {"hours": 2e-4}
    record.write_text(yaml.safe_dump(text))
    done = forked.run([sys.executable, "-m", "tests.stopped_ranks", record, "2", "stop"], check=True)
    config = load_config(record)
    costs = read_sealed_json(config.run_dir / "costs.json")
    first = load_saved_config(config.saved_path).states
    assert len(costs["seconds_per_clip"]) == 2 and min(costs["seconds_per_clip"]) > 0
    assert done.stdout.split("\n")[-2] in ("[143, 143]", "[0, 0]")
    train(record)  # one process goes on with the same numbers
    assert read_sealed_json(config.run_dir / "costs.json") == costs
    assert load_saved_config(config.saved_path).states == first
    content, position = load_checkpoint(config.weights_path)
    assert position == Position(2)
    assert content["config"]["optimizer"]["epochs"] == [state.epochs for state in first]


def test_measuring_leaves_the_training_as_it_is(make_record: MakeRecord) -> None:
    """Hours that come to the same epochs are trained to the same weights."""
    record = make_record("hours", **BUDGET)
    config = load_config(record, ["optimizer.budget={hours: 0.0002}"])
    train(record, "optimizer.budget={hours: 0.0002}")
    saved = load_saved_config(config.saved_path)
    epochs = [state.epochs for state in saved.states]
    plain = {**BUDGET, "optimizer": {**BUDGET["optimizer"], "budget": {}, "shares": 1, "epochs": epochs}}
    assert_equal(load_checkpoint(config.weights_path)[0]["network"], train(make_record("epochs", **plain)))
