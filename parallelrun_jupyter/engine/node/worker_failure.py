"""Finds out why a worker ended: a timeout, or evidence in its stack dump and its log."""

from __future__ import annotations

import linecache
import os
import re
import signal
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...worker.error_types import OUT_OF_MEMORY
from ...worker.failures import is_under
from ..child_process import death_text
from ..scheduling.signals import Failure
from .fork_server import WORKER_FOLDER
from .memory_kills import MemoryKills
from .worker_process import STOPPED, WorkerProcess

_FRAME = re.compile(r'^  File "(?P<file>.*)", line (?P<line>\d+) in (?P<name>.*)$')
_LOG_TAIL_BYTES = 1 << 13
_TIMESTAMP_BYTES = len("2026-11-23T06:20:40.123Z")
_MAX_LINE_CHARACTERS = 300
_OUT_OF_MEMORY = (
    "the kernel killed the worker process (SIGKILL) because memory ran out; use smaller mini-batches, "
    "fewer workers on a machine, or a machine with more memory"
)


def failure_of(reported: Mapping[str, Any]) -> Failure:
    """Return the failure of a message."""
    return Failure(**{**reported, "bases": tuple(reported.get("bases", ()))})


def died_of_reading(worker: WorkerProcess) -> int:
    """Return the mini-batch that was read ahead, if it may have ended the process; otherwise -1.

    A fault of the parser kills the process while it reads; a kill for lack of memory may be for the
    rows that it held.
    """
    mini_batch, is_read = worker.page.read_ahead()
    if mini_batch < 0 or worker.kill_reason or not worker.pid:
        return -1
    end = os.waitid(os.P_PID, worker.pid, os.WEXITED | os.WNOWAIT)
    if end is None or end.si_code == os.CLD_EXITED:  # the script ended it
        return -1
    return mini_batch if not is_read or end.si_status == signal.SIGKILL else -1


def worker_failure(
    worker: WorkerProcess,
    status: int,
    location: str,
    stack: str,
    mini_batch: int,
    *,
    kills: MemoryKills,
) -> Failure:
    """Return the failure of a worker that ended without reporting one.

    Parameters
    ----------
    worker
        The worker.
    status
        Its exit status.
    location, stack
        The line of the user's code and the stack at its end, if known.
    mini_batch
        The mini-batch that it was running; -1 for none.
    kills
        The kernel's kills for lack of memory.
    """
    location = location or ("run()" if worker.is_ready else "init()")
    if worker.kill_reason:
        kind, error, message = worker.kill_kind, "Timeout", worker.kill_reason
        if kind == "load_timeout":
            location = "loading"
    elif status == -signal.SIGKILL and kills.explain_death(worker.kills_before):
        kind, error, message = OUT_OF_MEMORY, "OutOfMemory", _OUT_OF_MEMORY
    else:
        kind, error = "worker_lost", "WorkerLost"
        message = f"the worker process died with {death_text(status)}"
        if status >= 0:
            message += ": the script or a library ended the process, for example with os._exit()"
        last_line = _last_stderr_line(worker.log, mini_batch)
        message += f"; the last line on stderr: {last_line}" if last_line else ""
    return Failure(kind, error, message, f"{error} at {location}", stack)


def attempt_failure(
    worker: WorkerProcess, reported: Failure, mini_batch: int, kills: MemoryKills
) -> Failure:
    """Return the failure that a worker reported for an attempt, or the timeout that caused it.

    A script may turn SIGTERM into an exception, which ends its ``run()`` after a timeout.
    """
    if not worker.kill_reason or worker.kill_reason == STOPPED:
        return reported
    location = reported.group.partition(" at ")[2]
    failure = worker_failure(worker, 0, location, reported.traceback, mini_batch, kills=kills)
    return replace(failure, suspect=reported.suspect)


def read_stack(dump: str, roots: Sequence[str]) -> tuple[str, str]:
    """Return (location, text) of the last stack that ``faulthandler`` has dumped.

    Parameters
    ----------
    dump
        Its output: the innermost frame first.
    roots
        Folders of the user's own code.

    Returns
    -------
    tuple of str
        The innermost line of the user's code as ``file.py:12 in run``, and the stack in the order
        of a traceback; both are empty without a stack.
    """
    frames = []
    for row in dump.rpartition("(most recent call first):\n")[2].splitlines():
        match = _FRAME.match(row)
        if match is None:
            break
        frames.append((match["file"], int(match["line"]), match["name"]))
    frames = [frame for frame in frames if not _is_ours(frame[0])]
    user_frames = [frame for frame in frames if is_under(frame[0], list(roots))]
    if not frames:
        return "", ""
    file, line, name = (user_frames or frames)[0]
    lines = ["Stack (most recent call last):"]
    for path, number, function in reversed(frames):
        lines.append(f'  File "{path}", line {number}, in {function}')
        source = linecache.getline(path, number).strip()
        if source:
            lines.append(f"    {source}")
    return f"{os.path.basename(file)}:{line} in {name}", "\n".join(lines) + "\n"


def _is_ours(path: str) -> bool:
    return path.startswith((f"{WORKER_FOLDER}{os.sep}", "<frozen "))


def _last_stderr_line(log: Path, mini_batch: int) -> str:
    """Return the last line that a worker wrote to standard error during a mini-batch, -1 for none.

    C code writes there why it ends the process.
    """
    tag = b" STDERR #%d " % mini_batch if mini_batch >= 0 else b" STDERR #- "
    try:
        with open(log, "rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _LOG_TAIL_BYTES))
            lines = file.read().splitlines()
    except OSError:
        return ""
    texts = [line.partition(tag)[2] for line in lines if line.find(tag) == _TIMESTAMP_BYTES]
    return texts[-1].decode("utf-8", "replace").strip()[:_MAX_LINE_CHARACTERS] if texts else ""
