"""Pools of processes; how they end with their parent is in tests/scripts/test_stops.py."""

import multiprocessing

from utils.workers import process_pool


def test_a_pool_starts_all_of_its_processes_while_signals_are_blocked() -> None:
    before = len(multiprocessing.active_children())
    with process_pool(3):
        assert len(multiprocessing.active_children()) - before == 3
