"""Envelopes: known values, and integrals against closed forms and a fine sum."""

import math

import numpy as np
import pytest

from utils.planning.envelope import SHAPES, Envelope


@pytest.mark.parametrize("shape", SHAPES)
def test_an_envelope_begins_at_the_peak_and_all_but_constant_and_steps_end_at_zero(shape: str) -> None:
    envelope = Envelope(shape)
    assert envelope.factor(0.0) == 1
    assert envelope.factor(1.0) == pytest.approx({"constant": 1.0, "steps": 0.01}.get(shape, 0.0), abs=1e-15)


def test_known_points() -> None:
    assert Envelope("linear").factor(0.25) == 0.75
    assert Envelope("cosine").factor(0.5) == pytest.approx(0.5)
    assert [Envelope("wsd").factor(u) for u in (0.6, 0.8, 1.0)] == pytest.approx([1.0, 0.5, 0.0])
    assert [Envelope("steps").factor(u) for u in (0.49, 0.5, 0.74, 0.75)] == [1.0, 0.1, 0.1, 0.01]


def test_one_warmup_rises_to_the_shape() -> None:
    envelope = Envelope("linear", warmup=0.1, start=0.2)
    assert envelope.factor(0.0) == pytest.approx(0.2)
    assert envelope.factor(0.05) == pytest.approx(0.6 * 0.95)
    assert envelope.factor(0.1) == pytest.approx(0.9)
    assert envelope.factor(0.5) == 0.5


@pytest.mark.parametrize(
    ("shape", "whole"),
    [("linear", 0.5), ("cosine", 0.5), ("wsd", 0.6 + 0.2), ("steps", 0.5 + 0.025 + 0.0025), ("constant", 1.0)],
)
def test_whole_integrals_have_closed_forms(shape: str, whole: float) -> None:
    assert Envelope(shape).integral(0.0, 1.0) == pytest.approx(whole, rel=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("warmup", [0.0, 0.08])
def test_integrals_agree_with_a_fine_sum_and_add_up(shape: str, warmup: float) -> None:
    envelope = Envelope(shape, warmup=warmup, start=0.1)
    for start, end in ((0.0, 0.05), (0.03, 0.61), (0.4, 1.0)):
        middles = start + (end - start) * (np.arange(100_000) + 0.5) / 100_000
        fine = np.mean([envelope.factor(float(u)) for u in middles]) * (end - start)
        assert envelope.integral(start, end) == pytest.approx(fine, rel=1e-4)
        middle = (start + end) / 3
        if start < middle < end:
            parts = envelope.integral(start, middle) + envelope.integral(middle, end)
            assert envelope.integral(start, end) == pytest.approx(parts, rel=1e-12)
    assert envelope.integral(0.3, 0.3) == 0
    assert math.isfinite(envelope.integral(0.0, 1.0))
