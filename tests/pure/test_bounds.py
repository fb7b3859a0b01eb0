"""The lower bound of the benchmark of faults."""

from __future__ import annotations

from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from benchmarks.work import earliest_end

ATTEMPTS = st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=3), min_size=1, max_size=30)


@given(ATTEMPTS, st.integers(1, 5))
def test_the_bound_is_within_those_of_any_schedule(attempts: list[list[int]], workers: int) -> None:
    total = sum(map(sum, attempts))
    longest = max(map(sum, attempts))
    end = earliest_end(attempts, workers)
    assert max(total / workers, longest) <= end <= total
    assert earliest_end(attempts, 1) == total
    assert earliest_end(attempts, len(attempts)) == longest


@given(st.lists(st.integers(0, 5), min_size=1, max_size=6), st.integers(1, 3))
def test_no_assignment_in_input_order_ends_earlier(seconds: list[int], workers: int) -> None:
    """Each mini-batch starts, in input order, on one of the workers; all choices are tried."""
    ends = []
    for choice in product(range(workers), repeat=len(seconds)):
        free, started = [0] * workers, 0
        for worker, each_s in zip(choice, seconds, strict=True):
            started = max(started, free[worker])
            free[worker] = started + each_s
        ends.append(max(free))
    assert earliest_end([[each_s] for each_s in seconds], workers) == min(ends)
