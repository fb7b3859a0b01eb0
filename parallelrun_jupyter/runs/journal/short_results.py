"""The short results of a run: those with fewer elements than items, so that it is unknown which failed."""

from __future__ import annotations

from dataclasses import replace

from .events import AttemptSucceeded, Event, ItemsFailed, ItemsSucceeded, RowsDropped


class ShortResults:
    """Collects the short results of a journal that still count.

    A resume drops them when their items run again; see `RowsDropped`.
    """

    def __init__(self) -> None:
        #: by mini-batch and position of the first item
        self._results: dict[tuple[int, int], RowsDropped] = {}
        #: those whose failure group is not read yet, by mini-batch and attempt
        self._unnamed: dict[tuple[int, int], list[tuple[int, int]]] = {}

    def note(self, event: Event) -> None:
        """Add or remove the results of an event; other events are ignored."""
        match event:
            case AttemptSucceeded() | ItemsSucceeded() if event.items_succeeded < event.items:
                self._add(event)
            case ItemsFailed() if not event.ranges:
                for key in self._unnamed.pop((event.mini_batch, event.attempt), ()):
                    if key in self._results:
                        self._results[key] = replace(self._results[key], group=event.group)
            case RowsDropped():
                for first in range(event.first, event.first + event.items):
                    self._results.pop((event.mini_batch, first), None)

    def _add(self, event: AttemptSucceeded | ItemsSucceeded) -> None:
        first, of = (
            (event.first, event.of) if isinstance(event, ItemsSucceeded) else (0, event.items)
        )
        key = event.mini_batch, first
        self._unnamed.setdefault((event.mini_batch, event.attempt), []).append(key)
        self._results[key] = RowsDropped(
            at_ms=0,
            mini_batch=event.mini_batch,
            first=first,
            items=event.items,
            of=of,
            items_succeeded=event.items_succeeded,
            rows=event.rows,
            group="",
        )

    def in_group(self, group: str = "") -> list[RowsDropped]:
        """Return the short results of one failure group, or of all, in input order."""
        results = sorted(self._results.items())
        return [result for _, result in results if not group or result.group == group]
