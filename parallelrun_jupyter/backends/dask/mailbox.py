"""What a node far away has to say, on its way to the driver: bounded, in order, nothing twice."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from ...engine.scheduling.signals import AttemptsSucceeded, Signal

CHUNK_BYTES = 4 << 20
"""Rows that travel in one message."""

FULL_BYTES = 16 << 20
"""A node that holds so many rows reads no more of its workers; they wait in their pipes."""

_SIGNALS_IN_ONE = 1000


@dataclass(frozen=True, slots=True)
class Mailbag:
    """One message: signals, the rows that belong to them, and a piece of rows that are too many.

    The ``part`` of an ``AttemptsSucceeded`` is 1 where it has rows here, the next of ``rows``, and
    0 where it has none. ``piece`` is to be put in front of the first rows of what follows.
    """

    signals: tuple[Signal, ...] = ()
    rows: tuple[bytes, ...] = ()
    piece: bytes = b""


class Outbox:
    """Where a node puts what it has to say, and from where it is taken, by another thread."""

    def __init__(self, chunk_bytes: int = CHUNK_BYTES, full_bytes: int = FULL_BYTES) -> None:
        self._chunk_bytes = chunk_bytes
        self._full_bytes = full_bytes
        self._lock = threading.Lock()
        self._kept: deque[bytes] = deque()
        self._entries: deque[tuple[Signal, bytes]] = deque()
        self._size_bytes = 0
        self._sent_of_first = 0

    def keep_rows(self, rows: bytes) -> tuple[int, int]:
        """Take rows that the next ``AttemptsSucceeded`` is about."""
        self._kept.append(rows)
        return 1, 0

    def put(self, found: Sequence[Signal]) -> None:
        """Take signals, in order; their rows were kept before."""
        with self._lock:
            for signal in found:
                rows = b""
                if isinstance(signal, AttemptsSucceeded) and signal.part:
                    rows = self._kept.popleft()
                self._entries.append((signal, rows))
                self._size_bytes += len(rows)

    @property
    def has_news(self) -> bool:
        """Whether there is anything to take."""
        return bool(self._entries)

    @property
    def is_full(self) -> bool:
        """Whether whoever puts has to wait."""
        return self._size_bytes >= self._full_bytes

    @property
    def is_urgent(self) -> bool:
        """Whether a message's worth of rows has gathered."""
        return self._size_bytes >= self._chunk_bytes

    def take(self) -> Mailbag:
        """Return what fits in one message, and forget it."""
        found: list[Signal] = []
        rows: list[bytes] = []
        room = self._chunk_bytes
        with self._lock:
            while self._entries and len(found) < _SIGNALS_IN_ONE:
                signal, data = self._entries[0]
                left = len(data) - self._sent_of_first
                if left > room:
                    if found:
                        break
                    start = self._sent_of_first
                    self._sent_of_first += room
                    self._size_bytes -= room
                    return Mailbag(piece=data[start : start + room])
                self._entries.popleft()
                self._size_bytes -= left
                room -= left
                found.append(signal)
                if isinstance(signal, AttemptsSucceeded) and signal.part:
                    rows.append(data[self._sent_of_first :])
                self._sent_of_first = 0
        return Mailbag(tuple(found), tuple(rows))


class Inbox:
    """Makes signals of the news of one node: puts pieces together, and stores rows."""

    def __init__(self, keep_rows: Callable[[bytes], tuple[int, int]]) -> None:
        self._keep_rows = keep_rows
        self._pieces: list[bytes] = []

    def signals_of(self, news: Mailbag) -> list[Signal]:
        """Return the signals, with the place where their rows are now."""
        if news.piece:
            self._pieces.append(news.piece)
            return []
        found: list[Signal] = []
        rows = iter(news.rows)
        for signal in news.signals:
            if isinstance(signal, AttemptsSucceeded) and signal.part:
                data = b"".join([*self._pieces, next(rows)])
                self._pieces.clear()
                part, offset = self._keep_rows(data)
                found.append(replace(signal, part=part, offset=offset))
            else:
                found.append(signal)
        return found
