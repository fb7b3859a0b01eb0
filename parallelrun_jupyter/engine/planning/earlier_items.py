"""The items of an earlier run: their versions, and which rows were made from them."""

from __future__ import annotations

import hashlib
import json
import os
from array import array
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

from ...data.local.file_digests import SIZE, UNKNOWN, digests_of_plan
from ...data.local.file_versions import versions_of_plan
from ...runs.driver_lock import wait_for_release
from ...runs.journal.files import JournalReader
from ...runs.output.earlier_rows import EarlierRows, Results, open_rows, results_of
from ...runs.run_folder import RunFolder
from ...worker.plan_line import END_MARK, PlanLine

NONE = -1
_TRUNCATED_NS = 1_000_000_000
_UNKNOWN = (0, 0)
_WAIT_S = 20.0
_COARSE_NS = 2_000_000_000
"""Some file systems store times in units of up to two seconds."""


class EarlierItems:
    """The items of a run that has ended, numbered from 0 in the order of its plan.

    Parameters
    ----------
    folder
        The run.

    Raises
    ------
    OutputError
        Its rows cannot be read; see `open_rows`.
    RunFolderError
        Its record or journal is missing or damaged.
    OSError
        A file of the run cannot be read.
    """

    def __init__(self, folder: RunFolder) -> None:
        record = folder.read_record()
        self._created_ns = int(record.created_at * 1e9)
        #: number of an item by its path or URL; the last one, if it was given several times
        self.numbers: dict[str, int] = {}
        self._paths: list[str] = []
        #: size and ETag of the items in stores
        self._in_store: dict[int, tuple[int, object]] = {}
        self._of_line: dict[bytes, int] = {}
        #: the first item of each mini-batch, and the end of the last one
        self._firsts = array("q", [0])
        self._read_plan(folder.plan)
        self._versions = versions_of_plan(folder.plan)
        if self.numbers and (len(self._versions) < 2 * self.count or _UNKNOWN in self._pairs()):
            # Its driver may still be recording them, although the run has ended.
            wait_for_release(folder, _WAIT_S)
            self._versions = versions_of_plan(folder.plan)
        self._versions.extend([0] * (2 * self.count - len(self._versions)))
        self._digests = digests_of_plan(folder.plan)
        #: the row of each item that has exactly one row of its own
        self.row_of = array("q", [NONE]) * self.count
        self._whole: dict[int, tuple[int, int]] = {}
        results = results_of(JournalReader(folder.journal).read())
        self._place(results)
        self.rows: EarlierRows = open_rows(folder, record, results)

    @property
    def count(self) -> int:
        """Number of items."""
        return self._firsts[-1]

    def _read_plan(self, plan: Path) -> None:
        with open(plan, "rb") as file:
            for mini_batch, text in enumerate(file):
                if text.startswith(END_MARK) or not text.endswith(b"\n"):
                    break
                line = PlanLine.decode(text)
                first = self._firsts[-1]
                if line.is_table:
                    self._of_line[line_key(line)] = mini_batch
                else:
                    self._paths += line.paths
                    for number, (_, size, version) in enumerate(line.files, first):
                        self._in_store[number] = size, version
                self._firsts.append(first + line.item_count)
        self.numbers.update(zip(self._paths, range(len(self._paths)), strict=True))

    def _place(self, results: Results) -> None:
        """Find the rows of each item, and those of mini-batches that succeeded as a whole."""
        covered: dict[int, tuple[int, int, int]] = {}
        for result in results:
            if not result.is_current or result.mini_batch + 1 >= len(self._firsts):
                continue
            if result.has_row_per_item:
                first = self._firsts[result.mini_batch] + result.first
                numbers = range(result.start, result.start + result.rows)
                self.row_of[first : first + result.items] = array("q", numbers)
            if result.rows < result.items:
                continue
            if result.items == result.of:
                if result.rows > result.items or self._of_line:
                    self._whole[result.mini_batch] = result.start, result.rows
                continue
            items, start, rows = covered.get(result.mini_batch, (0, result.start, 0))
            covered[result.mini_batch] = items + result.items, start, rows + result.rows
            if items + result.items == result.of:
                self._whole[result.mini_batch] = start, rows + result.rows

    def start_of(self, paths: list[str]) -> int:
        """Return the number of the first of some paths if they were consecutive items; or -1."""
        first = self.numbers.get(paths[0], NONE)
        return first if first >= 0 and self._paths[first : first + len(paths)] == paths else NONE

    def is_same_in_store(self, number: int, size: int, version: object) -> bool:
        """Return whether an item in a store has the size and ETag that the run read."""
        return self._in_store.get(number) == (size, version)

    def is_same_file(self, number: int, status: Status) -> bool:
        """Return whether a local file is the one that the run read, by its size and time.

        A file that was written since the run was submitted counts as changed: the run may have read
        it before that. So does a file whose version was not recorded.
        """
        if status.st_size < 0:
            return False
        now = status.st_size, status.st_mtime_ns
        version = self._versions[2 * number], self._versions[2 * number + 1]
        return now == version != _UNKNOWN and self._is_older(status.st_mtime_ns)

    def digest_of(self, number: int) -> bytes:
        """Return the SHA-256 of a local file as the run read it, or `UNKNOWN`.

        It is unknown if the file was written again after the run was submitted.
        """
        time_ns = self._versions[2 * number + 1]
        if not time_ns or not self._is_older(time_ns):
            return UNKNOWN
        return self._digests[number * SIZE : (number + 1) * SIZE] or UNKNOWN

    def are_same_files(self, first: int, now: array[int]) -> bool:
        """Return whether consecutive local files are all unchanged; false if that is not obvious.

        Parameters
        ----------
        first
            Number of the first one.
        now
            Size and time of each.
        """
        if self._versions[2 * first : 2 * first + len(now)] != now:
            return False
        times = now[1::2]
        return min(times) > 0 and max(times) + _COARSE_NS < self._created_ns

    def _pairs(self) -> Iterator[tuple[int, int]]:
        return zip(self._versions[::2], self._versions[1::2], strict=True)

    def _is_older(self, time_ns: int) -> bool:
        """Return whether a file with this time was written before the run was submitted."""
        is_truncated = time_ns % _TRUNCATED_NS == 0
        return time_ns + (_COARSE_NS if is_truncated else 0) < self._created_ns

    def whole_of(self, numbers: Sequence[int]) -> tuple[int, int] | None:
        """Return the span, (first row, number of rows), of items that were one mini-batch; or None."""
        first = numbers[0]
        if first < 0 or list(numbers) != list(range(first, first + len(numbers))):
            return None
        mini_batch = self._mini_batch_at(first)
        if mini_batch is None or self._firsts[mini_batch + 1] != first + len(numbers):
            return None
        if mini_batch in self._whole:
            return self._whole[mini_batch]
        rows = self.row_of[first : first + len(numbers)]
        return None if NONE in rows else (rows[0], len(rows))

    def _mini_batch_at(self, first: int) -> int | None:
        mini_batch = bisect_left(self._firsts, first)
        return mini_batch if self._firsts[mini_batch] == first else None

    def of_table(self, line: PlanLine) -> tuple[int, tuple[int, int] | None]:
        """Return the number of the first item of the same rows of tables, and their span of rows.

        The number is -1 if no mini-batch had these items; the span is None if it did not succeed.
        """
        mini_batch = self._of_line.get(line_key(line))
        if mini_batch is None:
            return NONE, None
        return self._firsts[mini_batch], self._whole.get(mini_batch)

    def close(self) -> None:
        """Close the files."""
        self.rows.close()


class _Gone:
    """The status of a file that does not exist or cannot be reached."""

    st_size = -1
    st_mtime_ns = st_ctime_ns = 0


Status: TypeAlias = os.stat_result | _Gone


def statuses_of(paths: list[str]) -> list[Status]:
    """Return the status of files."""
    try:
        return list(map(os.stat, paths))
    except OSError:
        return list(map(_status_of, paths))


def _status_of(path: str) -> Status:
    try:
        return os.stat(path)
    except OSError:
        return _Gone()


def line_key(line: PlanLine) -> bytes:
    """Return a digest that is equal for lines of the same rows of tables, in the same versions."""
    extra = {key: value for key, value in line.extra.items() if key != "first"}
    # Rows with the same types are the same, whether the types were assumed or not.
    table = {key: value for key, value in line.table.items() if key != "assumed"}
    parts = [line.files, line.ranges, table, line.rows, extra]
    return hashlib.blake2b(json.dumps(parts).encode("ascii"), digest_size=16).digest()
