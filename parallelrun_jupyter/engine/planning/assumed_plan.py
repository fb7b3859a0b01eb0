"""A plan with column types that were assumed from the first rows: confirms them, or decides others."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from ...data.datasets.inputs import dataset_of
from ...errors import InputError
from ...runs.run_record import RunRecord
from ...worker.failures import BadInput, TypesDiffer
from ...worker.output.formats import OBJECTS
from ...worker.plan_line import PlanLine
from ...worker.tables.reader import load_table

if TYPE_CHECKING:  # a driver of files starts without it
    from ...data.datasets.tabular_dataset import TabularDataset
    from ...data.walker import FileItem

ASSUMED = b'"assumed":{'
"""In each plan line whose types are assumed, and in no other: in a text, quotes have a backslash."""

_CHECK_AFTER_S = 5.0
_CHECK_AFTER_RATIO = 4
"""This process reads the rows, too, so many seconds after the plan, and so many times as long as planning took.

Most runs that only read and compute have ended by then, without the time and the memory for that.
"""

_NICE = 10
_READ_BYTES = 1 << 22
_POLL_S = 0.05
_SHOWN = 3


def may_assume_types(record: RunRecord) -> bool:
    """Return whether the types of tables may be assumed from their first rows.

    They may not if results leave the driver before the types are confirmed: to a store, or to a
    notebook that iterates over them. Nor if rows of other runs are taken.
    """
    inputs, output = record.inputs, record.output
    is_taken = inputs.reuse_from or inputs.update_by == "digest" or inputs.run_duplicates_once
    return not (output.in_parts or output.format == OBJECTS or is_taken or inputs.partition_keys)


class AssumedPlan:
    """The complete plan of a run, in which the types of some inputs are assumed.

    Parameters
    ----------
    record
        The run.
    path
        The plan file.
    is_over
        Returns whether the run is over.
    count_succeeded
        Returns how many of the first mini-batches have succeeded, so that their types are confirmed.
    """

    def __init__(
        self,
        record: RunRecord,
        path: Path,
        is_over: Callable[[], bool] = lambda: False,
        count_succeeded: Callable[[], int] = lambda: 0,
    ) -> None:
        self._record = record
        self._path = path
        self._is_over = is_over
        self._count_succeeded = count_succeeded

    # Confirmation

    def wait_for_doubt(self, is_asked: Callable[[], bool], planned_s: float) -> bool:
        """Return True once a worker or this process has found rows that may have other types.

        Returns
        -------
        bool
            False if all rows have the assumed types, or the run is over.
        """
        check_after_s = max(_CHECK_AFTER_S, _CHECK_AFTER_RATIO * planned_s)
        began, found = time.monotonic(), _Confirmation(self._ranges(), self._is_over)
        while not (is_asked() or found.differs):
            if self._is_over() or found.is_complete:
                return False
            if not found.is_started and time.monotonic() - began > check_after_s:
                found.start()
            time.sleep(_POLL_S)
        return True

    def _ranges(self) -> Iterator[PlanLine]:
        """Yield the rows to confirm, the last ones first: workers begin with the first ones."""
        joined: PlanLine | None = None
        lines = _lines_backwards(self._path)
        mini_batches = json.loads(next(lines))[1]  # the last line ends the plan
        for mini_batch, text in zip(reversed(range(mini_batches)), lines, strict=True):
            if mini_batch < self._count_succeeded():
                break
            if ASSUMED not in text:
                continue
            line = PlanLine.decode(text)
            if joined is not None and _precedes(line, joined):
                joined.ranges[0][0] = line.ranges[0][0]
                joined.rows += line.rows
                continue
            if joined is not None:
                yield joined
            joined = line
        if joined is not None:
            yield joined

    # Decision

    def decide(self, draft: Path, report: Callable[[], None]) -> tuple[int, int, str]:
        """Infer the types from all rows, and write a plan with them.

        Parameters
        ----------
        draft
            The file of the new plan.
        report
            Called as a sign of progress.

        Returns
        -------
        tuple
            The first of the mini-batches whose types were assumed, the end of their numbers, and a
            warning that names the columns with another type; it is empty if there are none.

        Raises
        ------
        InputError
            The columns cannot be read any more.
        """
        files = self._files()
        types: dict[int, dict[str, str]] = {}
        changes: dict[str, str] = {}
        first = last = -1
        with open(self._path, "rb") as plan, open(draft, "wb") as file:
            for mini_batch, text in enumerate(plan):
                if ASSUMED not in text:
                    file.write(text)
                    continue
                first, last = (mini_batch if first < 0 else first), mini_batch
                line = PlanLine.decode(text)
                number = line.input_number
                if number not in types:
                    types[number] = self._types_of(number, files[number], report)
                changes |= _decide(line.table, types[number])
                file.write(line.encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        times = os.stat(self._path)
        # Without a recorded version, an input is compared with the plan's time.
        os.utime(draft, ns=(times.st_atime_ns, times.st_mtime_ns))
        return first, last + 1, _warning(changes)

    def line_of_all_rows(self, text: bytes) -> bytes:
        """Return a line of the plan with the types of all rows of its input, as `decide` does.

        Raises
        ------
        InputError
            The columns cannot be read any more.
        """
        line = PlanLine.decode(text)
        number = line.input_number
        _decide(line.table, self._types_of(number, self._files()[number], lambda: None))
        return line.encode() + b"\n"

    def _files(self) -> dict[int, dict[FileItem, None]]:
        """Return the files of each input whose types were assumed, in order.

        Files that were added since are not in the plan, so their rows do not decide.
        """
        files: dict[int, dict[FileItem, None]] = {}
        with open(self._path, "rb") as plan:
            for text in plan:
                if ASSUMED in text and text.endswith(b"\n"):  # the last line may be incomplete
                    line = PlanLine.decode(text)
                    files.setdefault(line.input_number, {}).update(dict.fromkeys(line.files))
        return files

    def _types_of(
        self, number: int, files: Iterable[FileItem], report: Callable[[], None]
    ) -> dict[str, str]:
        dataset = cast("TabularDataset", dataset_of(self._record.inputs.datasets[number]))
        return dataset.types_of_all_rows(files, report)


class _Confirmation:
    """Reads all rows in a thread of low priority, until some may have other types."""

    def __init__(self, ranges: Iterator[PlanLine], is_over: Callable[[], bool]) -> None:
        self._ranges = ranges
        self._is_over = is_over
        self.is_started = self.is_complete = self.differs = False

    def start(self) -> None:
        """Start the thread; it ends with the process."""
        self.is_started = True
        threading.Thread(target=self._read, name="types", daemon=True).start()

    def _read(self) -> None:
        with suppress(OSError):  # a system whose threads have no priorities
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
        for line in self._ranges:
            if self._is_over():
                return
            try:
                load_table(line)
            except TypesDiffer:
                self.differs = True
                return
            except BadInput:
                continue  # its file has changed: its mini-batches fail
        self.is_complete = True


def _precedes(line: PlanLine, later: PlanLine) -> bool:
    """Return whether the rows of a line are just before those of another, and few enough to join."""
    return bool(
        line.paths == later.paths
        and line.table == later.table
        and len(line.ranges) == 1
        and line.ranges[0][1] == later.ranges[0][0]
        and later.ranges[0][1] - line.ranges[0][0] <= _READ_BYTES
    )


def _lines_backwards(path: Path) -> Iterator[bytes]:
    """Yield the lines of a file, the last one first."""
    with open(path, "rb") as file:
        end, rest = file.seek(0, os.SEEK_END), b""
        while end > 0:
            start = max(0, end - _READ_BYTES)
            file.seek(start)
            rest, *lines = (file.read(end - start) + rest).splitlines(keepends=True)
            yield from reversed(lines)
            end = start
        if rest:
            yield rest


def _decide(table: dict[str, Any], decided: dict[str, str]) -> dict[str, str]:
    """Set the columns and types of a plan line's table; return the columns that change, and how.

    No types are decided if none of the files can be read any more. Only JSON lines get other columns.

    Raises
    ------
    InputError
        The file that names the columns of the others is gone, or has changed.
    """
    del table["assumed"]
    before = dict(zip(table["columns"], table["types"], strict=True))
    if not decided:
        return {}
    if table["format"] != "json_lines" and before.keys() - decided.keys():
        msg = "the file that names the columns is gone, or was changed after the run was planned."
        raise InputError(msg)
    names = decided if table["format"] == "json_lines" else before
    changes = {n: f"{n!r} is in no row" for n in before.keys() - names.keys()}
    for name in names:
        if name not in before:
            changes[name] = f"{name!r} is another column"
        elif before[name] != decided[name]:
            changes[name] = f"{name!r} is {decided[name]}, not {before[name]}"
    table["columns"] = list(names)
    table["types"] = [decided[name] for name in names]
    return changes


def _warning(changes: dict[str, str]) -> str:
    if not changes:
        return ""
    shown = ", ".join(list(changes.values())[:_SHOWN])
    more = f" and {len(changes) - _SHOWN:,} more" if len(changes) > _SHOWN else ""
    them = "it a type" if len(changes) == 1 else "them types"
    return (
        f"later rows have other types than the first ones: {shown}{more}. What has run so far runs "
        f"again with the new types; give {them} in column_types= (--column-types) to avoid this"
    )


def decided_plan(plan: Path) -> Path:
    """Return the file of a new plan, until it is put in the place of the other."""
    return plan.with_name(f"{plan.name}.decided")
