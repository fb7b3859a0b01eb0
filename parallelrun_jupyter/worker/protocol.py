"""The messages between a node and its workers.

Every message is one JSON array on a line of its own. Commands, to the worker::

    ["start", {...}]                                    once; the keys are in ``START_KEYS``
    ["run", [[mini_batch, attempt, plan_line], ...], report_after]
                                                        a bundle, run in order; ``report_after`` finished
                                                        ones are reported together. A call that has to
                                                        wait is followed by its earliest start and the
                                                        seconds between two starts
    ["stop"]                                            finish the assigned mini-batches, then end

Replies, to the node::

    ["ready", init_ms, run_line]                        the line that defines the script's run()
    ["init_failed", {failure}]
    ["done", elapsed_us, payload_bytes, [[mini_batch, attempt, items, rows, duration_us,
             length, crc], ...], load_us]               the time of reading rows of tables; followed by
                                                        ``payload_bytes`` bytes of rows
    ["spent", [[mini_batch, attempt, tokens, nano_usd], ...]]
                                                        what calls have spent since the last one
    ["warning", text]                                   such as a call that blocks the others
    ["returned", bundle, [mini_batch, ...]]             of this bundle, the first one being 1, what will
                                                        not run here, since the node has withdrawn it on
                                                        the status page
    ["stopped"]                                         after shutdown(); with its {failure}, if
                                                        it failed
    ["failed", mini_batch, attempt, items, duration_us, {failure}]
    ["answered", mini_batch, payload_bytes, attempt, items, duration_us,
             [[first, items, rows, length, crc], ...],  consecutive items with results
             [[ranges, messages, {failure}], ...]]      items that failed at the same line; then
                                                        ``payload_bytes`` bytes of rows

A plan line of files is ``["f", input, [paths], [sizes], [mtimes], {extra}]``: ``run`` receives the
paths. One of tables is ``["t", input, [paths], [sizes], [mtimes], [[start, end], ...], {table},
rows, {extra}]``: ``run`` receives the rows of these ranges as a DataFrame. With ``items`` in ``extra``
an attempt runs only these items, and is answered by "answered" or "failed"; with ``isolates`` too, the
worker runs them in parts, to find those that fail alone. A failure is an object with ``kind, error,
message, group, traceback, bases``; with ``retry_after_s`` if the script or a server asks for a delay; with
``is_throttled`` if a server asks for fewer calls; with ``alike``,
a number, if so many items failed alone at the same line, and none succeeded, that the others were not run;
with ``suspect``, the position of the item that probably made it fail, which is then also in ``extra``.
Positions of items count in the whole mini-batch; ``ranges`` are ``[first, count]``, with one message each.
"""

from __future__ import annotations

import fcntl
import json
import os
import termios

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing is not worth its import in a worker
    from typing import Any

START_KEYS = (
    "script",
    "argv",
    "cwd",
    "sys_path",
    "log",
    "append_rows",
    "answers_items",
    "has_tables_only",
    "output_format",
    "logging_level",
    "roots",
    "output_dir",
    "log_dir",
    "agent_name",
    "uses",
    "calls",
)

FLUSH_AFTER_S = 0.015
"""Calls of a worker with several in flight are reported in bundles, this long after the first of them."""

LATEST_REPORT_S = 0.05
"""Finished mini-batches wait no longer for others with which they are reported, but for a running one."""

LONG_S = 0.15
"""A mini-batch that runs so long keeps no finished ones waiting."""

_READ_BYTES = 1 << 16
"""What a pipe holds; the memory of a larger buffer is mapped for each message."""


def encode(message: list[Any]) -> bytes:
    """Return the line of a message, in ASCII only, so that unusual file names are preserved."""
    return json.dumps(message, separators=(",", ":")).encode("ascii") + b"\n"


def write_all(fd: int, data: bytes) -> None:
    """Write all of ``data`` to a blocking descriptor."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


class LineReader:
    """Reads whole lines from a blocking descriptor."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._buffer = b""

    def read(self) -> bytes:
        """Return the next line, or b"" at the end of the stream."""
        while True:
            line, newline, rest = self._buffer.partition(b"\n")
            if newline:
                self._buffer = rest
                return line
            chunk = os.read(self.fd, _READ_BYTES)
            if not chunk:
                return b""
            self._buffer += chunk

    def is_waiting(self) -> bool:
        """Return whether the next line has arrived, or its beginning has."""
        if b"\n" in self._buffer:
            return True
        return fcntl.ioctl(self.fd, termios.FIONREAD, b"\0\0\0\0") != b"\0\0\0\0"

    def read_ready(self) -> list[bytes]:
        """Return the lines that a ready descriptor has completed; b"" is the end of the stream."""
        chunk = os.read(self.fd, _READ_BYTES)
        if not chunk:
            return [b""]
        *lines, self._buffer = (self._buffer + chunk).split(b"\n")
        return lines
