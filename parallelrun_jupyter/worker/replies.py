"""The replies of a worker: finished mini-batches in bundles, all others at once."""

from __future__ import annotations

import _thread
import os
import time
import zlib

from . import protocol
from .child_loop import leave_signals_to_main_thread

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing is not worth its import in a worker
    from typing import Any

    from .attempt import Attempt

_WATCHED_S = 1.0
"""Seconds after the last bundle for which a thread looks after finished mini-batches."""

_SPENT_EVERY_S = 0.02
"""What calls spend is reported with their replies, or after this time while they go on."""


class Replies:
    """Sends replies to the node; several threads may report their calls.

    Parameters
    ----------
    fd
        A blocking descriptor.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._lock = _thread.RLock()
        self._done: list[tuple[int, ...]] = []
        self._payload: list[bytes] = []
        #: (mini-batch, attempt) -> tokens and billionths of a US dollar that are not reported yet
        self._spent: dict[tuple[int, int], list[int]] = {}
        self._spent_at = 0.0
        #: microseconds for which rows of tables were read since the last `flush`
        self._load_us = 0
        #: time of the last message with finished mini-batches, or of the start of a bundle
        self.flushed = time.monotonic()
        #: whether a thread looks after finished mini-batches, and the start of the last bundle
        self._is_watched = False
        self._begun = 0.0

    @property
    def are_pending(self) -> bool:
        """Whether finished mini-batches or spent amounts wait for `flush`."""
        return bool(self._done or self._spent)

    @property
    def done_count(self) -> int:
        """Number of finished mini-batches that wait for `flush`."""
        return len(self._done)

    def done(self, attempt: Attempt, rows: int, text: bytes, micros: int) -> None:
        """Queue the result of a mini-batch that has succeeded as a whole."""
        crc = zlib.crc32(text)
        row = (attempt.mini_batch, attempt.number, attempt.items, rows, micros, len(text), crc)
        with self._lock:
            self._done.append(row)
            self._payload.append(text)

    def note_load(self, micros: int) -> None:
        """Add the time that reading the rows of a mini-batch took."""
        with self._lock:
            self._load_us += micros

    def report(self, now: float, reply: list[Any], payload: bytes = b"") -> None:
        """Send one reply, after the finished mini-batches."""
        with self._lock:
            self.flush(now)
            self.send(protocol.encode(reply) + payload)

    def spend(self, mini_batch: int, attempt: int, tokens: int, nano_usd: int) -> None:
        """Report what a call has spent, now or with its end."""
        with self._lock:
            amounts = self._spent.setdefault((mini_batch, attempt), [0, 0])
            amounts[0] += tokens
            amounts[1] += nano_usd
            now = time.monotonic()
            if now - self._spent_at > _SPENT_EVERY_S:
                self._spent_at = now
                self.send(b"")

    def flush(self, now: float) -> None:
        """Send all finished mini-batches in one message."""
        with self._lock:
            if self._done:
                payload = b"".join(self._payload)
                elapsed = int((now - self.flushed) * 1e6)
                head = protocol.encode(["done", elapsed, len(payload), self._done, self._load_us])
                self._done = []
                self._payload = []
                self._load_us = 0
                self.send(head + payload)
            elif self._spent:
                self.send(b"")
            self.flushed = now

    def begin_bundle(self) -> None:
        """Let a thread report finished mini-batches of the bundle that begins, if one takes long.

        The timeout of that one then costs no second run of them. The thread ends when it has had nothing
        to do for a while, since a waiting worker should not wake up.
        """
        with self._lock:
            self._begun = time.monotonic()
            if not self._is_watched:
                try:
                    _thread.start_new_thread(self._flush_behind_long, ())
                except RuntimeError:  # a limit on threads, or on memory
                    return
                self._is_watched = True

    def _flush_behind_long(self) -> None:
        leave_signals_to_main_thread()
        while True:
            time.sleep(protocol.LONG_S / 2)
            now = time.monotonic()
            with self._lock:
                if self._done:
                    if now - self.flushed > protocol.LONG_S:
                        self.flush(now)
                elif now - max(self._begun, self.flushed) > _WATCHED_S:
                    self._is_watched = False
                    return

    def send(self, data: bytes) -> None:
        """Send a message, after what calls have spent."""
        with self._lock:
            if self._spent:
                spends = [[*key, *amounts] for key, amounts in self._spent.items()]
                self._spent = {}
                data = protocol.encode(["spent", spends]) + data
            try:
                protocol.write_all(self._fd, data)
            except (
                BrokenPipeError
            ):  # the node has died; the thread that watches it may not know yet
                os._exit(0)
