"""The log files of a parallel job of Azure ML: text in, values out. No input or output.

The shapes are those that Azure's documentation and its users have shown. Lines that nobody has shown
are left out, torn ones wait for their rest, and columns are found by their names.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

_SCHEDULED = re.compile(r"\bScheduled (\d+) mini.?batch", re.IGNORECASE)
_IS_SCHEDULED = re.compile(r"\bscheduling finished\b", re.IGNORECASE)
_ITEMS = re.compile(r"\bwith (\d+) items?\b", re.IGNORECASE)
_PROCESSED = re.compile(r"\bProcessed (\d+) of (\d+) mini.?batch", re.IGNORECASE)

_LONGEST_RECORD_BYTES = 1 << 18
"""A quoted text that is longer is none: its quotation mark is a stray one."""

_NUMBER = re.compile(r"\s*(\d+)(?:\.0*)?\s*")


@dataclass(frozen=True, slots=True)
class Scheduled:
    """Azure has made so many mini-batches; ``items`` is -1 if the line does not tell them."""

    mini_batches: int
    items: int
    is_finished: bool


@dataclass(frozen=True, slots=True)
class Processed:
    """So many of all mini-batches have been processed, whether they succeeded or failed."""

    mini_batches: int
    of: int


OverviewLine: TypeAlias = Scheduled | Processed


@dataclass(frozen=True, slots=True)
class TableRow:
    """A row of the table of mini-batches.

    Parameters
    ----------
    mini_batch
        Azure's name of the mini-batch, which need not be a number.
    picked
        How often the mini-batch has been picked up, from 1.
    process
        The process, maybe after its node, as in ``10.0.0.4/process000``.
    total, succeeded
        Its items, and those with a result.
    seconds
        How long ``run()`` took; else the next longer time in the table.
    status
        Such as ``RUN_DONE``.
    """

    mini_batch: str
    picked: int
    process: str
    total: int
    succeeded: int
    seconds: float
    status: str
    error: str
    message: str


class Lines:
    """The whole lines of a file that is read in pieces."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        """Return the lines that are whole now, without their ends."""
        lines = (self._rest + data).split(b"\n")
        self._rest = lines.pop()
        return lines

    def take_rest(self) -> bytes:
        """Return the last line, which has no end, when the file has no more."""
        rest, self._rest = self._rest, b""
        return rest


class Overview:
    """A ``job_progress_overview`` file."""

    def __init__(self) -> None:
        self._lines = Lines()

    def feed(self, data: bytes, *, is_last: bool = False) -> list[OverviewLine]:
        """Return the values of the lines that are whole now; of the last one, too, at the end of the file."""
        lines = self._lines.feed(data)
        if is_last:
            lines.append(self._lines.take_rest())
        found = (overview_line(line.decode("utf-8", "replace")) for line in lines)
        return [value for value in found if value is not None]


def overview_line(text: str) -> OverviewLine | None:
    """Return the values of a line of an overview file; None for any other line."""
    processed = _PROCESSED.search(text)
    if processed:
        return Processed(int(processed[1]), int(processed[2]))
    scheduled = _SCHEDULED.search(text)
    if scheduled:
        items = _ITEMS.search(text)
        is_finished = _IS_SCHEDULED.search(text) is not None
        return Scheduled(int(scheduled[1]), int(items[1]) if items else -1, is_finished)
    return None


class Table:
    """A ``processed_mini-batches.csv`` file."""

    def __init__(self) -> None:
        self._lines = Lines()
        self._pending: list[bytes] = []
        self._columns: dict[str, int] = {}

    def feed(self, data: bytes, *, is_last: bool = False) -> list[TableRow]:
        """Return the rows that are whole now; the last one needs no line end at the end of the file."""
        records = self._records(self._lines.feed(data))
        if is_last:
            records += self._records([self._lines.take_rest()])
            records += [line + b"\n" for line in self._pending]
            self._pending = []
        rows = (self._row(record) for record in records)
        return [row for row in rows if row is not None]

    def _records(self, lines: Iterable[bytes]) -> list[bytes]:
        """Return whole records: a quoted text may have line ends."""
        records = []
        todo = list(reversed(list(lines)))
        while todo:
            self._pending.append(todo.pop())
            record = b"\n".join(self._pending)
            if record.count(b'"') % 2 == 0:
                records.append(record + b"\n")
                self._pending = []
            elif len(record) > _LONGEST_RECORD_BYTES:
                first, *others = self._pending
                records.append(first + b"\n")
                self._pending = []
                todo += reversed(others)
        return records

    def _row(self, record: bytes) -> TableRow | None:
        text = record.decode("utf-8", "replace").lstrip("\ufeff").replace("\0", "")
        try:
            fields = next(csv.reader([text.rstrip("\r\n")]), [])
        except csv.Error:  # a line end in the middle, or a field of 100 KB
            return None
        names = {_plain(name): k for k, name in enumerate(fields)}
        if "minibatchid" in names and "status" in names:
            self._columns = names
            return None
        if not self._columns:
            return None
        return self._value_of(fields)

    def _value_of(self, fields: list[str]) -> TableRow | None:
        def cell(*names: str) -> str:
            for name in names:
                at = self._columns.get(name, len(fields))
                if at < len(fields) and fields[at].strip():
                    return fields[at].strip()
            return ""

        mini_batch, status = cell("minibatchid"), cell("status").upper()
        if not mini_batch or not status:
            return None
        succeeded, failed = _whole(cell("succeeded")), _whole(cell("failed"))
        return TableRow(
            mini_batch,
            max(1, _whole(cell("pickedcount", "picked"))),
            cell("process", "processname"),
            max(_whole(cell("total", "totalitems")), succeeded + failed),
            succeeded,
            _seconds(cell("runmethodseconds", "processseconds", "elapsedseconds")),
            status,
            cell("errorcategory", "errortype"),
            cell("errormessage", "error"),
        )


def _plain(name: str) -> str:
    return re.sub(r"[^a-z]", "", name.lower())


def _whole(text: str) -> int:
    match = _NUMBER.fullmatch(text)
    return int(match[1][:18]) if match else 0


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        return 0.0
    return value if 0 <= value < 1e9 else 0.0
