"""The plan: the mini-batches of a run, in input order, a line each, listed while others run.

``data.inputs`` makes the lines. They are also what a worker gets, so that the driver passes them on
without reading them. The last line is ``["end", mini_batches, items]``.
"""

from __future__ import annotations

import json
import os
import time
from array import array
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO

from ...data.batching import BatchSpec
from ...data.datasets import inputs
from ...data.local.file_versions import FileVersions
from ...errors import InputError
from ...runs.run_record import RunRecord
from ...worker.plan_line import END_MARK, PlanLine
from .plan_check import Fates, check_inputs, refusal, runs_first

_WRITE_BYTES = 1 << 17
_WRITE_S = 0.05
_READING_S = 1.0
_READ_BYTES = 1 << 18
_MARK_EVERY = 16


class PlanFile:
    """The lines of a plan, found by mini-batch while the file grows.

    It remembers where every sixteenth line begins: half a byte of memory for each mini-batch.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        #: opened on first use: a resume may put another file in the plan's place before that
        self._fd = -1
        self._marks = array("Q", [0])
        self._seen = 0
        self._end = 0

    def lines(self, first: int, count: int) -> list[bytes]:
        """Return the lines of mini-batches ``first`` to ``first + count - 1``, which are there."""
        if self._fd < 0:
            self._fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        while self._seen < first + count:
            self._scan()
        mark, skipped = divmod(first, _MARK_EVERY)
        start = self._marks[mark]
        behind = -(-(first + count) // _MARK_EVERY)
        end = self._marks[behind] if behind < len(self._marks) else self._end
        return os.pread(self._fd, end - start, start).split(b"\n")[skipped : skipped + count]

    def _scan(self) -> None:
        """Find the ends of some more lines."""
        size = _READ_BYTES
        while True:
            data = os.pread(self._fd, size, self._end)
            *lines, _rest = data.split(b"\n")
            if lines:
                break
            if len(data) < size:
                msg = f"the plan ends after {self._seen} mini-batches: it was cut off"
                raise EOFError(msg)
            size *= 2  # a mini-batch of very many items
        for line in lines:
            self._end += len(line) + 1
            self._seen += 1
            if self._seen % _MARK_EVERY == 0:
                self._marks.append(self._end)

    def close(self) -> None:
        """Close the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def write_plan(
    record: RunRecord,
    path: Path,
    tell: Callable[[int, int, bool], None],
    fate_of: Fates | None = None,
    warn: Callable[[str], None] = lambda _: None,
) -> None:
    """List the inputs into a plan file, in blocks; the first mini-batch goes out at once.

    A plan from an earlier driver is kept, and its inputs are compared with what they were. A plan
    that was cut off is listed again, checked against what is there, and completed.

    Parameters
    ----------
    record
        What to list.
    path
        The file.
    tell
        Called with (mini_batches, items, is_end) after each block.
    fate_of
        For a resume: what becomes of a mini-batch of the earlier plan.
    warn
        Called with a sentence about inputs that have changed and are read again.

    Raises
    ------
    InputError
        An input cannot be listed, or one whose rows are kept has changed since it was planned, or
        one that has not run yet has changed or is gone.
    OSError
        The plan cannot be written.
    """
    with open(path, "ab+", buffering=0) as file, closing(FileVersions(path)) as versions:
        earlier = list(_whole_lines(file)) if fate_of else []
        check = partial(check_inputs, record, versions, fate_of or runs_first, warn)
        if earlier and earlier[-1].startswith(END_MARK):
            _, mini_batches, items = json.loads(earlier[-1])
            replaced = check(earlier[:-1])
            if replaced:
                items += _replace_lines(path, earlier, replaced)
            tell(mini_batches, items, True)  # noqa: FBT003 - the parameter's name says it
            return
        if not earlier:
            file.truncate(0)
        versions.forget(PlanLine.decode(earlier[-1]).next_first if earlier else 0)
        _list_all(record, file, _Earlier(earlier, check), tell)


@dataclass(frozen=True, slots=True)
class _Earlier:
    """The lines of a plan that was cut off, and the check of their files."""

    lines: list[bytes]
    check: Callable[[list[bytes]], object]


def _list_all(
    record: RunRecord, file: IO[bytes], before: _Earlier, tell: Callable[[int, int, bool], None]
) -> None:
    """List the inputs; write what comes behind the earlier lines, which have to come first."""
    known = before.lines
    total = items = seen = size = 0
    lines: list[bytes] = []
    written_at = 0.0
    cut = BatchSpec(record.mini_batch_size, tuple(record.partition_keys), record.mini_batch_rows)
    for line, count in inputs.mini_batches(record.inputs, cut):
        if not line:
            seen = max(seen, items) + count
            if time.monotonic() - written_at > _READING_S:
                written_at = time.monotonic()
                tell(total, seen, False)  # noqa: FBT003 - the parameter's name says it
            continue
        total += 1
        items += count
        if total <= len(known):
            if line != known[total - 1]:
                raise InputError(refusal(inputs.difference(known[total - 1], line)))
            if total == len(known):
                before.check(known)
            continue
        lines.append(line)
        size += len(line)
        if total == 1 or size >= _WRITE_BYTES or time.monotonic() - written_at > _WRITE_S:
            _write(file.fileno(), lines)
            tell(total, items, False)  # noqa: FBT003 - the parameter's name says it
            lines, size, written_at = [], 0, time.monotonic()
    if total < len(known):
        raise InputError(refusal(inputs.difference(known[total], None)))
    lines.append(b"%b%d,%d]\n" % (END_MARK, total, items))
    _write(file.fileno(), lines)
    os.fsync(file.fileno())
    tell(total, items, True)  # noqa: FBT003 - the parameter's name says it


def _replace_lines(path: Path, lines: list[bytes], replaced: dict[int, bytes]) -> int:
    """Put a plan with other lines in the place of a whole one; return by how many items it grows."""
    grown = 0
    for mini_batch, line in replaced.items():
        grown += inputs.count_items(line) - inputs.count_items(lines[mini_batch])
        lines[mini_batch] = line
    _, mini_batches, items = json.loads(lines[-1])
    lines[-1] = b"%b%d,%d]\n" % (END_MARK, mini_batches, items + grown)
    times = os.stat(path)
    draft = path.with_name(f"{path.name}.tmp")
    with open(draft, "wb") as file:
        file.writelines(lines)
        file.flush()
        os.fsync(file.fileno())
    os.utime(draft, ns=(times.st_atime_ns, times.st_mtime_ns))  # versions are judged by it
    os.replace(draft, path)
    return grown


def _whole_lines(file: IO[bytes]) -> Iterator[bytes]:
    """Yield the lines of an earlier plan, and cut off a torn last one."""
    file.seek(0)
    end = 0
    for line in file.read().splitlines(keepends=True):
        if line.endswith(b"\n"):
            end += len(line)
            yield line
    if end < file.tell():  # else its time stays what it is: that of the last line
        file.truncate(end)


def _write(fd: int, lines: list[bytes]) -> None:
    data = memoryview(b"".join(lines))
    while data:
        data = data[os.write(fd, data) :]
