"""The results that a change of column types drops."""

from __future__ import annotations

from dataclasses import replace

from ...runs.journal.events import RowsDropped
from ...runs.journal.files import JournalReader
from ...runs.journal.short_results import ShortResults
from ...runs.output.earlier_rows import Results
from ...runs.run_folder import RunFolder


def drops_of(folder: RunFolder, first: int, end: int) -> tuple[RowsDropped, ...]:
    """Return an event for each committed result of mini-batches ``first`` to ``end - 1``.

    Their times are 0.
    """
    results, short_results = Results(), ShortResults()
    for event in JournalReader(folder.journal).read():
        results.note(event)
        short_results.note(event)
    groups = {(e.mini_batch, e.first): e.group for e in short_results.in_group()}
    drops = []
    for result in results:
        if first <= result.mini_batch < end:
            whole = RowsDropped(
                at_ms=0,
                mini_batch=result.mini_batch,
                first=result.first,
                items=result.items,
                of=result.of,
                items_succeeded=min(result.items, result.rows),
                rows=result.rows,
                group="",
            )
            group = groups.get((result.mini_batch, result.first), "")
            drops.append(replace(whole, group=group) if group else whole)
    return tuple(drops)
