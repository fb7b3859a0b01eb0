"""The journal: a file of events, written by one driver, read by anybody."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from .events import IN_STORE, AttemptSucceeded, Event, PartStored, decode_lines, encode

_BLOCK = 1 << 20
_DECODED_AT_ONCE = 1000


class JournalWriter:
    """Appends events. Only a driver makes one.

    Opening cuts off a torn last line, which a driver that was killed may have left.
    """

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        _cut_torn_line(self._fd)

    def append(self, events: Iterable[Event]) -> None:
        """Write events, a line each, and hand them to the operating system.

        Raises
        ------
        OSError
            The disk refused; none of the events is in the journal.
        """
        lines = [encode(event) for event in events]
        if not lines:
            return
        size = self.size_bytes()
        data = memoryview("\n".join([*lines, ""]).encode("ascii"))
        try:
            while data:
                data = data[os.write(self._fd, data) :]
        except OSError:
            os.ftruncate(self._fd, size)
            raise

    def size_bytes(self) -> int:
        """Return the size of the file."""
        return os.fstat(self._fd).st_size

    def sync(self) -> None:
        """Wait until what was appended is on the disk."""
        os.fsync(self._fd)

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)


def _cut_torn_line(fd: int) -> None:
    size = os.fstat(fd).st_size
    end = size
    while end > 0:
        start = max(0, end - _BLOCK)
        newline = os.pread(fd, end - start, start).rfind(b"\n")
        if newline >= 0:
            end = start + newline + 1
            break
        end = start
    if end < size:
        os.ftruncate(fd, end)


class JournalReader:
    """Reads whole lines of a journal from where it last stopped; a torn last line waits.

    So does a torn part: attempts whose rows are in a store are read when the line that names their
    part is there, and never where the driver died before it wrote that line.
    """

    def __init__(self, path: Path, offset: int = 0) -> None:
        self._path = path
        self.offset = offset
        #: attempts of a part whose own line is still to come
        self._held: list[AttemptSucceeded] = []

    def behind_bytes(self) -> int:
        """Return how much there is to read."""
        try:
            return os.stat(self._path).st_size - self.offset
        except FileNotFoundError:
            return 0

    def read(self) -> Iterator[Event]:
        """Yield the events that have been appended since the last call."""
        try:
            file = open(self._path, "rb")  # noqa: SIM115 - closed by the with below
        except FileNotFoundError:  # the driver has not started it yet
            return
        self._held = []
        with file:
            file.seek(self.offset)
            position = self.offset
            rest = b""
            while block := file.read(_BLOCK):
                *lines, rest = (rest + block).split(b"\n")
                for start in range(0, len(lines), _DECODED_AT_ONCE):
                    some = lines[start : start + _DECODED_AT_ONCE]
                    for event, line in zip(decode_lines(some), some, strict=True):
                        position += len(line) + 1
                        if event.__class__ is AttemptSucceeded and event.part == IN_STORE:
                            self._held.append(event)
                            continue
                        self.offset = position
                        if self._held or event.__class__ is PartStored:
                            yield from self._whole(event)
                        else:
                            yield event

    def _whole(self, event: Event) -> list[Event]:
        """Return an event behind attempts that were held: with them where it names their part."""
        held, self._held = self._held, []
        if not isinstance(event, PartStored):
            return [event]
        return [*held, event] if len(held) == event.count else []
