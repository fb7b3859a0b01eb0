"""The output's way into a store: a process does it, a thread waits for that, the driver goes on."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from ..events import PartStored
from ..runs.folders import write_atomically
from ..runs.parts import dataset_url
from ..runs.record import RunRecord
from ..runs.store import RunFolder
from . import signals
from .signals import Signal

_SLOWEST_BYTES_PER_S = 1 << 20
_START_S = 5.0
_READ_BYTES = 1 << 16


def limit_s(overhead_s: float, size_bytes: int) -> float:
    """Return how long a store may take for something of a size: what it does not take has stalled."""
    return overhead_s + _START_S + size_bytes / _SLOWEST_BYTES_PER_S


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
        found = [path for path in found if os.path.isfile(path)]  # a pipe could be waited for
        self._files = [(path, os.path.relpath(path, root).replace(os.sep, "/")) for path in found]
        if final is not None:
            self._files.append((str(final), final.name))
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._wait, name="upload")
        size_bytes = sum(os.path.getsize(path) for path, _ in self._files)
        self._limit_s = limit_s(record.task_overhead_timeout_s, size_bytes)

    def start(self) -> None:
        """Begin; call it from the driver's lasting thread, whose end ends the process."""
        if self._files:
            self._spawn("parallelrun_jupyter.data.upload")
        self._thread.start()

    def _spawn(self, module: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=self._cwd,
            start_new_session=True,
        )

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
                "(task_overhead_timeout, 5 s to begin, and a second for each MB)."
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


class PartsUpload(Upload):
    """Makes one output of the parts that the nodes have put, and puts what the script has written.

    Parameters
    ----------
    folder, record, tell
        As of `Upload`.
    parts
        What the journal names, in input order.
    """

    def __init__(
        self,
        folder: RunFolder,
        record: RunRecord,
        parts: Sequence[PartStored],
        tell: Callable[[Signal], None],
    ) -> None:
        super().__init__(folder, record, None, tell)
        self._parts = parts
        self._job = folder.output / "publish.json"
        self._size_bytes = 0
        largest = max((part.size_bytes for part in parts), default=0)
        self._limit_s += 2 * largest / _SLOWEST_BYTES_PER_S  # it may have to be put once more

    def start(self) -> None:
        """Begin; call it from the driver's lasting thread, whose end ends the process."""
        rows = [
            {
                "name": part.name,
                "first": part.first,
                "mini_batches": part.count,
                "rows": part.rows,
                "size_bytes": part.size_bytes,
            }
            for part in self._parts
        ]
        words = {
            "storage": self._record.output_storage,
            "output": self._record.output,
            "files": self._files,
            "url": dataset_url(self._record),
            "run_id": self._record.run_id,
            "parts": rows,
            "temporary": str(self._job.with_suffix(".part")),
        }
        write_atomically(self._job, json.dumps(words))
        self._spawn("parallelrun_jupyter.engine.part_process")
        self._thread.start()

    def _wait(self) -> None:
        reason = self._put()
        if reason:
            kept = "The parts are in the store; put that right, and run.resume() publishes them"
            self._tell(signals.OutputNotPublished(f"the output could not be put: {reason} {kept}"))
        else:
            self._tell(signals.OutputPublished(dataset_url(self._record), self._size_bytes))

    def _put(self) -> str:
        """Return why it failed, or nothing."""
        assert self._process is not None
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(["publish", str(self._job)]).encode() + b"\n")
            self._process.stdin.close()
        except BrokenPipeError:
            pass  # it is dead: its answers end
        for answer in self._answers():
            match answer:
                case ["done", _, size_bytes]:
                    self._size_bytes = size_bytes
                    return ""
                case ["failed", reason, _]:
                    return str(reason)
                case ["silent"]:
                    self.stop()
                    return (
                        f"{dataset_url(self._record)!r} has not answered for {self._limit_s:.0f} s "
                        "(task_overhead_timeout, 5 s, and a second for each MB of a part)."
                    )
        return "the process that puts it died; logs/driver.log in the run's folder says more."

    def _answers(self) -> Iterator[list[Any]]:
        """Yield what the process says, and where it says nothing for too long, that."""
        assert self._process is not None
        assert self._process.stdout is not None
        fd = self._process.stdout.fileno()
        rest = b""
        while select.select([fd], [], [], self._limit_s)[0]:
            data = os.read(fd, _READ_BYTES)
            if not data:
                return
            *lines, rest = (rest + data).split(b"\n")
            yield from map(json.loads, lines)
        yield ["silent"]

    def close(self) -> None:
        """End it, and wait for that."""
        super().close()
        if self._process is not None:
            self._process.wait()
            if self._process.stdout is not None:
                self._process.stdout.close()
        for path in self._job.parent.glob(f"{self._job.stem}.*"):
            path.unlink()
