"""The parts of an output in a store, and the order of the results in them.

Rows of items that failed at first come in a later part, and belong between rows of an earlier one. When
the output is published, such parts are spliced: their rows are written in order, as new parts. Rows
that a resume has dropped are left out.

The journal names the parts that nodes have uploaded. A file in the run's folder names the spliced
parts, and the parts of the journal that they replace.
"""

from __future__ import annotations

import json
import os
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from heapq import merge
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from ...errors import OutputError
from ...files import replacing
from ..journal.events import (
    IN_STORE,
    AttemptSucceeded,
    Event,
    ItemsSucceeded,
    PartStored,
    RowsDropped,
)

SPLICED_BYTES = 128 << 20
"""A spliced part ends at about this size, and at the end of a mini-batch."""

Key: TypeAlias = tuple[int, int]
"""Place of a result in the output: its mini-batch, and the position of its first item."""


class _Result(NamedTuple):
    """A result in a part, after ``offset`` rows."""

    key: Key
    offset: int
    rows: int


@dataclass(frozen=True, slots=True)
class StoredPart:
    """A part in the store.

    Parameters
    ----------
    name, rows, size_bytes
        The file.
    low, high
        The first and the last result in it.
    mini_batches
        Number of mini-batches with a result in it.
    drops
        Number of `RowsDropped` before it was stored: only later ones drop rows of it.
    sources
        For a spliced part: the parts of the journal that it replaces, some of them only partly.
    """

    name: str
    low: Key
    high: Key
    mini_batches: int
    rows: int
    size_bytes: int
    drops: int
    sources: tuple[str, ...] = ()

    @classmethod
    def of_json(cls, values: dict[str, Any]) -> StoredPart:
        """Read a part from JSON."""
        keys = ("low", "high", "sources")
        return cls(**values | {key: tuple(values[key]) for key in keys})


@dataclass(slots=True)
class Segment:
    """Consecutive rows of a part, of consecutive results.

    ``mini_batches`` counts the mini-batches that begin here.
    """

    name: str
    offset: int
    rows: int
    low: Key
    high: Key
    mini_batches: int


@dataclass(slots=True)
class PartGroup:
    """Parts with rows between each other's rows, and their rows in order.

    ``segments`` is empty if the group is one part as it is.
    """

    parts: list[StoredPart]
    segments: list[Segment] = field(default_factory=list)
    #: number of `RowsDropped` so far
    drops: int = 0

    def parts_in_use(self) -> list[StoredPart]:
        """Return the parts with rows that still count."""
        names = {segment.name for segment in self.segments}
        return [part for part in self.parts if not names or part.name in names]


class PartIndex:
    """The parts of a journal, in a few hundred bytes each."""

    def __init__(self) -> None:
        self._parts: dict[str, StoredPart] = {}
        #: (last item, number) of each drop
        self._drops: list[tuple[Key, int]] = []
        #: the results since the last part
        self._keys: list[Key] = []

    def note(self, event: Event) -> None:
        """Add the part of an event, or its results; other events are ignored."""
        if isinstance(event, AttemptSucceeded | ItemsSucceeded):
            if event.part == IN_STORE:
                self._keys.append(_key_of(event))
        elif isinstance(event, PartStored):
            keys, self._keys = self._keys or [(event.first, 0)], []
            if event.name:
                self._parts[event.name] = StoredPart(
                    name=event.name,
                    low=min(keys),
                    high=max(keys),
                    mini_batches=len({mini_batch for mini_batch, _ in keys}),
                    rows=event.rows,
                    size_bytes=event.size_bytes,
                    drops=len(self._drops),
                )
        elif isinstance(event, RowsDropped):
            last = event.mini_batch, event.first + event.items - 1
            self._drops.append((last, len(self._drops)))

    def __iter__(self) -> Iterator[StoredPart]:
        return iter(self._parts.values())

    def groups(self, spliced: Iterable[StoredPart] = ()) -> list[tuple[list[StoredPart], bool]]:
        """Return groups of parts in input order, and whether each is known to be one part as it is.

        Parts whose names begin with the same mini-batch are in one group, so that names sort in
        input order. ``spliced`` are the spliced parts; the parts that they replace are left out.
        """
        spliced = list(spliced)
        replaced = {name for part in spliced for name in part.sources}
        own = (part for name, part in self._parts.items() if name not in replaced)
        groups: list[list[StoredPart]] = []
        high: Key = (-1, 0)
        for part in sorted((*own, *spliced), key=lambda part: part.low):
            if groups and (part.low <= high or part.low[0] == groups[-1][0].low[0]):
                groups[-1].append(part)
                high = max(high, part.high)
            else:
                groups.append([part])
                high = part.high
        drops = sorted(self._drops)
        return [(group, len(group) == 1 and not _has_drops(group[0], drops)) for group in groups]


def _key_of(event: AttemptSucceeded | ItemsSucceeded) -> Key:
    return event.mini_batch, event.first if isinstance(event, ItemsSucceeded) else 0


def _has_drops(part: StoredPart, drops: list[tuple[Key, int]]) -> bool:
    """Return whether sorted drops may concern a part."""
    start = bisect_left(drops, (part.low, -1))
    end = bisect_right(drops, ((part.high[0] + 1, -1), -1))
    return any(number >= part.drops for _, number in drops[start:end])


class _PartResults:
    """The results in some parts, in 32 bytes each.

    Parameters
    ----------
    parts
        The parts, as they are in the store.
    """

    def __init__(self, parts: Iterable[StoredPart]) -> None:
        names = (name for part in parts for name in part.sources or [part.name])
        #: by part of the journal: number of earlier drops, and its results in input order
        self._of: dict[str, tuple[int, array[int]]] = {name: (0, array("q")) for name in names}
        #: number, first item and end of the drops of a mini-batch
        self._drops: dict[int, list[tuple[int, int, int]]] = {}
        self.drops = 0
        self._open: list[_Result] = []

    def note(self, event: Event) -> None:
        """Add the results of an event, or drop some; other events are ignored."""
        if isinstance(event, AttemptSucceeded | ItemsSucceeded):
            if event.part == IN_STORE:
                self._open.append(_Result(_key_of(event), event.offset, event.rows))
        elif isinstance(event, PartStored):
            results, self._open = self._open, []
            if event.name in self._of:
                values = (v for (k, first), at, n in sorted(results) for v in (k, first, at, n))
                self._of[event.name] = self.drops, array("q", values)
        elif isinstance(event, RowsDropped):
            drop = self.drops, event.first, event.first + event.items
            self._drops.setdefault(event.mini_batch, []).append(drop)
            self.drops += 1

    def counting(self, part: StoredPart) -> Iterator[tuple[Key, str, int, int]]:
        """Yield (key, name of the part, offset, rows) of the results that still count."""
        results = self._spliced(part) if part.sources else self._in_journal(part.name)
        for key, offset, rows in results:
            if rows and not self._is_dropped(key, part.drops, self.drops):
                yield key, part.name, offset, rows

    def _in_journal(self, name: str) -> Iterator[_Result]:
        values = iter(self._of[name][1])
        for mini_batch, first, offset, rows in zip(values, values, values, values, strict=True):
            yield _Result((mini_batch, first), offset, rows)

    def _spliced(self, part: StoredPart) -> Iterator[_Result]:
        """Yield the results that a spliced part received when it was made, in its order."""
        offset = 0
        for key, _, rows, source in merge(*map(self._with_source, part.sources)):
            was_dropped = self._is_dropped(key, self._of[source][0], part.drops)
            if part.low <= key <= part.high and not was_dropped:
                yield _Result(key, offset, rows)
                offset += rows

    def _with_source(self, name: str) -> Iterator[tuple[Key, int, int, str]]:
        return ((*result, name) for result in self._in_journal(name))

    def _is_dropped(self, key: Key, since: int, until: int) -> bool:
        """Return whether one of the drops from number ``since`` to before ``until`` has a result."""
        mini_batch, first = key
        drops = self._drops.get(mini_batch, ())
        return any(since <= number < until and k <= first < end for number, k, end in drops)


def _segments(results: Iterable[tuple[Key, str, int, int]]) -> Iterator[Segment]:
    """Yield the rows of sorted results, joined as far as they are consecutive in a part."""
    segment: Segment | None = None
    mini_batch = -1
    for key, name, offset, rows in results:
        begins = int(key[0] != mini_batch)
        mini_batch = key[0]
        if segment and (segment.name, segment.offset + segment.rows) == (name, offset):
            segment.rows += rows
            segment.high = key
            segment.mini_batches += begins
            continue
        if segment:
            yield segment
        segment = Segment(name, offset, rows, key, key, begins)
    if segment:
        yield segment


def ordered_parts(
    read_events: Callable[[], Iterable[Event]], spliced: Iterable[StoredPart] = ()
) -> list[PartGroup]:
    """Return the parts in the store with their rows in input order.

    Parameters
    ----------
    read_events
        Returns the events of the journal; called again if parts may have to be spliced.
    spliced
        The spliced parts.
    """
    index = PartIndex()
    for event in read_events():
        index.note(event)
    groups = index.groups(spliced)
    results = _PartResults(
        part for group, is_as_it_is in groups if not is_as_it_is for part in group
    )
    if not all(is_as_it_is for _, is_as_it_is in groups):
        for event in read_events():
            results.note(event)
    ordered = []
    for group, is_as_it_is in groups:
        segments = []
        if not is_as_it_is:
            segments = list(_segments(merge(*map(results.counting, group))))
            if not segments:
                continue  # all rows were dropped
            if len(group) == len(segments) == 1 and segments[0].rows == group[0].rows:
                segments = []
        ordered.append(PartGroup(group, segments, results.drops))
    return ordered


def read_spliced(path: Path) -> list[StoredPart]:
    """Return the spliced parts of a run.

    Raises
    ------
    OutputError
        The file is damaged.
    """
    try:
        return list(map(StoredPart.of_json, json.loads(path.read_bytes())))
    except FileNotFoundError:
        return []
    except (ValueError, TypeError, KeyError) as error:
        msg = (
            f"{path} does not describe parts of the output ({error!r}): the file was changed or the "
            "disk is failing. Start a new run."
        )
        raise OutputError(msg) from error


def write_spliced(path: Path, parts: Iterable[StoredPart]) -> None:
    """Record the spliced parts of a run on disk; the parts that they replace are no longer needed."""
    with replacing(path) as draft, open(draft, "w", encoding="ascii") as file:
        json.dump([asdict(part) for part in parts], file)
        file.flush()
        os.fsync(file.fileno())
