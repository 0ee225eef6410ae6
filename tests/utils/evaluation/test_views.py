"""Scoring several videos concurrently: in order, and with the same scores as one by one."""

import threading
import time
from collections.abc import Iterator

import pytest
import torch

from utils.errors import UserError
from utils.evaluation.views import CPU_VIDEOS, score_ahead

CPU = torch.device("cpu")


def test_results_are_yielded_in_order() -> None:
    def score(item: int) -> int:
        time.sleep(0.02 if item % 3 == 0 else 0)
        return item * item

    assert list(score_ahead(range(20), score, device=CPU)) == [(item, item * item) for item in range(20)]


def test_two_are_scored_at_the_same_time() -> None:
    together = threading.Barrier(CPU_VIDEOS, timeout=20)
    assert len(list(score_ahead(range(4 * CPU_VIDEOS), lambda item: together.wait(), device=CPU))) == 4 * CPU_VIDEOS


def test_items_are_taken_only_when_needed() -> None:
    """Memory of yielded items is reused."""
    taken: list[int] = []

    def items() -> Iterator[int]:
        for item in range(50):
            taken.append(item)
            yield item

    for item, _ in score_ahead(items(), lambda item: None, device=CPU):
        assert len(taken) - item <= CPU_VIDEOS + 1


@pytest.mark.parametrize("device", [CPU, torch.device("cuda")])
def test_an_error_of_the_source_follows_the_earlier_scores(device: torch.device) -> None:
    def items() -> Iterator[int]:
        yield from range(3)
        raise UserError("video 3 is broken")

    seen = []
    with pytest.raises(UserError, match="video 3"):
        for item, score in score_ahead(items(), lambda item: -item, device=device):
            seen.append((item, score))
    assert seen == [(0, 0), (1, -1), (2, -2)]


@pytest.mark.parametrize("device", [CPU, torch.device("cuda")])
def test_an_error_of_scoring_follows_the_earlier_scores(device: torch.device) -> None:
    def score(item: int) -> float:
        return 1 / (3 - item)

    seen = []
    with pytest.raises(ZeroDivisionError):
        for item, _ in score_ahead(range(9), score, device=device):
            seen.append(item)
    assert seen == [0, 1, 2]


def test_workers_divide_torchs_threads() -> None:
    before = torch.get_num_threads()
    threads = {count for _, count in score_ahead(range(8), lambda item: torch.get_num_threads(), device=CPU)}
    assert threads == {-(-before // CPU_VIDEOS)}
    assert torch.get_num_threads() == before


def test_closing_the_iterator_stops_the_work() -> None:
    scored: list[int] = []
    results = score_ahead(range(1000), scored.append, device=CPU)
    next(results)
    results.close()  # type: ignore[attr-defined]
    count = len(scored)
    assert count <= CPU_VIDEOS + 2
    time.sleep(0.05)
    assert len(scored) == count
