"""Ranges of the items of a mini-batch: ``(first, count)`` of each, in increasing order."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing is not worth its import in a worker
    from typing import Any, Iterable, Iterator

    Ranges = tuple[tuple[int, int], ...]


def count_of(ranges: Iterable[tuple[int, int]]) -> int:
    """Return the number of items."""
    return sum(count for _, count in ranges)


def items_in(ranges: Iterable[Any]) -> Iterator[int]:
    """Yield the positions of the items."""
    for first, count in ranges:
        yield from range(first, first + count)


def merged(ranges: Iterable[tuple[int, int]]) -> Ranges:
    """Return ranges in increasing order, with adjacent ones joined."""
    joined: list[tuple[int, int]] = []
    for first, count in sorted(ranges):
        if joined and sum(joined[-1]) == first:
            joined[-1] = joined[-1][0], joined[-1][1] + count
        elif count:
            joined.append((first, count))
    return tuple(joined)


def without(of: int, ranges: Iterable[tuple[int, int]]) -> Ranges:
    """Return the items of a mini-batch of ``of`` items that are in none of the ranges.

    The ranges may overlap.
    """
    rest: list[tuple[int, int]] = []
    end = 0
    for first, count in merged(ranges):
        if first > end:
            rest.append((end, first - end))
        end = max(end, first + count)
    if of > end:
        rest.append((end, of - end))
    return tuple(rest)


def split(ranges: Ranges, count: int) -> tuple[Ranges, Ranges]:
    """Return the first ``count`` items, and the rest."""
    end = 0
    for number, (first, size) in enumerate(ranges):
        if end + size > count:
            inside = count - end
            head = ranges[:number] + (((first, inside),) if inside else ())
            return head, ((first + inside, size - inside), *ranges[number + 1 :])
        end += size
    return ranges, ()


def without_item(ranges: Ranges, item: int) -> Ranges:
    """Return ranges without one item; the same ranges if they do not have it."""
    rest: list[tuple[int, int]] = []
    for first, count in ranges:
        if first <= item < first + count:
            rest += [(first, item - first), (item + 1, first + count - item - 1)]
        else:
            rest.append((first, count))
    return tuple(pair for pair in rest if pair[1])


def pieces(ranges: Ranges, limit: int) -> list[Ranges]:
    """Return ranges in pieces of at most ``limit`` items each; 0 for no limit."""
    divided = []
    while limit and count_of(ranges) > limit:
        head, ranges = split(ranges, limit)
        divided.append(head)
    return [*divided, ranges]
