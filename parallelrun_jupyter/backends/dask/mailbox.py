"""Messages from a remote node to the driver: bounded, in order, each delivered once."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from ...engine.scheduling.signals import AttemptsSucceeded, ItemsAnswered, Signal

CHUNK_BYTES = 4 << 20
"""The maximum number of bytes of rows in one message."""

FULL_BYTES = 16 << 20
"""A node with this many bytes of unsent rows stops reading from its workers."""

_SIGNALS_PER_MESSAGE = 1000


@dataclass(frozen=True, slots=True)
class Message:
    """Signals with their rows, or a piece of rows that do not fit into one message.

    The ``part`` of a signal with results is 1 if it has rows (the next element of ``rows``),
    else 0. ``piece`` precedes the first rows of the next message. ``is_idle`` says that the node has
    nothing to do.
    """

    signals: tuple[Signal, ...] = ()
    rows: tuple[bytes, ...] = ()
    piece: bytes = b""
    is_idle: bool = False


class Outbox:
    """A queue of signals and rows: one thread of the node fills it, and another empties it."""

    def __init__(self, chunk_bytes: int = CHUNK_BYTES, full_bytes: int = FULL_BYTES) -> None:
        self._chunk_bytes = chunk_bytes
        self._full_bytes = full_bytes
        self._lock = threading.Lock()
        self._pending_rows: deque[bytes] = deque()
        self._entries: deque[tuple[Signal, bytes]] = deque()
        self._size_bytes = 0
        self._sent_of_first = 0

    def keep_rows(self, rows: bytes) -> tuple[int, int]:
        """Accept the rows of the next results."""
        self._pending_rows.append(rows)
        return 1, 0

    def put(self, signals: Sequence[Signal]) -> None:
        """Append signals, in order; their rows were passed to ``keep_rows`` before."""
        with self._lock:
            for signal in signals:
                rows = b""
                if isinstance(signal, AttemptsSucceeded | ItemsAnswered) and signal.part:
                    rows = self._pending_rows.popleft()
                self._entries.append((signal, rows))
                self._size_bytes += len(rows)

    @property
    def has_messages(self) -> bool:
        """Whether a signal is queued."""
        return bool(self._entries)

    @property
    def is_full(self) -> bool:
        """Whether producers must wait."""
        return self._size_bytes >= self._full_bytes

    @property
    def is_urgent(self) -> bool:
        """Whether the queued rows fill a message."""
        return self._size_bytes >= self._chunk_bytes

    def take(self) -> Message:
        """Remove and return the next message."""
        signals: list[Signal] = []
        rows: list[bytes] = []
        room = self._chunk_bytes
        with self._lock:
            while self._entries and len(signals) < _SIGNALS_PER_MESSAGE:
                signal, data = self._entries[0]
                left = len(data) - self._sent_of_first
                if left > room:
                    if signals:
                        break
                    start = self._sent_of_first
                    self._sent_of_first += room
                    self._size_bytes -= room
                    return Message(piece=data[start : start + room])
                self._entries.popleft()
                self._size_bytes -= left
                room -= left
                signals.append(signal)
                if isinstance(signal, AttemptsSucceeded | ItemsAnswered) and signal.part:
                    rows.append(data[self._sent_of_first :])
                self._sent_of_first = 0
        return Message(tuple(signals), tuple(rows))


class Inbox:
    """Unpacks the messages from one node: joins pieces, and stores rows."""

    def __init__(self, keep_rows: Callable[[bytes], tuple[int, int]]) -> None:
        self._keep_rows = keep_rows
        self._pieces: list[bytes] = []

    def signals_of(self, message: Message) -> list[Signal]:
        """Return the signals of a message, with the locations of their stored rows."""
        if message.piece:
            self._pieces.append(message.piece)
            return []
        signals: list[Signal] = []
        rows = iter(message.rows)
        for signal in message.signals:
            if isinstance(signal, AttemptsSucceeded | ItemsAnswered) and signal.part:
                data = b"".join([*self._pieces, next(rows)])
                self._pieces.clear()
                part, offset = self._keep_rows(data)
                signals.append(replace(signal, part=part, offset=offset))
            else:
                signals.append(signal)
        return signals
