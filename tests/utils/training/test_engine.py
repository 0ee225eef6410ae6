"""An epoch of training against the same arithmetic in float64."""

import copy
import functools
import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from layers.losses import HeadsLoss
from utils.training.batches import StateLength, StepPlan, plan_steps
from utils.training.engine import EpochTotals, Learner, StepHooks, TrainingError, evaluate, train_epoch
from utils.training.precision import Precision, PrecisionError, autocast, make_scaler, resolve_precision
from utils.training.schedule import Schedule

CPU = torch.device("cpu")


class TwoHeads(nn.Module):
    """A linear network with two classifiers over the mean of a clip."""

    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        self.fc, self.fc_dual = nn.Linear(2, classes), nn.Linear(2, classes)
        self.unused: nn.Parameter | None = None

    def forward(self, clips: Tensor) -> tuple[Tensor, Tensor]:
        x = clips.mean(dim=(2, 3, 4))
        return self.fc(x), self.fc_dual(x)

    def fuse(self, heads: tuple[Tensor, ...]) -> Tensor:
        return torch.stack(heads).mean(0)


def make_batches(count: int, *, size: int = 2, seed: int = 0) -> list[SimpleNamespace]:
    generator = torch.Generator().manual_seed(seed)
    return [
        SimpleNamespace(
            clips=torch.randint(0, 256, (size, 1, 1, 1, 2), generator=generator, dtype=torch.uint8),
            labels=torch.randint(0, 3, (size,), generator=generator),
            skipped=0,
            notes=(),
        )
        for _ in range(count)
    ]


def normalize(clips: Tensor) -> Tensor:
    return (clips.permute(0, 4, 1, 2, 3) / 255).double()


def make_schedule(plan: StepPlan, num_videos: int, epochs: int = 2) -> Schedule:
    return Schedule(
        base=0.1, batches_per_epoch=plan.record_batches_per_epoch(num_videos), epochs=epochs, warmup_epochs=1
    )


def rate_by(schedule: Schedule, plan: StepPlan, num_videos: int) -> Callable[[int, int], float]:
    return lambda epoch, step: schedule.rate(plan.schedule_position(epoch=epoch, step=step, num_videos=num_videos))


def make_learner(network: TwoHeads, *, plan: StepPlan, num_videos: int, epochs: int = 2, **changes: Any) -> Learner:
    settings: dict[str, Any] = {"clip_gradient": 0.05, "loss_weight": 4.0, "dtype": None, "mix": None} | changes
    return Learner(
        network=network,
        model=network,
        optimizer=torch.optim.SGD(
            [
                {"params": list(network.fc.parameters()), "rate_factor": 10.0},
                {"params": list(network.fc_dual.parameters()), "rate_factor": 1.0},
            ],
            lr=0.0,
            momentum=0.9,
            nesterov=True,
            weight_decay=0.01,
        ),
        scaler=make_scaler(CPU, settings["dtype"]),
        rate=rate_by(make_schedule(plan, num_videos, epochs), plan, num_videos),
        length=StateLength.of_epochs(epochs, plan, num_videos=num_videos),
        plan=plan,
        criterion=DoubleLoss(),
        normalize=normalize,
        device=CPU,
        seed=(0, 0),
        num_videos=num_videos,
        **settings,
    )


class DoubleLoss(HeadsLoss):
    """The loss without its float32 cast, so that the comparison is exact to float64."""

    def forward(self, heads: tuple[Tensor, ...], targets: Tensor) -> Tensor:
        return torch.stack([F.cross_entropy(logits, targets) for logits in heads]).sum()


def run_epoch(learner: Learner, batches: list[SimpleNamespace], *, epoch: int = 0, **changes: Any) -> EpochTotals:
    hooks: dict[str, Any] = {"report": lambda done, line: None, "report_every": 1}
    hooks |= {"save": lambda done, totals: None, "save_every": 0}
    hooks |= {name: changes.pop(name) for name in tuple(changes) if name in hooks}
    settings: dict[str, Any] = {"first_step": 0, "totals": EpochTotals()} | changes
    return train_epoch(learner, batches, epoch=epoch, hooks=StepHooks(**hooks), **settings)


def by_hand(
    network: TwoHeads, batches: list[SimpleNamespace], *, group: int, schedule: Schedule
) -> dict[str, np.ndarray]:
    """Softmax regression of two heads with accumulation, clipping and Nesterov SGD, in numpy."""
    weights = {name: value.detach().numpy().copy() for name, value in network.named_parameters()}
    velocity = {name: np.zeros_like(value) for name, value in weights.items()}
    for begin in range(0, len(batches), group):
        members = batches[begin : begin + group]  # the last group may be smaller, and divides by its own size
        gradient = {name: np.zeros_like(value) for name, value in weights.items()}
        for batch in members:
            x = batch.clips.numpy().reshape(-1, 2).astype(np.float32) / np.float32(255)
            x = x.astype(np.float64)
            for head in ("fc", "fc_dual"):
                logits = x @ weights[f"{head}.weight"].T + weights[f"{head}.bias"]
                p = np.exp(logits - logits.max(1, keepdims=True))
                p /= p.sum(1, keepdims=True)
                p[np.arange(len(x)), batch.labels.numpy()] -= 1
                p *= 4.0 / len(members) / len(x)
                gradient[f"{head}.weight"] += p.T @ x
                gradient[f"{head}.bias"] += p.sum(0)
        norm = math.sqrt(sum((value**2).sum() for value in gradient.values()))
        factor = min(1.0, 0.05 / (norm + 1e-6))
        rate = schedule.rate(begin + len(members) - 1)
        for name in weights:
            d = gradient[name] * factor + 0.01 * weights[name]
            velocity[name] = 0.9 * velocity[name] + d
            weights[name] -= rate * (10 if name.startswith("fc.") else 1) * (d + 0.9 * velocity[name])
    return weights


def test_steps_equal_the_explicit_arithmetic() -> None:
    torch.manual_seed(0)
    network = TwoHeads().double()
    plan = plan_steps(batch_size=2, iter_size=3, num_gpu=1, world_size=1)
    learner = make_learner(network, plan=plan, num_videos=14)  # 7 micro-batches: groups of 3, 3 and 1
    expected = by_hand(network, make_batches(7), group=3, schedule=make_schedule(plan, 14))
    run_epoch(learner, make_batches(7))
    for name, value in network.named_parameters():
        np.testing.assert_allclose(value.detach().numpy(), expected[name], rtol=1e-12, atol=1e-15)


def test_totals_are_means_over_clips() -> None:
    torch.manual_seed(0)
    network = TwoHeads().double()
    plan = plan_steps(batch_size=2, iter_size=1, num_gpu=1, world_size=1)
    learner = make_learner(network, plan=plan, num_videos=6)
    learner.rate = lambda epoch, step: 0.0  # the network stays as it is
    batches = make_batches(3)
    expected = np.mean([learner.criterion(network(normalize(b.clips)), b.labels).item() for b in batches])
    lines: list[dict[str, float]] = []
    totals = run_epoch(learner, batches, report=lambda done, line: lines.append(line), report_every=2)
    assert totals.clips == 6
    assert totals.loss_sum / totals.clips == pytest.approx(expected, rel=1e-12)
    assert len(lines) == 2  # after step 2 and at the end
    assert lines[-1]["loss"] == pytest.approx(expected, rel=1e-12)


def test_an_epoch_interrupted_at_any_step_ends_at_the_same_weights() -> None:
    plan = plan_steps(batch_size=2, iter_size=2, num_gpu=1, world_size=1)

    def fresh() -> Learner:
        torch.manual_seed(1)
        return make_learner(TwoHeads().double(), plan=plan, num_videos=14)

    whole = fresh()
    saved: list[tuple[int, dict, EpochTotals]] = []
    totals = run_epoch(
        whole,
        make_batches(7),
        save_every=1,
        report_every=100,
        save=lambda done, so_far: saved.append((done, copy.deepcopy(whole.state_dict()), copy.deepcopy(so_far))),
    )
    assert [done for done, _, _ in saved] == [1, 2, 3, 4]
    for done, content, so_far in saved:
        again = fresh()
        again.load_state_dict(content)
        resumed = run_epoch(again, make_batches(7)[done * 2 :], first_step=done, totals=so_far)
        assert resumed.loss_sum == totals.loss_sum
        assert resumed.clips == totals.clips == 14
        for mine, theirs in zip(again.network.parameters(), whole.network.parameters(), strict=True):
            assert torch.equal(mine, theirs)


@pytest.mark.parametrize("adam", [False, True])
def test_training_resumes_in_another_memory_format(adam: bool) -> None:
    plan = plan_steps(batch_size=2, iter_size=1, num_gpu=1, world_size=1)
    kernel = torch.randn(6, 5, 1, 3, 3, dtype=torch.float64)
    gradient = torch.randn(6, 5, 1, 3, 3, dtype=torch.float64)

    def fresh(layout: torch.memory_format) -> Learner:
        network = TwoHeads().double()
        network.unused = nn.Parameter(kernel.clone().contiguous(memory_format=layout))
        learner = make_learner(network, plan=plan, num_videos=6)
        make = torch.optim.AdamW if adam else functools.partial(torch.optim.SGD, momentum=0.9)
        learner.optimizer = make([network.unused], lr=0.1, fused=True)
        return learner

    def step(learner: Learner) -> Tensor:
        weight = learner.network.get_parameter("unused")
        weight.grad = torch.empty_like(weight).copy_(gradient)
        learner.optimizer.step()
        return weight.detach().clone()

    plain, last = fresh(torch.contiguous_format), fresh(torch.channels_last_3d)
    step(plain)
    last.load_state_dict(copy.deepcopy(plain.state_dict()))
    torch.testing.assert_close(step(last), step(plain), rtol=1e-12, atol=0)


def test_a_non_finite_loss_stops_with_advice() -> None:
    plan = plan_steps(batch_size=2, iter_size=1, num_gpu=1, world_size=1)
    network = TwoHeads().double()
    nn.init.constant_(network.fc.weight, math.inf)
    with pytest.raises(
        TrainingError, match=r"NaN or infinite by step 1 of epoch 1; lower optimizer\.base_learning_rate"
    ):
        run_epoch(make_learner(network, plan=plan, num_videos=6), make_batches(3))


def test_a_weight_outside_the_loss_is_named() -> None:
    plan = plan_steps(batch_size=2, iter_size=1, num_gpu=1, world_size=1)
    network = TwoHeads().double()
    network.unused = nn.Parameter(torch.ones(1))
    with pytest.raises(TrainingError, match="1 weights do not contribute to the loss and would not be trained: unused"):
        run_epoch(make_learner(network, plan=plan, num_videos=6), make_batches(3))


def test_validation_counts_like_a_sort() -> None:
    torch.manual_seed(3)
    network = TwoHeads(classes=7)
    network.fc_dual.load_state_dict(network.fc.state_dict())
    plan = plan_steps(batch_size=2, iter_size=1, num_gpu=1, world_size=1)
    learner = make_learner(network, plan=plan, num_videos=6)
    learner.normalize = lambda clips: normalize(clips).float()
    batches = make_batches(40, size=3)
    batches[3].skipped = 2
    right = {1: 0, 3: 0, 5: 0}
    for batch in batches:
        order = network.fc(learner.normalize(batch.clips).mean(dim=(2, 3, 4))).argsort(dim=1, descending=True)
        for row, label in zip(order.tolist(), batch.labels.tolist(), strict=True):
            for k in right:
                right[k] += label in row[:k]
    score = evaluate(learner, batches, num_classes=7)
    assert (score.top1, score.top3, score.top5) == pytest.approx(tuple(100 * right[k] / 120 for k in (1, 3, 5)))
    assert score.mean == pytest.approx((score.top1 + score.top3 + score.top5) / 3)
    assert (score.videos, score.missing) == (120, 2)


def test_top_5_of_three_classes_is_capped_at_two() -> None:
    torch.manual_seed(3)
    network = TwoHeads()
    plan = plan_steps(batch_size=2, iter_size=1, num_gpu=1, world_size=1)
    learner = make_learner(network, plan=plan, num_videos=6)
    learner.normalize = lambda clips: normalize(clips).float()
    score = evaluate(learner, make_batches(60), num_classes=3)
    assert score.top1 < score.top3 == score.top5 < 100


def test_bf16_is_used() -> None:
    seen: list[torch.dtype] = []
    network = TwoHeads()
    network.fc.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    plan = plan_steps(batch_size=2, iter_size=1, num_gpu=1, world_size=1)
    learner = make_learner(network, plan=plan, num_videos=6, dtype=torch.bfloat16)
    learner.normalize, learner.criterion = lambda clips: normalize(clips).float(), HeadsLoss()
    run_epoch(learner, make_batches(3))
    assert set(seen) == {torch.bfloat16}
    assert all(weight.dtype == torch.float32 for weight in network.parameters())


@pytest.mark.parametrize("found, expected", [({}, None), ({"avx512_bf16": True}, torch.bfloat16)])
def test_automatic_precision_follows_the_processor(
    found: dict[str, bool], expected: torch.dtype | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: found, raising=False)  # absent in torch 2.6
    assert resolve_precision("auto", CPU, base_width=64, find_fault=str) == Precision(expected)


def test_narrow_networks_are_float32_on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless bf16 is set; the processor is then not checked."""
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True}, raising=False)
    narrow = resolve_precision("auto", CPU, base_width=63, find_fault=lambda: pytest.fail("asked"))
    said = "network.base_width 63 is below 64: bf16 would save little time"
    assert (narrow.dtype, str(narrow)) == (None, f"float32 ({said})")
    assert resolve_precision("bf16", CPU, base_width=8, find_fault=str) == Precision(torch.bfloat16)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {}, raising=False)
    assert resolve_precision("auto", CPU, base_width=8, find_fault=str) == Precision(None)


def test_precisions_of_a_cpu() -> None:
    assert resolve_precision("off", CPU, base_width=64, find_fault=str).dtype is None
    assert resolve_precision("bf16", CPU, base_width=64, find_fault=str).name == "bfloat16"
    with pytest.raises(PrecisionError, match="fp16 needs a GPU"):
        resolve_precision("fp16", CPU, base_width=64, find_fault=str)
    with autocast(CPU, None):
        assert not torch.is_autocast_enabled("cpu")


@pytest.mark.parametrize("limit", ["AVX2", "avx512_core"])
def test_bf16_disabled_in_onednn_is_not_used(limit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True}, raising=False)
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", limit)
    assert resolve_precision("auto", CPU, base_width=64, find_fault=str) == Precision(None)
    emulated = resolve_precision("bf16", CPU, base_width=64, find_fault=str)
    assert emulated.dtype == torch.bfloat16
    assert "this processor has no bf16 instructions" in str(emulated)


def test_a_processor_with_incorrect_bf16_trains_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True}, raising=False)
    chosen = resolve_precision("auto", CPU, base_width=64, find_fault=lambda: "3x1x1 over 2 frames: inf")
    assert chosen.dtype is None
    assert str(chosen) == "float32 (this processor and torch compute bf16 incorrectly: 3x1x1 over 2 frames: inf)"
    with pytest.raises(PrecisionError, match=r"3x1x1 over 2 frames: inf\); use off, or auto"):
        resolve_precision("bf16", CPU, base_width=64, find_fault=lambda: "3x1x1 over 2 frames: inf")


def test_label_smoothing_and_soft_targets() -> None:
    heads = (torch.randn(5, 4), torch.randn(5, 4))
    labels = torch.tensor([0, 1, 2, 3, 0])
    target = F.one_hot(labels, 4).double() * 0.9 + 0.1 / 4
    expected = torch.stack([-(target * F.log_softmax(logits.double(), 1)).sum(1).mean() for logits in heads]).sum()
    assert HeadsLoss(label_smoothing=0.1)(heads, labels).item() == pytest.approx(expected.item(), rel=1e-6)
    assert HeadsLoss(label_smoothing=0.7)(heads, target.float()).item() == pytest.approx(expected.item(), rel=1e-6)


def test_mixing_is_seeded_by_the_position() -> None:
    drawn: list[float] = []

    def mix(clips: Tensor, labels: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        drawn.append(torch.rand((), generator=generator).item())
        return clips, labels

    plan = plan_steps(batch_size=2, iter_size=2, num_gpu=1, world_size=1)
    for _ in range(2):
        run_epoch(make_learner(TwoHeads().double(), plan=plan, num_videos=8, mix=mix), make_batches(4))
    assert drawn[:4] == drawn[4:]
    assert len(set(drawn[:4])) == 4
