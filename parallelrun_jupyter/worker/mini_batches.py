"""Makes what ``run()`` gets from a plan line."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing is not worth its import in a worker
    from typing import Any


def load(row: list[Any]) -> Any:
    """Return the mini-batch of a plan line: of files, the list of their paths."""
    return list(row[2])


def count_items(row: list[Any]) -> int:
    """Return the number of items of a plan line."""
    return len(row[2])
