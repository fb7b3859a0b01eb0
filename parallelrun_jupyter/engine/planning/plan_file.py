"""The plan file: the mini-batches of a run in input order, written while the first of them run.

Each line is one mini-batch. ``data.inputs`` makes the lines, and workers receive them; the driver
passes them on without decoding them. The last line is ``["end", mini_batches, items]``.
"""

from __future__ import annotations

import os
import time
from array import array
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import IO, Any, TypeAlias

from ...data.batching import BatchSpec
from ...data.datasets import inputs
from ...data.datasets.file_dataset import FileDataset
from ...data.local.file_versions import FileVersions
from ...errors import InputError
from ...files import replacing
from ...formatting import plural
from ...runs.plan_places import PlanPlaceWriter, places_path
from ...runs.run_record import RunRecord
from ...worker.plan_line import END_MARK, PlanLine
from .assumed_plan import ASSUMED, may_assume_types
from .earlier_plan import EarlierPlan
from .fates import WHOLE, Fate, Fates

_WRITE_BYTES = 1 << 17
_WRITE_S = 0.05
_REPORT_S = 1.0
_READ_BYTES = 1 << 18
_MARK_EVERY = 16
_SHOWN_FILES = 3

Report: TypeAlias = Callable[[int, int, bool], None]
"""Called with the totals so far, ``(mini_batches, items)``, and whether they are final."""


class PlanFile:
    """Reads the lines of a plan by mini-batch, while the file grows.

    It stores the offset of every sixteenth line: half a byte of memory per mini-batch.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        #: opened on first use, since a resume may replace the file before that
        self._fd = -1
        self._marks = array("Q", [0])
        self._lines = 0
        self._end = 0

    def lines(self, first: int, count: int) -> list[bytes]:
        """Return the lines of mini-batches ``first`` to ``first + count - 1``.

        Raises
        ------
        EOFError
            The file ends before these lines.
        """
        if self._fd < 0:
            self._fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        while self._lines < first + count:
            self._scan()
        mark, skipped = divmod(first, _MARK_EVERY)
        start = self._marks[mark]
        next_mark = -(-(first + count) // _MARK_EVERY)
        end = self._marks[next_mark] if next_mark < len(self._marks) else self._end
        return os.pread(self._fd, end - start, start).split(b"\n")[skipped : skipped + count]

    def items_of(self, mini_batch: int) -> int:
        """Return the number of items in a mini-batch."""
        [line] = self.lines(mini_batch, 1)
        return inputs.count_items(line)

    def _scan(self) -> None:
        """Find the ends of the next lines."""
        size = _READ_BYTES
        while True:
            data = os.pread(self._fd, size, self._end)
            *lines, _rest = data.split(b"\n")
            if lines:
                break
            if len(data) < size:
                msg = f"the plan ends after {self._lines} mini-batches: it is incomplete"
                raise EOFError(msg)
            size *= 2  # a mini-batch with very many items
        for line in lines:
            self._end += len(line) + 1
            self._lines += 1
            if self._lines % _MARK_EVERY == 0:
                self._marks.append(self._end)

    def reopen(self) -> None:
        """Read the file that is now in its place, whose mini-batches are the same."""
        self.close()
        self._marks = array("Q", [0])
        self._lines = self._end = 0

    def close(self) -> None:
        """Close the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def write_plan(
    record: RunRecord,
    path: Path,
    report: Report,
    fate_of: Fates | None = None,
    warn: Callable[[str], None] = lambda _: None,
    *,
    note_assumed: Callable[[], None] = lambda: None,
) -> None:
    """List the inputs into a plan file, in blocks; the first mini-batch is written immediately.

    A complete plan of an earlier driver is kept after its inputs have been compared with their
    recorded versions. If the earlier plan is incomplete, the inputs are listed again and compared
    with its lines, and the plan is completed.

    Parameters
    ----------
    record
        The run.
    path
        The plan file.
    report
        Called with (mini_batches, items, is_end) after each block.
    fate_of
        For a resume: returns how to treat an item of the earlier plan.
    warn
        Called with a sentence about inputs of retried items that have changed.
    note_assumed
        Called before ``report`` if the plan has column types that are assumed from the first rows.

    Raises
    ------
    InputError
        An input cannot be listed, or has changed since it was planned, although its rows are kept
        or it has not run yet.
    OSError
        The plan cannot be written.
    """
    with open(path, "ab", buffering=0) as file, closing(FileVersions(path)) as versions:
        earlier: Sequence[bytes] = ()
        check = partial(_check_inputs, record, versions, fate_of or (lambda *_: Fate.FIRST), warn)
        if fate_of:
            earlier = EarlierPlan(path)
            if earlier.totals is not None:
                mini_batches, items = earlier.totals
                replaced = check(earlier)
                if replaced:
                    items = _replace_lines(path, earlier, replaced)
                if _has_assumed(record, earlier):
                    note_assumed()
                report(mini_batches, items, True)  # noqa: FBT003 - is_end
                return
        with closing(PlanPlaceWriter(path)) as places:
            if not earlier:
                file.truncate(0)
            versions.forget(PlanLine.decode(earlier[-1]).next_first if earlier else 0)
            _list_inputs(
                record, file, places, earlier, check=check, report=report, note_assumed=note_assumed
            )


def _list_inputs(
    record: RunRecord,
    file: IO[bytes],
    places: PlanPlaceWriter,
    earlier: Sequence[bytes],
    *,
    check: Callable[[Sequence[bytes]], object],
    report: Report,
    note_assumed: Callable[[], None],
) -> None:
    """List the inputs; append the lines that follow the earlier ones, which must be the same."""
    total = items = items_read = size = 0
    has_assumed = False
    lines: list[bytes] = []
    written_at = 0.0
    planned = iter(earlier)
    spec = BatchSpec(
        record.inputs.mini_batch_size,
        tuple(record.inputs.partition_keys),
        record.inputs.mini_batch_rows,
        assumes_types=may_assume_types(record),
    )
    for line, count in inputs.mini_batches(record.inputs.datasets, spec):
        if not line:  # only progress: a table is being read
            items_read = max(items_read, items) + count
            if time.monotonic() - written_at > _REPORT_S:
                written_at = time.monotonic()
                report(total, items_read, False)  # noqa: FBT003 - is_end
            continue
        total += 1
        items += count
        if not has_assumed and ASSUMED in line:
            has_assumed = True
            note_assumed()
        places.add(line)
        if total <= len(earlier):
            if line != (before := next(planned)):
                raise InputError(_refusal(inputs.difference(before, line)))
            if total == len(earlier):
                check(earlier)
            continue
        lines.append(line)
        size += len(line)
        if total == 1 or size >= _WRITE_BYTES or time.monotonic() - written_at > _WRITE_S:
            _write(file.fileno(), lines)
            places.write()
            report(total, items, False)  # noqa: FBT003 - is_end
            lines, size, written_at = [], 0, time.monotonic()
    _check_end(record, earlier, total)
    lines.append(_end_line(total, items))
    _write(file.fileno(), lines)
    places.write()
    os.fsync(file.fileno())
    report(total, items, True)  # noqa: FBT003 - is_end


def _check_end(record: RunRecord, earlier: Sequence[bytes], total: int) -> None:
    """Check that the inputs have mini-batches, and at least those of an earlier plan."""
    if total < len(earlier):
        raise InputError(_refusal(inputs.difference(earlier[total], None)))
    if not total:
        raise InputError(_no_items(record.inputs.datasets))


def _no_items(specs: list[dict[str, Any]]) -> str:
    """Return the error of inputs without items: only tables may have none, and their files are named."""
    tables = [FileDataset.of_spec(spec) for spec in specs if spec["kind"] == "tabular"]
    names = [file[0] for table in tables for folder in table.folders() for file in folder]
    text = "the inputs contain no items: nothing to run"
    if not names:
        return text
    shown = ", ".join(map(repr, names[:_SHOWN_FILES]))
    hidden = len(names) - _SHOWN_FILES
    return f"{text}. No rows are in {shown}{f' and {hidden:,} more files' if hidden > 0 else ''}"


def _check_inputs(
    record: RunRecord,
    versions: FileVersions,
    fate_of: Fates,
    warn: Callable[[str], None],
    lines: Sequence[bytes],
) -> dict[int, bytes]:
    """Compare the inputs of an earlier plan with the versions recorded for it.

    Inputs of retried items may have changed, since a repaired input is a reason to retry.

    Returns
    -------
    dict
        New plan lines of mini-batches with such items, if the line of an input (in a store, or a
        table) depends on its content.

    Raises
    ------
    InputError
        Another input has changed, so that the output would mix rows of two versions.
    """
    checked = (
        (k, line) for k, line in enumerate(lines) if fate_of(k, WHOLE) is not Fate.LEFT_ALONE
    )
    repaired: list[inputs.Change] = []
    for change in inputs.changes(checked, record.inputs.datasets, versions):
        fate = fate_of(change.mini_batch, change.position)
        if fate is Fate.RETRIED:
            if not change.is_gone:  # without its input it fails again, with its own error
                repaired.append(change)
        elif fate is Fate.KEPT and not change.is_gone:  # a script may delete its inputs
            kept = f"the rows that mini-batch {change.mini_batch} made from it are kept"
            raise InputError(_refusal(str(change), kept))
        elif fate is Fate.FIRST:
            raise InputError(_refusal(str(change)))
    if not repaired:
        return {}
    positions: dict[int, list[int]] = {}
    for change in repaired:
        positions.setdefault(change.mini_batch, []).append(change.position)
    for mini_batch, changed in positions.items():
        versions.accept(PlanLine.decode(lines[mini_batch]), changed)
    warn(
        f"{plural(len(repaired), 'input')} of failed items {'has' if len(repaired) == 1 else 'have'} "
        f"changed since the run was planned, first {repaired[0].path!r} of mini-batch "
        f"{repaired[0].mini_batch}: the current versions are read"
    )
    return inputs.planned_again(lines, positions, record.inputs.datasets)


def _refusal(change: str, why: str = "") -> str:
    """Return why a resume is refused, and the remedy."""
    because = f": {why}, and" if why else ", so that"
    return (
        f"{change} since the run was planned{because} a resume would mix rows of two versions. "
        "Start a new run, or restore the input, with its modification time, and resume."
    )


def _replace_lines(path: Path, earlier: EarlierPlan, replaced: dict[int, bytes]) -> int:
    """Replace lines of a complete plan; return the new number of items."""
    assert earlier.totals is not None
    mini_batches, items = earlier.totals
    for mini_batch, line in replaced.items():
        items += inputs.count_items(line) - inputs.count_items(earlier[mini_batch])
    times = os.stat(path)
    places_path(path).unlink(missing_ok=True)
    with replacing(path, owner="draft") as draft:
        with open(draft, "wb") as file:
            file.writelines(replaced.get(k, line) for k, line in enumerate(earlier))
            file.write(_end_line(mini_batches, items))
            file.flush()
            os.fsync(file.fileno())
        # Without a recorded version, an input is compared with the plan's time.
        os.utime(draft, ns=(times.st_atime_ns, times.st_mtime_ns))
    return items


def _has_assumed(record: RunRecord, lines: Iterable[bytes]) -> bool:
    """Return whether a plan has column types that are assumed."""
    has_tables = any(spec["kind"] == "tabular" for spec in record.inputs.datasets)
    return has_tables and any(ASSUMED in line for line in lines)


def _end_line(mini_batches: int, items: int) -> bytes:
    return b"%b%d,%d]\n" % (END_MARK, mini_batches, items)


def _write(fd: int, lines: list[bytes]) -> None:
    data = memoryview(b"".join(lines))
    while data:
        data = data[os.write(fd, data) :]
