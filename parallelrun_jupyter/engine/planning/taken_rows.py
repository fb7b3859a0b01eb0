"""The part file with rows that no attempt made, and the results that refer to it."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable
from typing import Any

from ...runs.journal.events import AttemptSucceeded, ItemsSucceeded
from ...runs.output.committed_rows import part_path
from ...runs.output.earlier_rows import UPDATE_PART
from ...runs.run_folder import RunFolder
from ..child_process import Message
from .spans import Piece


class TakenRows:
    """Writes rows to the part file, and sends messages about those that are on the disk.

    Parameters
    ----------
    folder
        The run. A part file of an earlier driver is continued.
    send
        Receives a message ``["taken", whole, ranges]`` after each `flush`.
    """

    def __init__(self, folder: RunFolder, send: Callable[[Message], None]) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        self._fd = os.open(part_path(folder, UPDATE_PART), flags, 0o600)
        self._offset = os.fstat(self._fd).st_size
        self._send = send
        self._rows: list[bytes] = []
        self._whole: list[list[int]] = []
        self._ranges: list[list[int]] = []

    def add(self, mini_batch: int, of: int, pieces: list[Piece], *, by_item: bool = False) -> None:
        """Add results of a mini-batch of ``of`` items.

        Those of all its items are one of the whole mini-batch, unless with ``by_item``.
        """
        for first, items, rows, data in pieces:
            place = [rows, self._offset, len(data), zlib.crc32(data)]
            if items == of and not by_item:
                self._whole.append([mini_batch, items, *place])
            else:
                self._ranges.append([mini_batch, first, items, of, *place])
            self._rows.append(data)
            self._offset += len(data)

    def flush(self) -> None:
        """Write all rows to the disk, then send the message about them."""
        data = memoryview(b"".join(self._rows))
        while data:
            data = data[os.write(self._fd, data) :]
        if self._rows:
            os.fsync(self._fd)
        if self._whole or self._ranges:
            self._send(["taken", self._whole, self._ranges])
        self._rows, self._whole, self._ranges = [], [], []

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)


def taken_results(
    whole: list[list[Any]], ranges: list[list[Any]]
) -> tuple[AttemptSucceeded | ItemsSucceeded, ...]:
    """Return the results of a message; they have no attempt, worker or time."""
    return (
        *(
            AttemptSucceeded(mini_batch, 0, "", 0, 0, items, items, rows, UPDATE_PART, *place)
            for mini_batch, items, rows, *place in whole
        ),
        *(
            ItemsSucceeded(mini_batch, 0, "", 0, 0, first, items, of, rows, UPDATE_PART, *place)
            for mini_batch, first, items, of, rows, *place in ranges
        ),
    )
