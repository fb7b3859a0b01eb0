"""The log of a worker: every line that the script prints or logs, with time, level and mini-batch.

A line is ``2026-11-23T06:20:40.123Z STDOUT #17 text``; ``#-`` stands for no mini-batch. A line
that ends in `OPEN_END` is a state of a moving progress bar; a later line replaces it.
"""

from __future__ import annotations

import contextvars
import fcntl
import io
import os
import stat
import sys
import termios
import time

from .log_limit import LogLimit

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing is not worth its import in a worker
    from typing import Any


LINE_BYTES = 1 << 16
"""Text without a line end is buffered up to this length, then logged in pieces."""

OPEN_END = b"\r\r"
"""The end of a line that is an intermediate state of a progress bar."""

STATE_EVERY_S = 2.0
"""Seconds between two logged states of a bar; a long-running bar is logged less often."""

_STATES_OF_A_BAR = 20
_MAX_ROWS = 32
_READ_PATIENCE_S = 2.0
_NO_TIME_S = 0.00005


current_tag = contextvars.ContextVar("current_tag", default=b"#-")  # type: contextvars.ContextVar[bytes]
"""The tag of the call whose code runs, in a worker with several calls in flight."""


def tag_of(mini_batch: int) -> bytes:
    """Return the tag of lines of a mini-batch; -1 for none."""
    return b"#%d" % mini_batch if mini_batch >= 0 else b"#-"


class WorkerLog:
    """Appends whole tagged lines to the worker's log file."""

    def __init__(self, path: str) -> None:
        self.fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._limit = LogLimit(path)
        self._mini_batch = -1
        #: whether each call has its own tag, as several are in flight
        self.is_divided = False

    @property
    def tag(self) -> bytes:
        """The tag of the following lines."""
        return current_tag.get() if self.is_divided else tag_of(self._mini_batch)

    def set_mini_batch(self, mini_batch: int) -> None:
        """Set the mini-batch of the following lines; -1 for none."""
        self._mini_batch = mini_batch

    def write_lines(self, level: bytes, text: bytes, end: bytes = b"") -> None:
        """Append the lines of ``text``; its last line end may be missing."""
        try:
            self._limit.add(os.write(self.fd, tag_lines(level, self.tag, text, time.time(), end)))
        except OSError:
            pass  # a full disk loses log lines, but does not fail the script that prints them


def tag_lines(level: bytes, tag: bytes, text: bytes, now: float, end: bytes = b"") -> bytes:
    r"""Return the lines of ``text``, each prefixed with its time, level and mini-batch.

    A ``\r`` inside, as in a traceback, starts a new line. ``end`` is appended to each line:
    `OPEN_END` for the states of a bar.
    """
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now))
    head = b"%s.%03dZ %s %s " % (stamp.encode("ascii"), int(now * 1000) % 1000, level, tag)
    body = text[:-1] if text.endswith(b"\n") else text
    if b"\r" in body:
        body = body.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return b"".join(head + line + end + b"\n" for line in body.split(b"\n"))


class _Row:
    """One row of a terminal: its text, and whether the next text replaces it."""

    __slots__ = ("at_start", "had_text", "is_bar", "text")

    def __init__(self, is_bar: bool = False) -> None:  # noqa: FBT001, FBT002 - internal
        self.text = b""
        self.is_bar = is_bar
        self.had_text = is_bar
        self.at_start = False

    def add(self, text: bytes) -> None:
        """Write text at the cursor; text at the start of the row replaces the row."""
        self.text = text if self.at_start else self.text + text
        self.at_start = False
        self.had_text = self.had_text or not text.isspace()

    def is_shown(self) -> bool:
        """Return whether the row becomes a line; an erased bar does not."""
        return not (self.is_bar and self.had_text) or bool(self.text.strip())


class ShownLines:
    r"""Turns output into lines, as a terminal would show them.

    ``\r`` returns to the start of the line, so a progress bar becomes one line: its last state.
    ``ESC [ A`` moves up one row: bars in several rows, such as those of tqdm, keep a row each. While
    a bar moves, some of its states are returned: the first one, then one every two seconds or every
    twentieth of the bar's duration, whichever is longer.
    """

    def __init__(self, clock: Any = time.monotonic) -> None:
        self._clock = clock
        self._state_at = float("-inf")
        self._held = b""
        self._restart()

    def _restart(self) -> None:
        self._rows = [_Row()]
        self._row = 0
        self._new_rows = 0  # at the bottom, since the cursor last went up
        self._began = 0.0

    def feed(self, data: bytes) -> Any:
        """Add output; return the finished lines, and the states of moving bars.

        Each is text without a last line end, or None.
        """
        if b"\r" in data:
            data = data.replace(b"\r\n", b"\n")
        row = self._rows[0]
        is_plain = not (row.is_bar or self._held or len(self._rows) > 1)
        if not is_plain or b"\r" in data or b"\x1b" in data:
            return self._draw(self._held + data)
        lines, newline, rest = (row.text + data).rpartition(b"\n")
        if len(rest) > LINE_BYTES:
            end = _piece_end(rest)
            lines, newline, rest = lines + newline + rest[:end], b"\n", rest[end:]
        row.text = rest
        return (lines if newline else None), None

    def end(self) -> Any:
        """Return the unfinished text as lines, without the last line end, or None."""
        lines = [row.text for row in self._rows if row.text and row.is_shown()]
        if self._held.strip(b"\x1b["):
            lines.append(self._held)
        self._held = b""
        self._restart()
        return b"\n".join(lines) if lines else None

    def _draw(self, data: bytes) -> Any:
        """Move a cursor over a few rows; rows that cannot change any more become lines."""
        import re  # json has imported it

        lines: list[bytes] = []
        self._held = b""
        for match in re.finditer(
            rb"\r|\n|\x1b\[(\d*)A|\x1b\[\d?K|\x1b\[?\d*\Z|[^\r\n\x1b]+|\x1b", data
        ):
            token = match[0]
            row = self._rows[self._row]
            if token == b"\r":
                row.is_bar = row.at_start = True
            elif token == b"\n":
                self._next_row(lines)
            elif token.startswith(b"\x1b[") and token.endswith(b"A"):
                self._move_up(int(match[1] or 1))
            elif token.startswith(b"\x1b[") and token.endswith(b"K"):
                if row.at_start:
                    row.text = b""
            elif token.startswith(b"\x1b") and match.end() == len(data):
                self._held = token[-16:]  # its rest comes with the next write
            else:
                row.add(token)
                if len(row.text) > LINE_BYTES:
                    self._next_row(lines)
        return (b"\n".join(lines) if lines else None), self._states()

    def _next_row(self, lines: list[bytes]) -> None:
        rows = self._rows
        if self._row < len(rows) - 1:
            self._row += 1
            rows[self._row].at_start = True
            return
        self._new_rows += 1
        if self._new_rows >= len(rows):  # all bars are final
            lines.extend(row.text for row in rows if row.is_shown())
            self._restart()
            return
        top = rows.pop(0)
        if top.is_shown():
            lines.append(top.text)
        rows.append(_Row())

    def _move_up(self, count: int) -> None:
        self._new_rows = 0
        for _ in range(min(count, _MAX_ROWS)):
            if self._row:
                self._row -= 1
            elif len(self._rows) < _MAX_ROWS:
                self._rows.insert(0, _Row(is_bar=True))  # the previous row has become a line
        self._rows[self._row].at_start = True

    def _states(self) -> Any:
        """Return the current states of the bars if they are due to be logged, else None."""
        states = [row.text for row in self._rows if row.is_bar and row.text.strip()]
        if not states:
            return None
        now = self._clock()
        self._began = self._began or now
        pause = max(STATE_EVERY_S, (now - self._began) / _STATES_OF_A_BAR)
        if now - self._state_at < pause:
            return None
        self._state_at = now
        return b"\n".join(states)


def _piece_end(text: bytes) -> int:
    """Return the offset to cut a long text: between characters, at most three bytes before its end."""
    end = len(text)
    start = end - 1
    while start > end - 4 and text[start] & 0xC0 == 0x80:
        start -= 1
    first = text[start]
    width = 4 if first >= 0xF0 else 3 if first >= 0xE0 else 2 if first >= 0xC0 else 1
    return start if start + width > end else end


class _Tagger(io.RawIOBase):
    """The raw end of a replaced ``sys.stdout``: completes lines, then logs them."""

    def __init__(self, log: WorkerLog, level: bytes, fd: int) -> None:
        super(_Tagger, self).__init__()
        self._log = log
        self._level = level
        self._fd = fd
        self._lines = ShownLines()
        #: whether text was written since `end_line`
        self.is_used = False
        #: the unfinished lines of each call, by its tag, if several are in flight
        self._divided: dict[bytes, ShownLines] = {}

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._fd  # for subprocess.run(..., stdout=sys.stdout): the node's pipe

    def write(self, data: Any) -> int:
        shown = self._lines
        self.is_used = True
        if self._log.is_divided:
            tag = self._log.tag
            if tag not in self._divided:
                self._divided[tag] = ShownLines()
            shown = self._divided[tag]
        lines, states = shown.feed(bytes(data))
        if lines is not None:
            self._log.write_lines(self._level, lines)
        if states is not None:
            self._log.write_lines(self._level, states, OPEN_END)
        return len(data)

    def end_line(self) -> None:
        """Log the unfinished text at the end of a mini-batch."""
        self.is_used = self._log.is_divided  # then the text of other calls may be unfinished
        shown = self._lines
        if self._log.is_divided:
            shown = self._divided.pop(self._log.tag, shown)
        text = shown.end()
        if text is not None:
            self._log.write_lines(self._level, text)


class UserStreams:
    """Replaces ``sys.stdout`` and ``sys.stderr``, and handles ``logging`` once it is imported.

    Descriptors 1 and 2 stay pipes of the node, which logs them in the same form: the output of C code
    and child processes goes there.
    """

    def __init__(self, log: WorkerLog, logging_level: str) -> None:
        self._log = log
        self._level = logging_level
        self._out = _Tagger(log, b"STDOUT", 1)
        self._err = _Tagger(log, b"STDERR", 2)
        sys.stdout = self._stream(self._out)
        sys.stderr = self._stream(self._err)
        self._streams: Any = (sys.stdout, sys.stderr)
        self._pipes = [1, 2]
        if "logging" in sys.modules:  # imported by the fork server
            self._listen(sys.modules["logging"])
        else:
            sys.meta_path.insert(0, _LoggingHook(self._listen))

    @staticmethod
    def _stream(raw: _Tagger) -> io.TextIOWrapper:
        return io.TextIOWrapper(
            io.BufferedWriter(raw), encoding="utf-8", errors="backslashreplace", line_buffering=True
        )

    def divide_by_call(self) -> None:
        """Keep the lines of calls apart that are in flight at the same time."""
        self._log.is_divided = True
        # Without a buffer, in which parts of lines of several calls would mix.
        for buffered in self._streams:
            buffered.detach().detach()  # else it closes its raw end
        sys.stdout, sys.stderr = self._streams = tuple(
            io.TextIOWrapper(raw, "utf-8", "backslashreplace", write_through=True)
            for raw in (self._out, self._err)
        )
        self._pipes = []

    def end_mini_batch(self, took_s: float = 1.0) -> None:
        """Write the unfinished lines of a mini-batch, which took ``took_s`` seconds.

        After a very short ``run()``, output past ``sys.stdout`` (C code, a child process) is not
        waited for, since the check would take longer than ``run()``. Such lines may have the number
        of one of the next mini-batches.
        """
        for stream in self._streams:
            if not stream.closed:
                stream.flush()
        for raw in (self._out, self._err):
            if raw.is_used:
                raw.end_line()
        if took_s > _NO_TIME_S:
            self._pipes = [fd for fd in self._pipes if _is_read_empty(fd)]

    def _listen(self, logging: Any) -> None:
        """Log records without a handler of the script, from the run's level on.

        ``logging.lastResort`` is a hook that leaves the script's own ``basicConfig`` in force.
        """
        log = self._log

        class Handler(logging.Handler):  # type: ignore[misc]
            def emit(self, record: Any) -> None:
                try:
                    text = self.format(record).encode("utf-8", "backslashreplace")
                except Exception:  # the user's message and arguments, formatted
                    self.handleError(record)
                    return
                log.write_lines(record.levelname.encode("utf-8", "replace"), text)

        handler = Handler(level=getattr(logging, self._level))
        handler.setFormatter(logging.Formatter("%(name)s: %(message)s"))
        logging.lastResort = handler
        logging.getLogger().setLevel(getattr(logging, self._level))


def _is_read_empty(fd: int) -> bool:
    """Wait until the node has read the pipe, so that it tags the text with the right mini-batch.

    Return False if the descriptor is not the node's pipe any more, and need not be checked again.
    """
    until = 0.0
    while True:
        try:
            waiting = fcntl.ioctl(fd, termios.FIONREAD, b"\0\0\0\0")
        except OSError:
            return False
        if waiting == b"\0\0\0\0":
            return True
        now = time.monotonic()
        if not until:
            if not stat.S_ISFIFO(os.fstat(fd).st_mode):
                return False
            until = now + _READ_PATIENCE_S
        if now > until:
            return True  # the node is too busy: some tags may be wrong
        time.sleep(0.0002)


class _LoggingHook:
    """A finder that calls back after the first ``import logging``, then removes itself.

    A script that does not log should not pay for importing ``logging``.
    """

    def __init__(self, callback: Any) -> None:
        self._callback = callback

    def find_spec(self, name: str, *_: Any) -> Any:
        """Find ``logging`` only."""
        if name != "logging":
            return None
        import importlib.util

        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is None or spec.loader is None:
            return None
        execute, callback = spec.loader.exec_module, self._callback

        def exec_module(module: Any) -> None:
            execute(module)
            callback(module)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec
