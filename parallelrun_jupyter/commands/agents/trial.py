"""Tries a mini-batch for an agent, in a process of its own: ``parallelrun try``."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import anyio
from anyio.abc import Process
from anyio.to_thread import run_sync

from ...client.run import Run
from .answers import Answer, answer
from .bounds import LIMIT_BYTES
from .places import check_path
from .reading import within

TIMEOUT_LIMIT_S = 600
_GRACE_S = 1

_trials: set[int] = set()
"""The process groups of the trials that run."""


def kill_trials() -> None:
    """Kill the trials, before this process ends at once."""
    for group in tuple(_trials):
        with suppress(ProcessLookupError):
            os.killpg(group, signal.SIGKILL)


class _Output:
    """The first and the last bytes of an output of any length."""

    def __init__(self) -> None:
        self._head = b""
        self._tail = b""
        self._skipped = 0

    def add(self, piece: bytes) -> None:
        """Add bytes."""
        room = LIMIT_BYTES // 2 - len(self._head)
        self._head += piece[:room]
        self._tail += piece[room:]
        self._skipped += max(0, len(self._tail) - LIMIT_BYTES // 2)
        self._tail = self._tail[-(LIMIT_BYTES // 2) :]

    def text(self) -> str:
        """Return the bytes as text; a remark has the number of those left out between."""
        head, tail = (part.decode("utf-8", "replace") for part in (self._head, self._tail))
        if not self._skipped:
            return (self._head + self._tail).decode("utf-8", "replace")
        return f"{head}\n... {self._skipped:,} bytes left out ...\n{tail}"


async def try_mini_batch(
    root: Path | None, run: Run, mini_batch: int, entry_script: str, timeout_s: float
) -> Answer:
    """Run one mini-batch in a process that is killed with all its children at the end."""
    command = _command(root, run, mini_batch, entry_script, timeout_s)
    output = _Output()
    status: int | None = None
    # -m puts the current directory first on sys.path: the run's folder has no module of the user.
    process = await anyio.open_process(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        start_new_session=True, cwd=run.folder.path,
    )  # fmt: skip
    _trials.add(process.pid)
    try:
        with anyio.move_on_after(timeout_s):
            async with anyio.create_task_group() as reading:
                reading.start_soon(_read, process, output)
                status = await process.wait()
                # A process that the script left behind may hold the pipe open.
                reading.cancel_scope.deadline = anyio.current_time() + _GRACE_S
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        with anyio.CancelScope(shield=True):
            await process.wait()
            await process.aclose()
        _trials.discard(process.pid)
    return await run_sync(_answer, run.run_id, mini_batch, status, timeout_s, output.text())


def _command(
    root: Path | None, run: Run, mini_batch: int, entry_script: str, timeout_s: float
) -> list[str]:
    """Return the words of ``parallelrun try``, after a check of the arguments."""
    within("timeout_s", timeout_s, 1, TIMEOUT_LIMIT_S)
    within("mini_batch", mini_batch, 0, 1 << 40)
    command = [sys.executable, "-m", "parallelrun_jupyter", "try", str(mini_batch), run.run_id]
    # It kills itself, should this process be killed before it.
    command.append(f"--timeout={int(timeout_s) + _GRACE_S}")
    if entry_script:
        check_path(root, "entry_script", entry_script)
        command.append(f"--entry-script={Path(entry_script).expanduser().absolute()}")
    return command


async def _read(process: Process, output: _Output) -> None:
    if process.stdout is not None:
        async for piece in process.stdout:
            output.add(piece)


def _answer(
    run_id: str, mini_batch: int, status: int | None, timeout_s: float, text: str
) -> Answer:
    if status is None:
        head = f"killed after {timeout_s:g} s, the limit timeout_s"
    elif status < 0:
        head = f"killed by signal {-status}"
    else:
        head = "the script succeeded" if status == 0 else f"failed, with exit status {status}"
    fields = {
        "run_id": run_id,
        "mini_batch": mini_batch,
        "is_ok": status == 0,
        "exit_status": status,
        "is_timeout": status is None,
        "output": text,
    }
    more = "Let the script print less."
    return answer(f"mini-batch {mini_batch}: {head}\n{text}", fields, more, keeps_end=True)
