"""Commands for nodes of a cluster: their times survive a queue and a way between two clocks."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from parallelrun_jupyter.backends.dask.commands import Command, shifted

OTHERS: list[Command] = [("put", 3, ((3, 0, 5, 0),)), ("stop", True), ("pause",), ("leave",)]
# Quarters of milliseconds are exact in binary, and so are their sums.
MS = st.integers(0, 10**9).map(lambda quarters: quarters / 4)


@given(after_ms=MS, waits_ms=MS, here_ms=MS, there_ms=MS)
def test_a_start_is_the_same_moment_on_a_machine_with_another_clock(
    after_ms: float, waits_ms: float, here_ms: float, there_ms: float
) -> None:
    queued = [("assign", 7, 1, [b"x"], here_ms + after_ms, 20.0), *OTHERS]
    sent = shifted(queued, -(here_ms + waits_ms))
    assert sent[0][4] == after_ms - waits_ms
    received = shifted(sent, there_ms + waits_ms)
    assert received[0] == ("assign", 7, 1, [b"x"], there_ms + after_ms, 20.0)
    assert received[1:] == OTHERS


def test_a_mini_batch_without_a_pace_has_no_start() -> None:
    command = ("assign", 7, 1, [b"x"], 0.0, 0.0)
    assert shifted([command], 1000) == [command]
