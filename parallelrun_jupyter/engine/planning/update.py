"""Takes the rows of unchanged items from an earlier run, before their mini-batches are assigned."""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable, Sequence
from contextlib import closing
from itertools import groupby

from ...data.local.file_digests import UNKNOWN, FileDigests
from ...data.local.file_versions import FileVersions
from ...errors import ParallelRunError
from ...runs.output.earlier_rows import UnclearRowsError, encoded_rows
from ...runs.run_folder import RunFolder
from ...runs.run_record import RunRecord
from ...worker.plan_line import PlanLine
from ..child_process import Message
from .earlier_items import NONE, EarlierItems, Status, statuses_of
from .plan_file import PlanFile, Report
from .spans import Piece, Span, pieces_of, spans_of
from .taken_rows import TakenRows

_MINI_BATCHES_AT_ONCE = 5000
_REPORT_S = 0.5
_PROGRESS_S = 5.0
_LINES_AT_ONCE = 256
_LINES_TO_READ_AT_ONCE = 4


class Update:
    """Matches the items of a plan with those of an earlier run, by path and version.

    The process that writes the plan calls it: the rows of a mini-batch are taken before the driver
    learns of it.

    Parameters
    ----------
    folder
        The new run; its record names the earlier one.
    record
        Its record.
    is_open
        Returns whether a mini-batch has no result yet. After a resume some have.
    is_resume
        Whether an earlier driver has taken rows, or has written a part of the plan.
    """

    def __init__(
        self,
        folder: RunFolder,
        record: RunRecord,
        is_open: Callable[[int], bool],
        *,
        is_resume: bool,
    ) -> None:
        self._is_resume = is_resume
        self._folder = folder
        self._record = record
        self._is_open = is_open
        self._earlier: EarlierItems | None = None
        self._digests: FileDigests | None = None
        #: items of the earlier run that are in the new plan as well
        self._seen = bytearray()
        self._items = self._changed = self._new = 0
        self._plan = PlanFile(folder.plan)
        #: mini-batches that were handled
        self._done = 0
        self._reported_at = time.monotonic()

    def reporting(self, send: Callable[[Message], None]) -> Report:
        """Return the function to call when the plan has grown: it takes rows, then reports."""
        self._send = send
        self._taken = TakenRows(self._folder, send)
        if self._record.inputs.update_by == "digest":
            self._digests = FileDigests(self._folder.plan)

        def report(mini_batches: int, items: int, is_end: bool) -> None:  # noqa: FBT001 - as `Report`
            waiting = mini_batches - self._done
            is_recent = time.monotonic() < self._reported_at + _REPORT_S
            if waiting and not is_end and waiting < _MINI_BATCHES_AT_ONCE and is_recent:
                return
            self._take_until(mini_batches)
            if is_end:
                self._end()
            send(["planned", mini_batches, items, is_end])
            self._reported_at = time.monotonic()

        return report

    def _end(self) -> None:
        """Report the totals, and close the files."""
        gone = len(self._seen) - self._seen.count(1)
        run_id = self._record.inputs.reuse_from
        if run_id:
            self._send(["updated", run_id, self._items, self._changed, self._new, gone])
        self._taken.close()
        self._plan.close()
        if self._digests is not None:
            self._digests.close()
        if self._earlier is not None:
            self._earlier.close()

    def _open(self) -> None:
        run_id = self._record.inputs.reuse_from
        if not run_id:
            return
        try:
            self._earlier = EarlierItems(RunFolder(self._folder.path.parent / run_id))
            self._seen = bytearray(self._earlier.count)
        except (ParallelRunError, OSError, ValueError) as error:
            self._warn(f"no rows were taken from run {run_id}: {error}. All items run.")

    def _warn(self, text: str) -> None:
        self._send(["warned", text])

    def _take_until(self, mini_batches: int) -> None:
        """Take the rows of the mini-batches that were added to the plan."""
        if not self._done and mini_batches:
            self._open()
        end = self._done
        with closing(FileVersions(self._folder.plan)) as versions:
            while self._done < mini_batches:
                most = _LINES_AT_ONCE if self._digests is None else _LINES_TO_READ_AT_ONCE
                count = min(most, mini_batches - self._done)
                lines = list(map(PlanLine.decode, self._plan.lines(self._done, count)))
                if self._earlier is None:
                    self._record_digests(lines, versions)
                else:
                    for is_local, some in groupby(lines, key=has_local_files):
                        self._take_lines(list(some), versions, is_local=is_local)
                end += count
                self._done = end
                self._report_progress(lines[-1].next_first)
        self._taken.flush()

    def _report_progress(self, items: int) -> None:
        """Report the mini-batches so far, if that was long ago: reading content may take hours."""
        if self._is_resume or time.monotonic() < self._reported_at + _PROGRESS_S:
            return
        self._taken.flush()
        self._send(["planned", self._done, items, False])
        self._reported_at = time.monotonic()

    def _record_digests(self, lines: list[PlanLine], versions: FileVersions) -> None:
        """Record the digests of files when there is no run to take rows from."""
        for line in lines:
            if self._digests is not None and has_local_files(line):
                self._record_versions(statuses_of(line.paths), line.first, versions)
                self._digests.keep(line.first, self._digests.of_files(line.paths))

    def _take_lines(self, lines: list[PlanLine], versions: FileVersions, *, is_local: bool) -> None:
        """Take the rows of the next mini-batches; local files are compared many at once."""
        unchanged: Sequence[int] = ()
        if is_local and self._earlier is not None:
            paths = [path for line in lines for path in line.paths]
            unchanged = self._unchanged_files(self._earlier, paths, lines[0].first, versions)
        start = 0
        for line in lines:
            if self._earlier is None:
                return
            end = start + len(line.paths)
            self._take(self._earlier, line, unchanged[start:end] if is_local else None)
            start = end
            self._done += 1

    def _take(self, earlier: EarlierItems, line: PlanLine, unchanged: Sequence[int] | None) -> None:
        spans: list[Span] = []
        if line.is_table:
            number, whole = earlier.of_table(line)
            if number >= 0:
                self._seen[number : number + line.rows] = b"\1" * line.rows
            else:
                self._new += line.rows
        else:
            if unchanged is None:
                unchanged = self._unchanged_in_store(earlier, line)
            if "keys" not in line.extra:
                spans = spans_of(earlier.row_of, unchanged)
            whole = None if spans else earlier.whole_of(unchanged)
        try:
            self._add(earlier, line.item_count, spans, whole)
        except UnclearRowsError:
            pass  # these items run
        except (ParallelRunError, OSError) as error:
            run_id = self._record.inputs.reuse_from
            self._warn(f"no more rows were taken from run {run_id}: {error}. The other items run.")
            self._earlier = None
            earlier.close()

    def _unchanged_files(
        self, earlier: EarlierItems, paths: list[str], first: int, versions: FileVersions
    ) -> Sequence[int]:
        """Return the numbers of local files in the earlier run, -1 for changed and new ones."""
        statuses = statuses_of(paths)
        now = self._record_versions(statuses, first, versions)
        start = earlier.start_of(paths)
        if start >= 0 and self._digests is None and earlier.are_same_files(start, now):
            self._seen[start : start + len(paths)] = b"\1" * len(paths)
            return range(start, start + len(paths))
        numbers = [earlier.numbers.get(path, NONE) for path in paths]
        same = [
            number >= 0 and earlier.is_same_file(number, status)
            for number, status in zip(numbers, statuses, strict=True)
        ]
        if self._digests is not None:
            before = [UNKNOWN if number < 0 else earlier.digest_of(number) for number in numbers]
            after = _digests_now(self._digests, paths, before, same)
            self._digests.keep(first, after)
            same = [
                is_same or (after[k] == before[k] and after[k] != UNKNOWN)
                for k, is_same in enumerate(same)
            ]
        return self._counted(numbers, same)

    def _record_versions(
        self, statuses: list[Status], first: int, versions: FileVersions
    ) -> array[int]:
        """Return the versions of local files, and record them; a resume compares them first."""
        now = array("q", [x for s in statuses for x in (s.st_size, s.st_mtime_ns)])
        if not self._is_resume:
            versions.keep(first, now)
        return now

    def _unchanged_in_store(self, earlier: EarlierItems, line: PlanLine) -> list[int]:
        numbers = [earlier.numbers.get(path, NONE) for path in line.paths]
        same = [
            number >= 0 and earlier.is_same_in_store(number, size, version)
            for number, (_, size, version) in zip(numbers, line.files, strict=True)
        ]
        return self._counted(numbers, same)

    def _counted(self, numbers: list[int], same: list[bool]) -> list[int]:
        """Count changed and new items; return the numbers of the others, -1 in place of these."""
        unchanged = []
        for number, is_same in zip(numbers, same, strict=True):
            if number < 0:
                self._new += 1
            else:
                self._seen[number] = 1
                self._changed += not is_same
            unchanged.append(number if is_same else NONE)
        return unchanged

    def _add(
        self, earlier: EarlierItems, of: int, spans: list[Span], whole: tuple[int, int] | None
    ) -> None:
        """Take the rows of some items of the next mini-batch, or of the whole mini-batch."""
        form = self._record.output.format
        pieces: list[Piece] = []
        if whole is not None:
            start, count = whole
            encoded = encoded_rows(earlier.rows, [(start, start + count)], form)
            if len(encoded) == 1:  # otherwise it is unclear which item has which kinds of columns
                pieces.append((0, of, *encoded[0]))
        pieces += pieces_of(earlier.rows, spans, form)
        self._items += sum(items for _, items, _, _ in pieces)
        if self._is_open(self._done):
            self._taken.add(self._done, of, pieces)


def has_local_files(line: PlanLine) -> bool:
    """Return whether a line has local files, whose versions are beside the plan."""
    return not line.is_table and not line.sizes


def _digests_now(
    digests: FileDigests, paths: list[str], before: list[bytes], same: list[bool]
) -> list[bytes]:
    """Return the digests of files, of which those with the ``same`` version need not be read."""
    now = before.copy()
    unread = [k for k, digest in enumerate(before) if digest == UNKNOWN or not same[k]]
    for k, digest in zip(unread, digests.of_files([paths[k] for k in unread]), strict=True):
        now[k] = digest
    return now
