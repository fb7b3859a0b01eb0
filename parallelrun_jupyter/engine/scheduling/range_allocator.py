"""Allocation in ranges: each belongs to one node, which uploads it as one part of the output.

A part holds the rows of consecutive mini-batches, so that the parts, ordered by their first
mini-batch, are the rows in input order. A range is therefore split at a mini-batch that has failed
for good, and at one that is still missing when the finished rows have become too large to hold.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush

from ...runs.journal.state import FAILED, PARTLY, SUCCEEDED, RunState
from .allocation import Finished, Part, Span

SMALLEST, LARGEST = 4, 1024
"""Minimum number of mini-batches in a range: few at first, so that a part is stored early."""

GROWTH = 256
"""Ranges grow by one mini-batch for each 256 before them, so that unfinished work stays a small
share of the run: a million mini-batches make some 2,400 parts, ten million 11,000."""

PART_BYTES = 128 << 20
"""A range uploads its largest stretch of rows at this size, even if mini-batches are missing."""

HELD_BYTES = 4 << 30
"""A node that holds this many bytes of rows gets no mini-batches until some are stored."""


def size_at(first: int, room: int = 0) -> int:
    """Return the number of mini-batches in a range that begins at ``first``.

    A node with more free capacity gets more: its mini-batches are short, so the part is not late.
    """
    return min(max(first // GROWTH, SMALLEST, room), LARGEST)


def consecutive(mini_batches: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Yield (first, end) of each stretch of consecutive numbers in an increasing sequence."""
    first = end = -1
    for mini_batch in mini_batches:
        if mini_batch != end:
            if first >= 0:
                yield first, end
            first = mini_batch
        end = mini_batch + 1
    if first >= 0:
        yield first, end


@dataclass(slots=True, eq=False)
class MiniBatchRange:
    """Mini-batches ``first`` to ``end - 1``; ``owner`` is a node, or empty."""

    first: int
    end: int
    owner: str = ""
    #: the first mini-batch that the owner has not been assigned yet
    next: int = 0
    #: mini-batches to assign to the owner again, and the times before which they are not assigned
    requeued: deque[tuple[int, int]] = field(default_factory=deque)
    #: finished mini-batches whose rows the owner holds, in the order in which they finished
    held: dict[int, Finished] = field(default_factory=dict)
    held_bytes: int = 0

    @property
    def is_complete(self) -> bool:
        """Whether the owner holds the rows of all mini-batches."""
        return len(self.held) == self.end - self.first

    def split(self, at: int) -> MiniBatchRange:
        """End before mini-batch ``at``; return the rest as a range of the same owner."""
        right = MiniBatchRange(at, self.end, self.owner, max(at, self.next))
        right.requeued.extend(pair for pair in self.requeued if pair[0] >= at)
        right.held = {k: finished for k, finished in self.held.items() if k >= at}
        right.held_bytes = sum(finished.size_bytes for finished in right.held.values())
        self.end, self.next = at, min(self.next, at)
        self.held = {k: finished for k, finished in self.held.items() if k < at}
        self.held_bytes -= right.held_bytes
        self.requeued = deque(pair for pair in self.requeued if pair[0] < at)
        return right


class RangeAllocator:
    """The ranges of a run whose nodes upload the output themselves.

    Rows never reach the driver. A node holds a finished mini-batch until the part with its rows is
    stored; only then does it count as succeeded. Rows that a lost node had not uploaded are
    computed again.

    Parameters
    ----------
    state
        The fold of the journal.
    """

    uploads_parts = True

    def __init__(self, state: RunState) -> None:
        self._state = state
        self._only_retries = False
        #: the first mini-batch that is in no range
        self._next = 0
        #: the first mini-batches of the ranges, in increasing order
        self._firsts: list[int] = []
        self._ranges: dict[int, MiniBatchRange] = {}
        self._owned: dict[str, dict[int, MiniBatchRange]] = {}
        #: a heap of the first mini-batches of ranges without an owner; entries may be out of date
        self._free: list[int] = []
        #: owned ranges with mini-batches that are not assigned yet
        self._open: dict[int, MiniBatchRange] = {}
        self._uploading: dict[int, Part] = {}
        self._uploading_bytes: dict[str, int] = {}
        #: uploads that `ready_parts` has not returned yet
        self._ready: list[Part] = []

    def __bool__(self) -> bool:
        """Return whether a range is unfinished or not stored."""
        return bool(self._ranges or self._uploading)

    @property
    def is_exhausted(self) -> bool:
        """Whether nothing is left to run of the mini-batches planned so far."""
        return not self and (self._only_retries or self._next >= self._state.planned)

    @property
    def is_uploading(self) -> bool:
        """Whether a part is being uploaded."""
        return bool(self._uploading)

    @property
    def finished_items(self) -> int:
        """Items of mini-batches that have finished, and whose rows are not stored yet."""
        groups = [range_.held for range_ in self._ranges.values()]
        groups += [part.finished for part in self._uploading.values()]
        finished = [one for group in groups for one in group.values()]
        answered = sum(event.items for one in finished for event in one.results)
        # An item without a result is one of those that were answered.
        return answered + sum(e.items for one in finished for e in one.failures if e.ranges)

    def resume(self, retries: Sequence[int], *, only_these: bool) -> None:
        """Make ranges of the retries if only they are to run; new ranges include them otherwise."""
        self._only_retries = only_these
        if only_these:
            for first, end in consecutive(retries):
                self._add(MiniBatchRange(first, end, next=first))

    def end_plan(self) -> None:
        """End the last range at the end of the plan."""
        planned = self._state.planned
        for range_ in [r for r in self._ranges.values() if r.end > planned]:
            if range_.first >= planned:
                self._remove(range_)
            else:
                range_.end, range_.next = planned, min(range_.next, planned)
                self._update_open(range_)
                self._upload_if_complete(range_)

    # Assigning

    def next(self, node: str, room: int, now_ms: int, /) -> list[Span]:
        """Return up to ``room`` mini-batches for a node: from its own ranges, then from a new one.

        If no range is free, the node takes over half of the largest unassigned rest of another
        node. While the plan grows, small rests stay with their owner, since each take-over adds a
        part.
        """
        if self._is_full(node):
            return []
        mini_batches: list[int] = []
        for range_ in list(self._owned.get(node, {}).values()):
            mini_batches += self._take_from(range_, room - len(mini_batches), now_ms)
        while (left := room - len(mini_batches)) > 0:
            claimed = self._claim_free(left) or self._claim_new(left)
            if claimed is None:
                break
            mini_batches += self._take_from(self._set_owner(claimed, node), left, now_ms)
        half = self._claim_half(node) if left > 0 else None
        if half is not None:
            mini_batches += self._take_from(self._set_owner(half, node), left, now_ms)
        return list(self._spans(mini_batches))

    def _is_full(self, node: str) -> bool:
        """Return whether a node holds too many rows; start an upload if none is in progress."""
        owned = self._owned.get(node, {}).values()
        uploading_bytes = self._uploading_bytes.get(node, 0)
        if sum(range_.held_bytes for range_ in owned) + uploading_bytes < HELD_BYTES:
            return False
        if not uploading_bytes:
            self._upload_largest(max(owned, key=lambda range_: range_.held_bytes))
        return True

    def _take_from(self, range_: MiniBatchRange, room: int, now_ms: int) -> list[int]:
        due = [pair for pair in range_.requeued if pair[1] <= now_ms][:room]
        for pair in due:
            range_.requeued.remove(pair)
        mini_batches = [mini_batch for mini_batch, _ in due]
        end = min(range_.next + room - len(due), range_.end, self._state.planned)
        if end > range_.next:
            mini_batches += range(range_.next, end)
            range_.next = end
            self._update_open(range_)
        return mini_batches

    def _spans(self, mini_batches: list[int]) -> Iterator[Span]:
        first = count = attempt = 0
        for mini_batch in mini_batches:
            next_attempt = self._state.tries.get(mini_batch, 0) + 1
            if count and mini_batch == first + count and next_attempt == attempt:
                count += 1
                continue
            if count:
                yield Span(first, count, attempt)
            first, count, attempt = mini_batch, 1, next_attempt
        if count:
            yield Span(first, count, attempt)

    def _claim_free(self, room: int) -> MiniBatchRange | None:
        """Return the first range without an owner, cut to the usual size."""
        while self._free:
            if self._free[0] >= self._state.planned:
                return None
            range_ = self._ranges.get(heappop(self._free))
            if range_ is not None and not range_.owner:
                size = size_at(range_.first, room)
                if range_.end - range_.first > size:
                    self._split(range_, range_.first + size)
                return range_
        return None

    def _claim_new(self, room: int) -> MiniBatchRange | None:
        """Return a range of mini-batches that were not in any range."""
        state = self._state
        while self._next < state.planned and self._is_over(self._next):
            self._next += 1  # after a resume: stored, or failed for good
        if self._only_retries or self._next >= state.planned:
            return None
        first = self._next
        end = first + size_at(first, room)
        if state.plan_finished:
            end = min(end, state.planned)
        recorded = range(first + 1, min(end, len(state.statuses)))
        self._next = next((k for k in recorded if self._is_over(k)), end)
        return self._add(MiniBatchRange(first, self._next, next=first), is_free=False)

    def _is_over(self, mini_batch: int) -> bool:
        return self._state.status_of(mini_batch) in {SUCCEEDED, FAILED, PARTLY}

    def _claim_half(self, node: str) -> MiniBatchRange | None:
        """Return half of the largest unassigned rest that another node has."""
        planned = self._state.planned
        largest, most = None, 0 if self._state.plan_finished else 2 * SMALLEST - 1
        for range_ in self._open.values():
            rest = min(range_.end, planned) - range_.next
            if range_.owner != node and rest > most:
                largest, most = range_, rest
        if largest is None:
            return None
        at = largest.next + most // 2
        right = largest if at == largest.first else self._split(largest, at)
        self._remove_owner(right)
        self._upload_if_complete(largest)
        return right

    # Results

    def hold(self, finished: Finished, /) -> None:
        """Hold a finished mini-batch, and start the upload of a complete or large range."""
        range_ = self._range_of(finished.mini_batch)
        range_.held[finished.mini_batch] = finished
        range_.held_bytes += finished.size_bytes
        if range_.held_bytes >= PART_BYTES:
            self._upload_largest(range_)
        else:
            self._upload_if_complete(range_)

    def requeue(self, mini_batches: Iterable[int], due_ms: int = 0, /) -> None:
        """Assign mini-batches to the owners of their ranges again, or to any node."""
        for mini_batch in mini_batches:
            range_ = self._range_of(mini_batch)
            if range_.owner:
                range_.requeued.append((mini_batch, due_ms))
            else:
                heappush(self._free, range_.first)

    def drop(self, mini_batch: int, /) -> None:
        """Split the range of a mini-batch that has failed for good."""
        self._remove(self._isolate(mini_batch, mini_batch + 1))
        for neighbor in (mini_batch - 1, mini_batch + 1):
            range_ = self._find(neighbor)
            if range_ is not None:
                self._upload_if_complete(range_)

    # Nodes

    def start_over(self, mini_batches: Sequence[int], /) -> None:
        """Refuse: column types are not assumed for a run whose nodes upload parts."""
        raise NotImplementedError(mini_batches)

    def withhold(self, mini_batch: int, /) -> None:
        """Refuse: a run whose nodes upload parts withholds nothing."""
        raise NotImplementedError(mini_batch)

    def stop_withholding(self) -> None:
        """Do nothing: none is left out."""

    def node_lost(self, node: str, /) -> None:
        """Free the ranges of a lost node, including those it was uploading."""
        for part in [p for p in self._uploading.values() if p.node == node]:
            del self._uploading[part.first]
            end = part.first + len(part.finished)
            self._add(MiniBatchRange(part.first, end, next=part.first))
        self._uploading_bytes.pop(node, None)
        self._ready = [part for part in self._ready if part.node != node]
        for range_ in list(self._owned.pop(node, {}).values()):
            self._reset(range_)

    def release(self, node: str, /) -> None:
        """Upload the rows that an idle node holds, and free the rest of its ranges."""
        for range_ in list(self._owned.get(node, {}).values()):
            for first, end in consecutive(sorted(range_.held)):
                self._upload(self._isolate(first, end))
        for range_ in list(self._owned.get(node, {}).values()):
            self._reset(range_)

    # Uploads

    def ready_parts(self) -> list[Part]:
        """Return the parts whose upload can start; each is returned once."""
        ready, self._ready = self._ready, []
        return ready

    def part_stored(self, first: int, node: str, /) -> Part | None:
        """Return the part that a node has uploaded; None if the node had lost it."""
        part = self._uploading.get(first)
        if part is None or part.node != node:
            return None
        del self._uploading[first]
        self._uploading_bytes[node] -= part.size_bytes
        return part

    def _upload_if_complete(self, range_: MiniBatchRange) -> None:
        if range_.owner and range_.is_complete:
            self._upload(range_)

    def _upload_largest(self, range_: MiniBatchRange) -> None:
        """Upload the consecutive mini-batches of a range that hold the most bytes."""
        stretches = consecutive(sorted(range_.held))
        by_bytes = {sum(range_.held[k].size_bytes for k in range(*s)): s for s in stretches}
        self._upload(self._isolate(*by_bytes[max(by_bytes)]))

    def _upload(self, range_: MiniBatchRange) -> None:
        node, size_bytes = range_.owner, range_.held_bytes
        part = Part(range_.first, node, range_.held, size_bytes)
        self._uploading[part.first] = part
        self._uploading_bytes[node] = self._uploading_bytes.get(node, 0) + size_bytes
        self._ready.append(part)
        self._remove(range_)

    # Bounds and owners

    def _range_of(self, mini_batch: int) -> MiniBatchRange:
        range_ = self._find(mini_batch)
        assert range_ is not None, mini_batch
        return range_

    def _find(self, mini_batch: int) -> MiniBatchRange | None:
        index = bisect_right(self._firsts, mini_batch) - 1
        range_ = self._ranges[self._firsts[index]] if index >= 0 else None
        return range_ if range_ is not None and mini_batch < range_.end else None

    def _add(self, range_: MiniBatchRange, *, is_free: bool = True) -> MiniBatchRange:
        insort(self._firsts, range_.first)
        self._ranges[range_.first] = range_
        if range_.owner:
            self._owned.setdefault(range_.owner, {})[range_.first] = range_
        elif is_free:
            heappush(self._free, range_.first)
        self._update_open(range_)
        return range_

    def _remove(self, range_: MiniBatchRange) -> None:
        del self._ranges[range_.first]
        del self._firsts[bisect_right(self._firsts, range_.first) - 1]
        self._remove_owner(range_)

    def _split(self, range_: MiniBatchRange, at: int) -> MiniBatchRange:
        """End a range before mini-batch ``at``; return the rest, with the same owner."""
        right = range_.split(at)
        self._update_open(range_)
        return self._add(right)

    def _isolate(self, first: int, end: int) -> MiniBatchRange:
        """Split the range around ``first`` to ``end - 1`` until it is just these mini-batches."""
        range_ = self._range_of(first)
        if range_.first < first:
            range_ = self._split(range_, first)
        if range_.end > end:
            self._split(range_, end)
        return range_

    def _set_owner(self, range_: MiniBatchRange, node: str) -> MiniBatchRange:
        range_.owner = node
        self._owned.setdefault(node, {})[range_.first] = range_
        self._update_open(range_)
        return range_

    def _remove_owner(self, range_: MiniBatchRange) -> None:
        self._owned.get(range_.owner, {}).pop(range_.first, None)
        self._open.pop(range_.first, None)
        range_.owner = ""

    def _reset(self, range_: MiniBatchRange) -> None:
        """Free a range to run it from its beginning: the rows that its owner held are lost."""
        self._remove_owner(range_)
        range_.next, range_.held_bytes = range_.first, 0
        range_.requeued.clear()
        range_.held.clear()
        heappush(self._free, range_.first)

    def _update_open(self, range_: MiniBatchRange) -> None:
        if range_.owner and range_.next < range_.end:
            self._open[range_.first] = range_
        else:
            self._open.pop(range_.first, None)
