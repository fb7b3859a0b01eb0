"""The log of a worker: every line the script prints or logs, with time, level and mini-batch.

A line is ``2026-11-23T06:20:40.123Z STDOUT #17 text``: ``#-`` outside of any mini-batch.
"""

from __future__ import annotations

import fcntl
import io
import os
import stat
import sys
import termios
import time

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing is not worth its import in a worker
    from typing import Any


LINE_BYTES = 1 << 16
"""Text without a line end is kept up to this length; then it is logged in pieces."""

_READ_PATIENCE_S = 2.0
_NO_TIME_S = 0.00005


class WorkerLog:
    """Appends whole tagged lines to the worker's log file."""

    def __init__(self, path: str) -> None:
        self.fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self.tag = b"#-"

    def set_mini_batch(self, mini_batch: int) -> None:
        """Tag the lines from here on; -1 for none."""
        self.tag = b"#%d" % mini_batch if mini_batch >= 0 else b"#-"

    def write_lines(self, level: bytes, text: bytes) -> None:
        """Append the lines of ``text``, which needs no line end."""
        try:
            os.write(self.fd, tag_lines(level, self.tag, text, time.time()))
        except OSError:
            pass  # a full disk loses log lines; it must not fail the script that prints them


def tag_lines(level: bytes, tag: bytes, text: bytes, now: float) -> bytes:
    """Return the lines of ``text``, each behind its time, level and mini-batch."""
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now))
    head = b"%s.%03dZ %s %s " % (stamp.encode("ascii"), int(now * 1000) % 1000, level, tag)
    body = text[:-1] if text.endswith(b"\n") else text
    return b"".join(head + line + b"\n" for line in body.split(b"\n"))


def take_lines(partial: bytes, data: bytes) -> tuple[bytes | None, bytes]:
    """Return the text that can be logged, without its last line end, and the beginning of a line.

    Text without a line end that gets longer than `LINE_BYTES` is cut: behind a carriage return, as
    progress bars have them, or else between two characters. No byte of it is lost.

    Parameters
    ----------
    partial
        The beginning of a line that an earlier call returned.
    data
        What comes after it.

    Returns
    -------
    tuple
        None as the first where there is nothing to log yet.
    """
    lines, newline, rest = (partial + data).rpartition(b"\n")
    if len(rest) <= LINE_BYTES:
        return (lines if newline else None), rest
    pieces = [lines] if newline else []
    while len(rest) > LINE_BYTES:
        end = _piece_end(rest)
        pieces.append(rest[:end])
        rest = rest[end:]
    return b"\n".join(pieces), rest


def _piece_end(text: bytes) -> int:
    """Return where to cut a text that is longer than `LINE_BYTES`."""
    end = text.rfind(b"\r", 0, LINE_BYTES) + 1
    if end:
        return end
    end = LINE_BYTES
    while end > LINE_BYTES - 3 and text[end] & 0xC0 == 0x80:  # inside of a UTF-8 character
        end -= 1
    return end


class _Tagger(io.RawIOBase):
    """The raw end of a replaced ``sys.stdout``: completes lines, then logs them."""

    def __init__(self, log: WorkerLog, level: bytes, fd: int) -> None:
        super(_Tagger, self).__init__()
        self._log = log
        self._level = level
        self._fd = fd
        self._partial = b""

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._fd  # subprocess.run(..., stdout=sys.stdout) goes through the node's pipe

    def write(self, data: Any) -> int:
        lines, self._partial = take_lines(self._partial, bytes(data))
        if lines is not None:
            self._log.write_lines(self._level, lines)
        return len(data)

    def end_line(self) -> None:
        """Log what has no line end yet: the mini-batch is over."""
        if self._partial:
            text, self._partial = self._partial, b""
            self._log.write_lines(self._level, text)


class UserStreams:
    """Replaces ``sys.stdout`` and ``sys.stderr``, and listens to ``logging`` once it is imported.

    Descriptors 1 and 2 stay what the node made them, pipes that it logs in the same form: there
    goes what C code and child processes write.
    """

    def __init__(self, log: WorkerLog, logging_level: str) -> None:
        self._log = log
        self._level = logging_level
        self._out = _Tagger(log, b"STDOUT", 1)
        self._err = _Tagger(log, b"STDERR", 2)
        sys.stdout = self._stream(self._out)
        sys.stderr = self._stream(self._err)
        self._streams = (sys.stdout, sys.stderr)
        self._pipes = [1, 2]
        if "logging" in sys.modules:  # a template has imported it
            self._listen(sys.modules["logging"])
        else:
            sys.meta_path.insert(0, _LoggingHook(self._listen))

    @staticmethod
    def _stream(raw: _Tagger) -> io.TextIOWrapper:
        return io.TextIOWrapper(
            io.BufferedWriter(raw), encoding="utf-8", errors="backslashreplace", line_buffering=True
        )

    def end_mini_batch(self, took_s: float = 1.0) -> None:
        """Write out what the mini-batch left without a line end.

        Where ``run()`` took no time, what it wrote past ``sys.stdout`` (C code, a child process)
        is not waited for: asking would take longer than it did. Its lines may have the number of
        one of the next mini-batches.
        """
        for stream in self._streams:
            if not stream.closed:
                stream.flush()
        self._out.end_line()
        self._err.end_line()
        if took_s > _NO_TIME_S:
            self._pipes = [fd for fd in self._pipes if _is_read_empty(fd)]

    def _listen(self, logging: Any) -> None:
        """Log records that no handler of the script takes, from the run's level on.

        ``logging.lastResort`` is the hook that leaves a script's own ``basicConfig`` in force.
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

    False says that there is no use in asking again: the script has put something else there.
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
            return True  # a node that busy: its tags may be wrong for once
        time.sleep(0.0002)


class _LoggingHook:
    """A finder that calls back after the first ``import logging``, then stands aside.

    So a script that does not log does not pay for importing ``logging``.
    """

    def __init__(self, callback: Any) -> None:
        self._callback = callback

    def find_spec(self, name: str, *_: Any) -> Any:
        """Take part in the import of ``logging`` only."""
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
