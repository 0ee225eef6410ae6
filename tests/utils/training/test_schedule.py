"""The learning rate at every step, against torch's schedulers and explicit arithmetic."""

import itertools

import pytest
import torch

from utils.training.schedule import Schedule


def torch_rates(make_scheduler, base: float, count: int) -> list[float]:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=base)
    scheduler = make_scheduler(optimizer)
    rates = []
    for _ in range(count):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


def test_cosine_equals_torch() -> None:
    schedule = Schedule(base=0.04, batches_per_epoch=7, epochs=5)
    expected = torch_rates(
        lambda opt: torch.optim.lr_scheduler.CosineAnnealingLR(opt, T_max=35, eta_min=1e-6), 0.04, 35
    )
    assert [schedule.rate(batch) for batch in range(35)] == pytest.approx(expected, rel=1e-9)


def test_steps_equal_torch() -> None:
    schedule = Schedule(base=0.1, batches_per_epoch=10, epochs=9, decay_epochs=(3, 6), decay_rate=0.2)
    expected = torch_rates(
        lambda opt: torch.optim.lr_scheduler.MultiStepLR(opt, milestones=[30, 60], gamma=0.2), 0.1, 90
    )
    assert [schedule.rate(batch) for batch in range(90)] == pytest.approx(expected, rel=1e-9)


def test_warm_up_is_linear_from_a_hundredth_then_cosine_over_the_rest() -> None:
    schedule = Schedule(base=1.0, batches_per_epoch=10, epochs=6, warmup_epochs=2)
    rates = [schedule.rate(batch) for batch in range(60)]
    assert rates[0] == pytest.approx(0.01)
    differences = [after - before for before, after in itertools.pairwise(rates[:20])]
    assert differences == pytest.approx([0.99 / 20] * 19)
    assert rates[20] == 1.0
    assert rates[40] == pytest.approx((1 + 1e-6) / 2)  # half of the remaining 40 batches
    assert rates == rates[:21] + sorted(rates[21:], reverse=True)


def test_fractions_of_an_epoch_warm_up_too() -> None:
    schedule = Schedule(base=1.0, batches_per_epoch=10, epochs=2, warmup_epochs=0.5)
    assert schedule.rate(4) < 1.0
    assert schedule.rate(5) == 1.0


def test_the_released_path_records_keep_a_constant_rate() -> None:
    schedule = Schedule(
        base=0.004, batches_per_epoch=3, epochs=4, warmup_epochs=-1, decay_epochs=(1000000,), decay_rate=1.0
    )
    assert {schedule.rate(batch) for batch in range(12)} == {0.004}


def test_a_base_below_the_floor_never_rises() -> None:
    schedule = Schedule(base=1e-7, batches_per_epoch=5, epochs=2)
    assert max(schedule.rate(batch) for batch in range(10)) <= 1e-7
