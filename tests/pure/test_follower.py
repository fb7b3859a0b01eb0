"""Watching a run takes the time that it was given, however slow the home is."""

from __future__ import annotations

import time
from typing import Any, cast

import pytest

from parallelrun_jupyter.runs.snapshot.follower import Follower, watch


class Slow:
    """A run that does not end, in a home that is slow to read."""

    def __init__(self, look_s: float) -> None:
        self.looks = 0
        self._look_s = look_s

    def refresh(self) -> dict[str, Any]:
        self.looks += 1
        time.sleep(self._look_s)
        return {"is_final": False}


@pytest.mark.parametrize(("look_s", "every_s"), [(0.2, 0.01), (0.0, 0.01), (0.0, 30.0)])
def test_a_timeout_counts_the_time_that_passes(look_s: float, every_s: float) -> None:
    run = Slow(look_s)
    shown: list[Any] = []
    began = time.monotonic()
    last: Any = watch(cast("Follower", run), shown.append, every_s=every_s, timeout_s=0.5)
    took = time.monotonic() - began
    assert 0.5 <= took < 0.5 + look_s + 0.25
    assert (last, len(shown)) == ({"is_final": False}, run.looks)
