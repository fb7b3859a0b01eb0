"""Groups of failures: those raised at the same line."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(slots=True)
class FailureGroup:
    """Failures raised at the same line.

    ``first_mini_batch`` is -1 if the import of the script or ``init()`` failed. ``mini_batches_lost``
    counts the mini-batches of which all items failed for good, the last one here, ``items_lost`` the
    items that failed for good, ``items_missing`` the items without a result in mini-batches that succeeded.
    """

    group: str
    kind: str
    error: str
    message: str
    traceback: str
    first_mini_batch: int
    attempts: int = 0
    mini_batches_lost: int = 0
    items_lost: int = 0
    items_missing: int = 0

    @property
    def cost(self) -> tuple[int, int, int]:
        """Items, mini-batches and attempts lost, for sorting."""
        return self.items_lost + self.items_missing, self.mini_batches_lost, self.attempts


def costliest_first(groups: Iterable[FailureGroup]) -> list[FailureGroup]:
    """Return groups of failures in display order."""
    return sorted(groups, key=lambda group: group.cost, reverse=True)
