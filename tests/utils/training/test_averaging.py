"""The average of the weights and the recalculation of batch norm: arithmetic, state changes, interrupted runs."""

import functools
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from layers.norm import BatchNorm3d, set_frozen_batch_norm
from tests.conftest import MakeRecord, few_videos
from tests.networks import tiny_network
from tests.scripts.test_train import TWO_STATES, assert_equal, train
from tests.utils.training.test_engine import TwoHeads, make_batches, make_learner, run_epoch
from utils.config import load_config
from utils.training.averaging import WeightAverage, recalculate_statistics
from utils.training.batches import plan_steps
from utils.training.checkpoint import Position, load_checkpoint, load_tensors
from utils.training.state import TrainingRecord
from utils.training.weight_files import network_weights

CPU = torch.device("cpu")


@pytest.fixture
def make_record(make_record: MakeRecord, tiny_set: Path, tmp_path: Path) -> MakeRecord:
    """Records of five steps an epoch."""
    return functools.partial(make_record, dataset=few_videos(tiny_set, tmp_path, num_train=20, num_test=5))


def test_the_average_equals_the_explicit_recursion() -> None:
    network: Any = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)).double()
    average = WeightAverage(network, decay=0.3)
    expected = network[0].weight.detach().clone()
    for step in range(1, 6):
        with torch.no_grad():
            network[0].weight += torch.randn(2, 3).double()
            network[1].num_batches_tracked += 1
        average.update()
        decay = min(0.3, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * network[0].weight.detach()
        torch.testing.assert_close(average.average["0.weight"], expected)
    assert decay == 0.3 and average.average["1.num_batches_tracked"] == 5
    own = network[0].weight.detach().clone()
    with average.swapped_in():
        torch.testing.assert_close(network[0].weight.detach(), expected)
    assert torch.equal(network[0].weight, own)


class CountedCalls(TorchDispatchMode):
    """Count the operators that are called."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.calls.append(str(func))
        return func(*args, **(kwargs or {}))


def test_a_step_averages_all_tensors_in_two_calls_bit_equal() -> None:
    network = tiny_network("dg_p3d_resnet18").half()
    network.fc.float()  # two types
    average = WeightAverage(network, decay=0.9)
    expected = {name: tensor.clone() for name, tensor in average.average.items()}
    for step in range(1, 4):
        with torch.no_grad():
            for tensor in (*network.parameters(), *network.buffers()):
                tensor += 1 if tensor.dtype == torch.int64 else torch.randn_like(tensor)
        with CountedCalls() as counted:
            average.update()
        assert counted.calls == ["aten._foreach_lerp_.Scalar", "aten._foreach_copy_.default"]
        for name, tensor in network.state_dict().items():
            if tensor.is_floating_point():
                expected[name].lerp_(tensor, 1 - min(0.9, (1 + step) / (10 + step)))
            else:
                expected[name].copy_(tensor)
        assert_equal(average.average, expected)
        average.swap()  # what update() was given to work on stays right behind an evaluation
        average.swap()


def test_gradients_are_clipped_by_calls_on_all_tensors() -> None:
    plan = plan_steps(batch_size=2, iter_size=1, num_gpu=1, world_size=1)
    learner = make_learner(TwoHeads().double(), plan=plan, num_videos=2, clip_gradient=1e-3)
    learner.average = WeightAverage(learner.network, decay=0.9)
    with CountedCalls() as counted:
        run_epoch(learner, make_batches(1))
    assert [call.split(".")[1] for call in counted.calls if "foreach" in call] == [
        *("_foreach_norm", "_foreach_mul_", "_foreach_lerp_")
    ]
    norm = torch.stack([tensor.grad.norm() for tensor in learner.network.parameters()]).norm()  # type: ignore[union-attr]
    assert norm.item() == pytest.approx(1e-3, rel=1e-2)


def test_training_continues_from_the_weights_and_passes_their_average_on() -> None:
    plan = plan_steps(batch_size=2, iter_size=1, num_gpu=1, world_size=1)
    networks = []
    for decay in (0.0, 0.9):
        torch.manual_seed(2)
        network = TwoHeads().double()
        learner = make_learner(network, plan=plan, num_videos=12)
        learner.average = WeightAverage(network, decay=decay) if decay else None
        run_epoch(learner, make_batches(6))
        networks.append(network)
    assert torch.equal(networks[0].fc.weight, networks[1].fc.weight)
    assert learner.average is not None and learner.average.steps == 6
    result = {key: tensor.clone() for key, tensor in learner.result().items()}
    assert not torch.equal(result["fc.weight"], network.fc.weight)
    with learner.evaluation_weights():
        assert torch.equal(network.fc.weight, result["fc.weight"])
    learner.finish()
    assert learner.average is None
    assert torch.equal(network.fc.weight, result["fc.weight"])
    assert network.fc.weight.requires_grad


def test_recalculated_statistics_are_means_over_the_batches() -> None:
    torch.manual_seed(0)
    norm: Any = BatchNorm3d(2)
    network = nn.Sequential(norm, nn.Dropout(0.9)).train()
    nn.init.constant_(norm.running_mean, 7.0)
    norm.num_batches_tracked += 9
    norm.frozen = True
    batches = [torch.randint(0, 256, (3, 2, 4, 5, 5), dtype=torch.uint8) for _ in range(5)]
    recalculate_statistics(network, batches, normalize=lambda clips: clips / 255, dtype=None, device=CPU)
    exact = torch.stack(batches).double() / 255
    means = torch.stack([batch.transpose(0, 1).flatten(1).mean(1) for batch in exact])
    variances = torch.stack([batch.transpose(0, 1).flatten(1).var(1) for batch in exact])
    torch.testing.assert_close(norm.running_mean.double(), means.mean(0), atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(norm.running_var.double(), variances.mean(0), atol=1e-6, rtol=1e-5)
    assert norm.momentum == 0.1 and not norm.training


def test_recalculation_reaches_every_norm_and_no_weight() -> None:
    network = tiny_network("dg_p3d_resnet18")
    set_frozen_batch_norm(network, True)
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    batches = [torch.randn(2, 3, 4, 32, 32) for _ in range(2)]
    recalculate_statistics(network, batches, normalize=lambda clips: clips, dtype=None, device=CPU)
    changed = {key for key, tensor in network.state_dict().items() if not torch.equal(tensor, before[key])}
    assert changed == {key for key in before if "running" in key or "num_batches" in key}
    again = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    recalculate_statistics(network, batches, normalize=lambda clips: clips, dtype=None, device=CPU)
    assert_equal(again, network.state_dict())


AVERAGED = ("optimizer.ema=0.8", "optimizer.precise_bn=3")


def test_interrupted_averaged_and_recalculated_runs_end_bit_equal(
    make_record: MakeRecord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saves = (*AVERAGED, "logging.save_steps=1")
    expected = train(make_record("whole", **TWO_STATES), *AVERAGED)
    record = make_record("cut", **TWO_STATES)
    save = TrainingRecord.save
    for target in [Position(0, 1, 4), Position(1, 0, 0), Position(1, 0, 2)]:

        def cut(self: TrainingRecord, learner: Any, position: Position, *rest: Any, **names: Any) -> None:
            save(self, learner, position, *rest, **names)
            if position == target:  # noqa: B023
                raise KeyboardInterrupt

        monkeypatch.setattr(TrainingRecord, "save", cut)
        with pytest.raises(KeyboardInterrupt):
            train(record, *saves)
        content = load_checkpoint(tmp_path / "output/cut/current.pth")[0]
        assert ("average" in content) == (target.step > 0)
    monkeypatch.setattr(TrainingRecord, "save", save)
    assert_equal(expected, train(record, *saves))


def test_a_state_ends_with_the_average_that_was_evaluated(make_record: MakeRecord, tmp_path: Path) -> None:
    plain = train(make_record("plain", optimizer={"epochs": 1}))
    record = make_record("averaged", optimizer={"epochs": 1})
    found: list[dict[str, Tensor]] = []
    original = WeightAverage.update

    def keep(self: WeightAverage) -> None:
        original(self)
        found[:] = [{key: tensor.clone() for key, tensor in self.average.items()}]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(WeightAverage, "update", keep)
        averaged = train(record, "optimizer.ema=0.8")
    assert_equal(averaged, found[0])
    assert not torch.equal(plain["fc.weight"], averaged["fc.weight"])
    path = tmp_path / "output/averaged/current.pth"
    assert_equal(network_weights(load_tensors(path), path), averaged)


def test_an_unfinished_state_is_evaluated_with_its_average() -> None:
    content = {"network": {"fc.bias": torch.zeros(2)}, "average": {"fc.bias": torch.ones(2)}, "average_steps": 3}
    assert torch.equal(network_weights(content, Path("current.pth"))["fc.bias"], torch.ones(2))


def test_batch_norm_is_recalculated_only_at_state_changes(
    make_record: MakeRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, int]] = []

    def count(_network: nn.Module, batches: Any, **_settings: Any) -> None:
        shapes = [tuple(clips.shape) for clips in batches]
        seen.append((len(shapes), shapes[0][1]))

    monkeypatch.setattr("utils.training.state.recalculate_statistics", count)
    train(make_record("two", **TWO_STATES), "optimizer.precise_bn=3")
    assert seen == [(3, 16)]  # three micro-batches of clips of 16 frames, the second state's


def test_frozen_norms_keep_the_recalculated_statistics(make_record: MakeRecord, tmp_path: Path) -> None:
    weights = train(make_record(**TWO_STATES), "optimizer.precise_bn=3", "logging.save_freq=1")
    before = load_checkpoint(tmp_path / "output/tiny/state1_epoch002.pth")[0]["network"]
    moved = [name for name in weights if name.endswith("running_mean") and not torch.equal(before[name], weights[name])]
    assert len(moved) == sum(name.endswith("running_mean") for name in weights)


def test_both_are_off_by_default() -> None:
    config = load_config("record/synthetic-dg-p3d-resnet18.yml")
    assert (config.optimizer.ema, config.optimizer.precise_bn) == (0.0, 0)
    assert (config.network.stochastic_depth, config.network.checkpoint_blocks) == (-1, False)
