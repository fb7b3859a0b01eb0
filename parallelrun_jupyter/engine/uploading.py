"""The output's way into a store: a process does it, a thread waits for that, the driver goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from ..runs.record import RunRecord
from ..runs.store import RunFolder
from . import signals
from .signals import Signal

_SLOWEST_BYTES_PER_S = 1 << 20


class Upload:
    """Puts the final file of a run, and what its script has written, where the output is to be.

    Parameters
    ----------
    folder, record
        The run.
    final
        The final file here; None for a run whose script writes its own output only.
    tell
        Called once, with `OutputPublished` or `OutputNotPublished`.
    """

    def __init__(
        self,
        folder: RunFolder,
        record: RunRecord,
        final: Path | None,
        tell: Callable[[Signal], None],
    ) -> None:
        self._record = record
        self._tell = tell
        self._cwd = folder.path
        self._final = final
        root = folder.script_output(record)
        found = [os.path.join(at, name) for at, _, names in os.walk(root) for name in sorted(names)]
        self._files = [(path, os.path.relpath(path, root).replace(os.sep, "/")) for path in found]
        if final is not None:
            self._files.append((str(final), final.name))
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._wait, name="upload")
        size_bytes = sum(os.path.getsize(path) for path, _ in self._files)
        self._limit_s = record.task_overhead_timeout_s + size_bytes / _SLOWEST_BYTES_PER_S

    def start(self) -> None:
        """Begin; call it from the driver's lasting thread, whose end ends the process."""
        if self._files:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "parallelrun_jupyter.data.upload", str(os.getpid())],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                cwd=self._cwd,
                start_new_session=True,
            )
        self._thread.start()

    def _wait(self) -> None:
        reason = self._put() if self._process else ""
        where = f"{self._record.output}/{self._final.name}" if self._final else ""
        if reason:
            kept = f"The rows are safe in {self._cwd / 'output'}; put that right, and run.resume() publishes them"
            self._tell(signals.OutputNotPublished(f"the output could not be put: {reason} {kept}"))
        else:
            size_bytes = self._final.stat().st_size if self._final else 0
            self._tell(signals.OutputPublished(where, size_bytes))

    def _put(self) -> str:
        """Return why it failed, or nothing."""
        assert self._process is not None
        job = {
            "storage": self._record.output_storage,
            "url": self._record.output,
            "files": self._files,
        }
        try:
            said, _ = self._process.communicate(json.dumps(job).encode() + b"\n", self._limit_s)
        except subprocess.TimeoutExpired:
            self.stop()
            return (
                f"{self._record.output!r} did not take it within {self._limit_s:.0f} s "
                "(task_overhead_timeout, and a second for each MB)."
            )
        if not said:
            return "the process that puts it died; logs/driver.log in the run's folder says more."
        answer = json.loads(said)
        return answer[1] if answer[0] == "failed" else ""

    def stop(self) -> None:
        """End it, where it is."""
        if self._process is not None and self._process.poll() is None:
            try:
                os.killpg(self._process.pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                pass

    def close(self) -> None:
        """End it, and wait for that."""
        self.stop()
        if self._thread.ident is not None:
            self._thread.join()
