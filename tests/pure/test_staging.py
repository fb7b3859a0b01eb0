from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from parallelrun_jupyter.engine.node.stager import MAX_READ_AHEAD, READ_AHEAD_S, read_ahead

seconds = st.floats(0.0001, 1000.0)


@given(st.integers(1, 64), seconds, seconds)
def test_as_much_is_fetched_ahead_as_the_workers_get_through_meanwhile(
    workers: int, fetch_s: float, each_s: float
) -> None:
    ahead = read_ahead(workers, fetch_s, each_s)
    needed = workers * (fetch_s + READ_AHEAD_S) / each_s
    assert ahead >= min(max(needed, workers), MAX_READ_AHEAD)
    assert ahead <= max(2 * needed + 2, 2 * workers)
    assert ahead <= MAX_READ_AHEAD


def test_long_mini_batches_are_fetched_one_for_each_worker() -> None:
    assert read_ahead(2, 0.1, 600.0) == 2, "more would keep them from other nodes"
    assert read_ahead(2, 0.1, 0.0) == 4, "nothing is known yet"
