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
from pathlib import Path
from typing import IO

from ..data import inputs
from ..data.cut import Cut
from ..data.versions import Versions
from ..errors import InputError
from ..runs.record import RunRecord

_WRITE_BYTES = 1 << 17
_WRITE_S = 0.05
_READING_S = 1.0
_READ_BYTES = 1 << 18
_MARK_EVERY = 16
_END = b'["end",'


class PlanFile:
    """The lines of a plan, found by mini-batch while the file grows.

    It remembers where every sixteenth line begins: half a byte of memory for each mini-batch.
    """

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._marks = array("Q", [0])
        self._seen = 0
        self._end = 0

    def lines(self, first: int, count: int) -> list[bytes]:
        """Return the lines of mini-batches ``first`` to ``first + count - 1``, which are there."""
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
        os.close(self._fd)


def write_plan(
    record: RunRecord,
    path: Path,
    tell: Callable[[int, int, bool], None],
    is_done: Callable[[int], bool] | None = None,
) -> None:
    """List the inputs into a plan file, in blocks; the first mini-batch goes out at once.

    A plan that is there already, from an earlier driver, is kept: where it is whole, the inputs of
    what is still to be done are looked at; where it was cut off, listing begins again, checks what
    is there, and goes on behind it.

    Parameters
    ----------
    record
        What to list.
    path
        The file.
    tell
        Called with (mini_batches, items, is_end) after each block.
    is_done
        Says of a mini-batch whether its rows are kept; of an earlier plan only.

    Raises
    ------
    InputError
        An input cannot be listed, or has changed since it was planned.
    OSError
        The plan cannot be written.
    """
    with open(path, "ab+", buffering=0) as file, closing(Versions(path)) as versions:

        def check(lines: list[bytes]) -> None:
            to_do = (line for number, line in enumerate(lines) if is_done and not is_done(number))
            change = inputs.changed_since(to_do, record.inputs, versions)
            if change:
                raise InputError(_refusal(change))

        known = list(_whole_lines(file)) if is_done else []
        if known and known[-1].startswith(_END):
            _, mini_batches, items = json.loads(known[-1])
            check(known[:-1])
            tell(mini_batches, items, True)  # noqa: FBT003 - the parameter's name says it
            return
        if not known:
            file.truncate(0)
        versions.forget(inputs.items_before_end(known[-1]) if known else 0)
        _list_all(record, file, _Known(known, check), tell)


@dataclass(frozen=True, slots=True)
class _Known:
    """The lines of a plan that was cut off, and what sees that their files are what they were."""

    lines: list[bytes]
    check: Callable[[list[bytes]], None]


def _list_all(
    record: RunRecord, file: IO[bytes], before: _Known, tell: Callable[[int, int, bool], None]
) -> None:
    """List the inputs; write what is not known from before, which has to be what comes first."""
    known = before.lines
    total = items = seen = size = 0
    lines: list[bytes] = []
    written_at = 0.0
    cut = Cut(record.mini_batch_size, tuple(record.partition_keys), record.mini_batch_rows)
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
                raise InputError(_refusal(inputs.difference(known[total - 1], line)))
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
        raise InputError(_refusal(inputs.difference(known[total], None)))
    lines.append(b"%b%d,%d]\n" % (_END, total, items))
    _write(file.fileno(), lines)
    os.fsync(file.fileno())
    tell(total, items, True)  # noqa: FBT003 - the parameter's name says it


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


def _refusal(change: str) -> str:
    return (
        f"{change} since the run was planned, so that a resume would mix rows of two versions. "
        "Start a new run, or put the input back as it was and resume."
    )


def _write(fd: int, lines: list[bytes]) -> None:
    data = memoryview(b"".join(lines))
    while data:
        data = data[os.write(fd, data) :]
