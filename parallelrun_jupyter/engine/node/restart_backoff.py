"""When a node starts its next worker, and under which name."""

from __future__ import annotations

import time

_DELAYS_S = (0.0, 0.0, 0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0)


class RestartBackoff:
    """Later and later, while workers end without having done anything.

    Parameters
    ----------
    node
        The node's name; its workers are ``<node>w0``, ``<node>w1`` and so on.
    slots
        Number of workers: each may fail before the next round waits longer.
    """

    def __init__(self, node: str, slots: int) -> None:
        self._node = node
        self._slots = slots
        self._numbers = 0
        self._failed = 0
        #: ``time.monotonic()`` of the next start
        self.due_at = 0.0

    def next_name(self) -> str:
        """Return the name of the next worker."""
        self._numbers += 1
        return f"{self._node}w{self._numbers - 1}"

    def put_off(self, *, barren: bool) -> None:
        """Take note of an end: of a worker that has done nothing (barren), or something."""
        self._failed = self._failed + 1 if barren else 0
        round_number = max(0, self._failed - 1) // max(1, self._slots)
        self.due_at = time.monotonic() + _DELAYS_S[min(round_number, len(_DELAYS_S) - 1)]
