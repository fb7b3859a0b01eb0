"""Ranges of mini-batches: each belongs to one node, which makes one part of the output of it.

A part holds the rows of mini-batches that follow one another, so that the parts in the order of
their first mini-batches are the rows in input order. Therefore a range is divided wherever that
would not hold: at a mini-batch that is given up, or at one that is still missing when the others
are too large to wait for it.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Iterable, Iterator
from heapq import heappop, heappush

from ...runs.journal.events import AttemptSucceeded
from ...runs.journal.state import FAILED, SUCCEEDED, RunState
from .mini_batch_range import SMALLEST, MiniBatchRange, Part, size_at, streaks_of
from .pending import Span

PART_BYTES = 128 << 20
"""Rows of a range that are put when there are so many of them, also where others are missing."""

KEPT_BYTES = 4 << 30
"""A node that keeps so many rows gets no more mini-batches until some of them are in the store."""


class RangeAllocator:
    """All mini-batches of a run that are not over: in whose range they are, or in nobody's.

    Parameters
    ----------
    state
        The fold of the journal: what is planned, what is over, and what was tried how often.
    only
        Hand out these alone, in increasing order; None for all.
    """

    def __init__(self, state: RunState, only: Iterable[int] | None = None) -> None:
        self._state = state
        self._only = only is not None
        #: the first mini-batch that is in no range
        self._next = 0
        self._firsts: list[int] = []
        self._ranges: dict[int, MiniBatchRange] = {}
        self._owned: dict[str, dict[int, MiniBatchRange]] = {}
        #: where the ranges begin that have no owner, some of which may have one by now
        self._spare: list[int] = []
        #: those with mini-batches that their owner was not given yet
        self._open: dict[int, MiniBatchRange] = {}
        self._putting: dict[int, Part] = {}
        self._putting_bytes: dict[str, int] = {}
        #: those of them that nobody was told of yet
        self._ready: list[Part] = []
        for first, end in streaks_of(only or ()):
            self._add(MiniBatchRange(first, end, next=first))

    def __bool__(self) -> bool:
        """Say whether there is anything that is not over and in the store."""
        return bool(self._ranges or self._putting)

    @property
    def is_putting(self) -> bool:
        """Whether a part is on its way into the store."""
        return bool(self._putting)

    def has(self, node: str) -> bool:
        """Say whether a node has a range."""
        return bool(self._owned.get(node))

    def _kept_bytes(self, node: str) -> int:
        """Return how many bytes of rows a node keeps that are not in the store."""
        owned = self._owned.get(node, {}).values()
        return sum(one.kept_bytes for one in owned) + self._putting_bytes.get(node, 0)

    def ready(self) -> list[Part]:
        """Return the parts that are to be put now; each is returned once."""
        ready, self._ready = self._ready, []
        return ready

    # Handing out

    def take(self, node: str, room: int) -> list[Span]:
        """Hand out up to ``room`` mini-batches to a node: of its own ranges first, then of another.

        Where no range is without an owner, it takes over half of what somebody else was not given;
        while there may be more to come, not of a few, since each time makes one more part.
        """
        found: list[int] = []
        for one in list(self._owned.get(node, {}).values()):
            found += self._more_of(one, room - len(found))
        while len(found) < room:
            left = room - len(found)
            claimed = self._spare_one(left) or self._fresh_one(left)
            if claimed is None:
                break
            found += self._more_of(self._own(claimed, node), left)
        taken = self._half_of_one(node) if len(found) < room else None
        if taken is not None:
            found += self._more_of(self._own(taken, node), room - len(found))
        return list(self._stretches(found))

    def _more_of(self, one: MiniBatchRange, room: int) -> list[int]:
        count = min(room, len(one.waiting))
        found = [one.waiting.popleft() for _ in range(count)]
        end = min(one.next + room - count, one.end, self._state.planned)
        if end > one.next:
            found += range(one.next, end)
            one.next = end
            self._update_capacity(one)
        return found

    def _stretches(self, mini_batches: list[int]) -> Iterator[Span]:
        first = count = attempt = 0
        for mini_batch in mini_batches:
            tried = self._state.tries.get(mini_batch, 0) + 1
            if count and mini_batch == first + count and tried == attempt:
                count += 1
                continue
            if count:
                yield first, count, attempt
            first, count, attempt = mini_batch, 1, tried
        if count:
            yield first, count, attempt

    def _own(self, one: MiniBatchRange, node: str) -> MiniBatchRange:
        one.owner = node
        self._owned.setdefault(node, {})[one.first] = one
        self._update_capacity(one)
        return one

    def _spare_one(self, room: int) -> MiniBatchRange | None:
        while self._spare:
            if self._spare[0] >= self._state.planned:
                return None  # nothing of it is listed yet
            one = self._ranges.get(heappop(self._spare))
            if one is not None and not one.owner:
                size = size_at(one.first, room)
                if one.end - one.first > size:
                    self._divide(one, one.first + size)
                return one
        return None

    def _fresh_one(self, room: int) -> MiniBatchRange | None:
        state = self._state
        while self._next < state.planned and self._is_over(self._next):
            self._next += 1  # a resume: they are in the store, or given up
        if self._only or self._next >= state.planned:
            return None
        first = self._next
        end = first + size_at(first, room)
        if state.plan_finished:
            end = min(end, state.planned)
        known = range(first + 1, min(end, len(state.statuses)))
        end = next((k for k in known if self._is_over(k)), end)
        self._next = end
        return self._add(MiniBatchRange(first, end, next=first), spare=False)

    def _is_over(self, mini_batch: int) -> bool:
        return self._state.status_of(mini_batch) in {SUCCEEDED, FAILED}

    def _half_of_one(self, node: str) -> MiniBatchRange | None:
        """Divide what the owner of a range was not given yet, where there is most of it."""
        planned = self._state.planned
        found, most = None, 0 if self._state.plan_finished else 2 * SMALLEST - 1
        for one in self._open.values():
            rest = min(one.end, planned) - one.next
            if one.owner != node and rest > most:
                found, most = one, rest
        if found is None:
            return None
        at = found.next + most // 2
        right = found if at == found.first else self._divide(found, at)
        self._disown(right)
        self._put_if_whole(found)
        return right

    # What becomes of them

    def keep(self, event: AttemptSucceeded) -> None:
        """Note that the owner of a mini-batch keeps its rows."""
        one = self._at(event.mini_batch)
        one.kept[event.mini_batch] = event
        one.kept_bytes += event.length
        if one.kept_bytes >= PART_BYTES:
            self._put_largest(one)
        else:
            self._put_if_whole(one)

    def again(self, mini_batch: int) -> None:
        """Note that the owner of a mini-batch is to be given it once more; without one, anybody."""
        one = self._at(mini_batch)
        if one.owner:
            one.waiting.append(mini_batch)
        else:
            heappush(self._spare, one.first)

    def drop(self, mini_batch: int) -> None:
        """Forget a mini-batch that was given up: the part before it ends there."""
        self._remove(self._cut_out(mini_batch, mini_batch + 1))
        for side in (mini_batch - 1, mini_batch + 1):
            one = self._find(side)
            if one is not None:
                self._put_if_whole(one)

    def settle(self) -> None:
        """Note that the listing has ended: the last range ends there."""
        planned = self._state.planned
        for one in [r for r in self._ranges.values() if r.end > planned]:
            if one.first >= planned:
                self._remove(one)
            else:
                one.end, one.next = planned, min(one.next, planned)
                self._update_capacity(one)
                self._put_if_whole(one)

    def flush(self, node: str) -> None:
        """Take its ranges away from a node that has nothing to do; it puts what it keeps of them."""
        for one in list(self._owned.get(node, {}).values()):
            for first, end in one.streaks():
                self._put(self._cut_out(first, end))
        for one in list(self._owned.get(node, {}).values()):
            self._give_up(one)

    def lose(self, node: str, charged: Iterable[int]) -> None:
        """Note that a node is gone, with the rows that it kept: others are to run that again.

        Parameters
        ----------
        node
            Which one.
        charged
            What is not to be run before it was told that it has failed.
        """
        for part in [p for p in self._putting.values() if p.owner == node]:
            del self._putting[part.first]
            end = part.first + len(part.kept)
            self._add(MiniBatchRange(part.first, end, next=part.first))
        self._putting_bytes.pop(node, None)
        self._ready = [part for part in self._ready if part.owner != node]
        for mini_batch in charged:
            self._disown(self._cut_out(mini_batch, mini_batch + 1))
        for one in list(self._owned.pop(node, {}).values()):
            self._give_up(one)

    def stored(self, first: int, node: str) -> Part | None:
        """Return the part that a node was putting, which is in the store now; None: late news."""
        part = self._putting.get(first)
        if part is None or part.owner != node:
            return None
        del self._putting[first]
        self._putting_bytes[node] -= part.size_bytes
        return part

    def is_full(self, node: str) -> bool:
        """Say whether a node keeps so much that it is to get nothing, and let it put something."""
        if self._kept_bytes(node) < KEPT_BYTES:
            return False
        if not self._putting_bytes.get(node, 0):
            self._put_largest(max(self._owned[node].values(), key=lambda r: r.kept_bytes))
        return True

    # Their bounds

    def _at(self, mini_batch: int) -> MiniBatchRange:
        one = self._find(mini_batch)
        assert one is not None, mini_batch
        return one

    def _find(self, mini_batch: int) -> MiniBatchRange | None:
        index = bisect_right(self._firsts, mini_batch) - 1
        one = self._ranges[self._firsts[index]] if index >= 0 else None
        return one if one is not None and mini_batch < one.end else None

    def _add(self, one: MiniBatchRange, *, spare: bool = True) -> MiniBatchRange:
        insort(self._firsts, one.first)
        self._ranges[one.first] = one
        if one.owner:
            self._owned.setdefault(one.owner, {})[one.first] = one
        elif spare:
            heappush(self._spare, one.first)
        self._update_capacity(one)
        return one

    def _remove(self, one: MiniBatchRange) -> None:
        del self._ranges[one.first]
        del self._firsts[bisect_right(self._firsts, one.first) - 1]
        self._disown(one)

    def _disown(self, one: MiniBatchRange) -> None:
        self._owned.get(one.owner, {}).pop(one.first, None)
        self._open.pop(one.first, None)
        one.owner = ""

    def _give_up(self, one: MiniBatchRange) -> None:
        """Let anybody have a range, from its beginning: what was kept of it is gone."""
        self._disown(one)
        one.next, one.kept_bytes = one.first, 0
        one.waiting.clear()
        one.kept.clear()
        heappush(self._spare, one.first)

    def _update_capacity(self, one: MiniBatchRange) -> None:
        if one.owner and one.next < one.end:
            self._open[one.first] = one
        else:
            self._open.pop(one.first, None)

    def _divide(self, one: MiniBatchRange, at: int) -> MiniBatchRange:
        """Let a range end at ``at``; return the range of the rest, which has the same owner."""
        right = one.divide(at)
        self._update_capacity(one)
        return self._add(right)

    def _cut_out(self, first: int, end: int) -> MiniBatchRange:
        """Return the range of mini-batches ``first`` to ``end - 1``, which are in one range."""
        one = self._at(first)
        if one.first < first:
            one = self._divide(one, first)
        if one.end > end:
            self._divide(one, end)
        return one

    def _put_if_whole(self, one: MiniBatchRange) -> None:
        if one.owner and one.is_whole:
            self._put(one)

    def _put_largest(self, one: MiniBatchRange) -> None:
        """Put the kept mini-batches of a range that follow one another and have most rows."""
        streaks = {sum(one.kept[k].length for k in range(*s)): s for s in one.streaks()}
        self._put(self._cut_out(*streaks[max(streaks)]))

    def _put(self, one: MiniBatchRange) -> None:
        part = Part(one.first, one.owner, one.kept, one.kept_bytes)
        self._putting[one.first] = part
        self._putting_bytes[one.owner] = self._putting_bytes.get(one.owner, 0) + one.kept_bytes
        self._ready.append(part)
        self._remove(one)
