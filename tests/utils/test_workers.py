"""Pools of worker processes; tests/scripts/test_stops.py has how they end with their parent."""

import multiprocessing

from utils.workers import process_pool


def test_a_pool_starts_all_its_processes_at_once() -> None:
    before = len(multiprocessing.active_children())
    with process_pool(3):
        assert len(multiprocessing.active_children()) - before == 3
