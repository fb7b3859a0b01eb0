"""Tells when all mini-batches of a run are assigned, so that they can be sent together."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

from ...worker.plan_line import END_MARK

_QUIET_S = 2.0
"""Without a new assignment for so long, no more are expected."""

_TAIL_BYTES = 256


class Settling:
    """The state of the assignments.

    Parameters
    ----------
    plan
        The plan file. Its last line has the number of mini-batches.
    """

    def __init__(self, plan: Path) -> None:
        self._plan = plan
        self._planned = -1
        self._end = 0
        self._assigned_at = 0.0
        #: mini-batches that the scheduler still has; -1 before it was told
        self.left = -1

    def note_assigned(self, end: int) -> None:
        """Note that mini-batches before ``end`` have been assigned."""
        self._end = max(self._end, end)
        self._assigned_at = time.monotonic()

    def is_settled(self, waiting: int) -> bool:
        """Return whether these waiting mini-batches are all that are to be sent."""
        if self._planned < 0:
            self._planned = _planned_in(self._plan)
        if self._planned < 0:
            return False
        is_all = waiting == self.left and self._end == self._planned
        return is_all or time.monotonic() - self._assigned_at > _QUIET_S


def _planned_in(plan: Path) -> int:
    """Return the number of mini-batches of a complete plan; -1 while it is not."""
    with open(plan, "rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES))
        last = file.read().removesuffix(b"\n").rpartition(b"\n")[2]
    return int(json.loads(last)[1]) if last.startswith(END_MARK) and last.endswith(b"]") else -1
