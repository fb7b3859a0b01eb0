"""The items of a mini-batch that have an answer, for mini-batches that were not answered at once."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ...worker.item_ranges import count_of, merged, without
from .events import ItemRanges

FailedRange = tuple[int, int, str]
"""Position of the first item, count, and failure group of consecutive items that failed for good."""


@dataclass(slots=True)
class Answers:
    """The answers to the items of one mini-batch of ``of`` items."""

    of: int
    #: (first, count) of each range of items that succeeded, in increasing order
    succeeded: list[tuple[int, int]] = field(default_factory=list)
    failed: list[FailedRange] = field(default_factory=list)

    @property
    def items_failed(self) -> int:
        """Number of items that failed for good."""
        return count_of((first, count) for first, count, _ in self.failed)

    @property
    def last_group(self) -> str:
        """The group of the last failure, in which a mini-batch without any success is counted."""
        return self.failed[-1][2]

    @property
    def is_complete(self) -> bool:
        """Whether every item has an answer."""
        return count_of(self.succeeded) + self.items_failed == self.of

    @property
    def left(self) -> ItemRanges:
        """The items without an answer."""
        return without(self.of, (*self.succeeded, *((k, n) for k, n, _ in self.failed)))

    def succeed(self, first: int, count: int) -> None:
        """Count consecutive items as succeeded."""
        self.succeeded = list(merged((*self.succeeded, (first, count))))

    def fail(self, ranges: ItemRanges, group: str) -> None:
        """Count items as failed for good."""
        self.failed += [(first, count, group) for first, count in ranges]

    def reopen(self, group: str) -> str:
        """Count the items that failed in a group, or in any, as left; return the group of one of them."""
        reopened = [failed for failed in self.failed if not group or failed[2] == group]
        self.failed = [failed for failed in self.failed if group and failed[2] != group]
        return reopened[-1][2] if reopened else ""

    def drop(self, first: int, count: int) -> None:
        """Count consecutive items that succeeded as left."""
        others = without(self.of, [*without(self.of, self.succeeded), (first, count)])
        self.succeeded = list(others)

    def to_json(self) -> list[Any]:
        """Return the answers as JSON."""
        return [self.of, self.succeeded, self.failed]

    @classmethod
    def of_json(cls, values: list[Any]) -> Answers:
        """Read the answers from JSON."""
        of, succeeded, failed = values
        return cls(of, list(map(tuple, succeeded)), list(map(tuple, failed)))
