"""Copies rows to duplicates, from the items of the same run that have the same content."""

from __future__ import annotations

import time
from array import array
from bisect import bisect_right
from collections.abc import Callable, Generator, Iterator, Mapping
from itertools import groupby
from operator import attrgetter

from ...errors import ParallelRunError
from ...runs.journal.events import ItemRanges
from ...runs.journal.files import JournalReader
from ...runs.output.earlier_rows import (
    EarlierRows,
    Result,
    Results,
    UnclearRowsError,
    encoded_rows,
    open_rows,
)
from ...runs.run_folder import RunFolder
from ...runs.run_record import RunRecord
from ...worker.item_ranges import items_in
from ..child_process import Message
from ..scheduling.signals import RowsCopied, Signal, Warned
from .duplicates import Pair, pairs_of
from .earlier_items import NONE
from .spans import Piece, pieces_of, spans_of_rows
from .taken_rows import TakenRows, taken_results

_STEP_S = 0.1
_FLUSH_S = 0.25
_FLUSH_BYTES = 16 << 20
_EVENTS_AT_ONCE = 2000
_NO_RESULTS: tuple[list[int], list[Result]] = ([], [])


class CopiedRows:
    """Copies rows in short steps, so that the driver goes on with everything else.

    The rows of the first items are read by the journal, so it must be on the disk.

    Parameters
    ----------
    folder, record
        The run.
    withheld
        The items that need rows: mini-batch -> number of its items, and ranges of those.
    divided
        The mini-batches that have results of single items.
    post
        Receives the results, and at the end `RowsCopied` with ``is_end``.
    """

    def __init__(
        self,
        folder: RunFolder,
        record: RunRecord,
        withheld: Mapping[int, tuple[int, ItemRanges]],
        divided: frozenset[int],
        post: Callable[[Signal], None],
    ) -> None:
        self._folder = folder
        self._record = record
        self._withheld = withheld
        self._divided = divided
        self._post = post
        self._work = self._copy()

    def step(self) -> bool:
        """Go on for a tenth of a second; return whether that was the end."""
        until = time.monotonic() + _STEP_S
        try:
            for _ in self._work:
                if time.monotonic() > until:
                    return False
        except (ParallelRunError, OSError, ValueError) as error:
            self._warn(error)
        self._post(RowsCopied((), is_end=True))
        return True

    def close(self) -> None:
        """Close the files."""
        self._work.close()

    def _warn(self, error: Exception) -> None:
        text = f"no more rows were copied to duplicates: {error}. The others run."
        self._post(Warned(text))

    def _copy(self) -> Generator[None, None, None]:
        """Copy the rows; yield often."""
        firsts = {pair.first_mini_batch for pair in self._pairs()}
        results = Results()
        for number, event in enumerate(JournalReader(self._folder.journal).read()):
            results.note(event)
            if number % _EVENTS_AT_ONCE == 0:
                yield
        rows_of = _FirstRows()
        for number, result in enumerate(results):
            if result.mini_batch in firsts:
                rows_of.add(result)
            if number % _EVENTS_AT_ONCE == 0:
                yield
        if not rows_of:
            return
        rows = open_rows(self._folder, self._record, results)
        try:
            yield from self._copy_from(rows, rows_of)
        finally:
            rows.close()

    def _copy_from(self, rows: EarlierRows, rows_of: _FirstRows) -> Iterator[None]:
        taken = TakenRows(self._folder, self._send)
        size, flushed_at = 0, time.monotonic()
        try:
            for mini_batch, pairs in groupby(self._pairs(), key=attrgetter("mini_batch")):
                of = self._withheld[mini_batch][0]
                try:
                    pieces = self._pieces(rows, rows_of, of, list(pairs))
                except UnclearRowsError:
                    continue  # these items run
                taken.add(mini_batch, of, pieces, by_item=mini_batch in self._divided)
                size += sum(len(piece[3]) for piece in pieces)
                if size > _FLUSH_BYTES or time.monotonic() > flushed_at + _FLUSH_S:
                    taken.flush()
                    size, flushed_at = 0, time.monotonic()
                yield
            taken.flush()
        finally:
            taken.close()

    def _pairs(self) -> Iterator[Pair]:
        """Yield the pairs of the items that are withheld."""
        for mini_batch, pairs in groupby(pairs_of(self._folder), key=attrgetter("mini_batch")):
            if mini_batch in self._withheld:
                wanted = set(items_in(self._withheld[mini_batch][1]))
                yield from (pair for pair in pairs if pair.position in wanted)

    def _pieces(
        self, rows: EarlierRows, rows_of: _FirstRows, of: int, pairs: list[Pair]
    ) -> list[Piece]:
        """Return the rows of the duplicates in a mini-batch of ``of`` items."""
        form = self._record.output.format
        row_at = array("q", [NONE]) * of
        pieces: list[Piece] = []
        for pair in pairs:
            start, count = rows_of.of(pair.first_mini_batch, pair.first_position)
            if count == 1:
                row_at[pair.position] = start
            elif count:
                encoded = encoded_rows(rows, [(start, start + count)], form)
                if len(encoded) == 1:
                    pieces.append((pair.position, 1, *encoded[0]))
        return sorted([*pieces, *pieces_of(rows, spans_of_rows(row_at), form)])

    def _send(self, message: Message) -> None:
        _, whole, ranges = message
        self._post(RowsCopied(taken_results(whole, ranges)))


class _FirstRows:
    """The rows of the items of some mini-batches, where it is clear which rows an item has.

    It is true if there are any.
    """

    def __init__(self) -> None:
        self._of: dict[int, tuple[list[int], list[Result]]] = {}

    def __bool__(self) -> bool:
        return bool(self._of)

    def add(self, result: Result) -> None:
        """Add a result if each of its items has one row, or if it is a single item with rows.

        Those of a mini-batch come in the order of its items.
        """
        if result.has_row_per_item or (result.items == 1 and result.rows):
            firsts, results = self._of.setdefault(result.mini_batch, ([], []))
            firsts.append(result.first)
            results.append(result)

    def of(self, mini_batch: int, position: int) -> tuple[int, int]:
        """Return the number of the first row of an item, and how many it has: 0 if unclear."""
        firsts, results = self._of.get(mini_batch, _NO_RESULTS)
        number = bisect_right(firsts, position) - 1
        if number < 0 or position >= firsts[number] + results[number].items:
            return NONE, 0
        result = results[number]
        if result.items == 1:
            return result.start, result.rows
        return result.start + position - result.first, 1
