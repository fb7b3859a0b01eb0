"""The lines of the journal: the JSON of one event each.

Rare events are JSON objects that name their fields. Attempt events, of which a run may have
millions, are positional arrays that start with a type letter, under 100 bytes per line.
"""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any, get_args

from ...errors import RunFolderError
from .call_events import CallsSpent
from .events import (
    SCHEMA,
    AttemptFailed,
    AttemptSucceeded,
    Event,
    ItemsFailed,
    ItemsSucceeded,
    NodeSampled,
)

END_START = b'{"event":"RunFinished",'
"""How the line of a run's end begins, as `encode` makes it."""

_POSITIONAL = (AttemptSucceeded, ItemsSucceeded, AttemptFailed, ItemsFailed)
_NAMED: dict[str, type[Any]] = {
    kind.__name__: kind for kind in get_args(Event) if kind not in _POSITIONAL
}
_WITHOUT_RANGES = {"f": 12, "i": 10}
"""Number of fields of a failure of a whole mini-batch."""

_TABLES: dict[type[Any], tuple[str, ...]] = {
    NodeSampled: ("workers", "progress", "calls"),
    CallsSpent: ("spends",),
}
"""Fields that are tuples of tuples."""

_SUCCESS_LENGTH = 1 + len(AttemptSucceeded._fields)
_FIELDS = {name: tuple(f.name for f in fields(kind)) for name, kind in _NAMED.items()}


def encode(event: Event) -> str:
    """Return the journal line of an event, without its line end."""
    if isinstance(event, AttemptSucceeded):
        # Much faster than json.dumps, and than the fields one by one; worker names need no escaping.
        k, attempt, worker, at_ms, us, items, succeeded, rows, part, offset, length, crc = event
        return (
            f'["s",{k},{attempt},"{worker}",{at_ms},{us},{items},{succeeded},{rows},{part},{offset},'
            f"{length},{crc}]"
        )
    if isinstance(event, ItemsSucceeded):
        return json.dumps(["r", *event], separators=(",", ":"))
    if isinstance(event, AttemptFailed | ItemsFailed):
        letter = "f" if isinstance(event, AttemptFailed) else "i"
        row = [getattr(event, f.name) for f in fields(event)]
        if not event.ranges:
            row = row[: _WITHOUT_RANGES[letter]]
        return json.dumps([letter, *row], separators=(",", ":"))
    name = type(event).__name__
    record = {"event": name, **{key: getattr(event, key) for key in _FIELDS[name]}}
    if isinstance(event, NodeSampled):
        for key in ("progress", "calls"):  # most journals have none
            if not record[key]:
                del record[key]
    return json.dumps(record, separators=(",", ":"))


def _ranges(values: list[Any]) -> list[Any]:
    """Return the fields after the texts of a failure, with its ranges as tuples."""
    return [tuple((first, count) for first, count in values[0]), *values[1:]] if values else []


def decode_lines(lines: list[bytes]) -> list[Event]:
    """Return the events of many journal lines, in half the time of ``decode``.

    Raises
    ------
    RunFolderError
        A line is not an event.
    """
    try:
        records = json.loads(b"[%b]" % b",".join(lines))
    except ValueError:
        records = []
    if len(records) != len(lines):  # a damaged line: find it for the error
        return [decode(line) for line in lines]
    return [
        AttemptSucceeded(*record[1:])
        if record.__class__ is list and len(record) == _SUCCESS_LENGTH and record[0] == "s"
        else decode(line)
        for record, line in zip(records, lines, strict=True)
    ]


def decode(line: str | bytes) -> Event:
    """Return the event of a journal line.

    Raises
    ------
    RunFolderError
        The line is not an event of this version or an older one.
    """
    try:
        record = json.loads(line)
        if isinstance(record, list):
            if record[0] == "s":
                return AttemptSucceeded(*record[1:])
            if record[0] == "r":
                return ItemsSucceeded(*record[1:])
            if record[0] == "f":
                return AttemptFailed(*record[1:13], *_ranges(record[13:]))
            if record[0] == "i":
                return ItemsFailed(*record[1:11], *_ranges(record[11:12]), *record[12:])
            raise KeyError(record[0])  # noqa: TRY301 - one message for every bad line, below
        name = record.pop("event")
        kind = _NAMED[name]
        for key in _TABLES.get(kind, ()):
            if key in record:
                record[key] = tuple(tuple(row) for row in record[key])
        event: Event = kind(**{k: record[k] for k in _FIELDS[name] if k in record})
    except (ValueError, KeyError, TypeError, IndexError) as error:
        text = line.decode("utf-8", "replace") if isinstance(line, bytes) else line
        msg = (
            f"this journal line is not an event of schema {SCHEMA}: {text[:120]!r}. "
            "The run was written by a newer version, or the file is damaged; "
            "upgrade parallelrun-jupyter, or resume the run to rebuild its end."
        )
        raise RunFolderError(msg) from error
    return event
