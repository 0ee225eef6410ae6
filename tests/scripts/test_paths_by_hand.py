"""Paths that a hand writes: one envelope, fractions of epochs, crops, momenta and budgets, trained for real."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch

import helpers
from dataset.build import make_plan, make_quick_loader, make_training_loader, read_evaluation_list, read_training_list
from tests.conftest import MakeRecord
from tests.scripts.test_train import assert_equal, train
from utils import stopping
from utils.config import RunConfig, load_config
from utils.planning.envelope import SHAPES, Envelope
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
    content, position = load_checkpoint(tmp_path / "output/whole/current.pth")
    assert position == Position(3)
    assert content["config"]["optimizer"]["epochs"] == [0.5, 1.4, 1]
    text = (tmp_path / "output/whole/log.txt").read_text()
    assert "state 2 of 3: clips of 1 x 8 frames, every 1, 20 px; rate 0.01" in text
    assert "1.4 epochs" in text and "epoch 2/2: loss" in text


def test_every_state_has_its_crop_and_the_evaluation_its_own(make_record: MakeRecord) -> None:
    config = load_config(make_record(**PATH), ["dataset.eva_crop_size=32"])
    videos = read_training_list(config)
    for index, side in enumerate((16, 20, 24)):
        loader, _ = make_training_loader(config, index, videos=videos, plan=make_plan(config, index))
        quick = make_quick_loader(
            config, config.states[index], videos=read_evaluation_list(config), root_path=config.dataset.eva_root_path
        )
        assert next(iter(loader)).clips.shape[2:4] == next(iter(quick)).clips.shape[2:4] == (side, side)
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
