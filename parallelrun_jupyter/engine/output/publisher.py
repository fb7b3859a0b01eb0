"""The output's way into a store: a process does it, a thread waits for that, the driver goes on."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from ...files import write_atomically
from ...runs.journal.events import PartStored
from ...runs.run_folder import RunFolder
from ...runs.run_record import RunRecord
from ..child_process import ChildProcess, HelperEnd
from ..scheduling import signals
from ..scheduling.signals import Signal

_SLOWEST_BYTES_PER_S = 1 << 20
_START_S = 5.0


def limit_s(overhead_s: float, size_bytes: int) -> float:
    """Return how long a store may take for something of a size: what it does not take has stalled."""
    return overhead_s + _START_S + size_bytes / _SLOWEST_BYTES_PER_S


class FilePublisher:
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
        self._final_bytes = final.stat().st_size if final else 0
        root = folder.script_output(record)
        found = [os.path.join(at, name) for at, _, names in os.walk(root) for name in sorted(names)]
        found = [path for path in found if os.path.isfile(path)]  # a pipe could be waited for
        self._files = [(path, os.path.relpath(path, root).replace(os.sep, "/")) for path in found]
        if final is not None:
            self._files.append((str(final), final.name))
        self._helper: ChildProcess | None = None
        self._end: HelperEnd | None = None
        self._thread = threading.Thread(target=self._wait, name="upload")
        size_bytes = sum(os.path.getsize(path) for path, _ in self._files)
        self._limit_s = limit_s(record.limits.task_overhead_timeout, size_bytes)

    def start(self) -> None:
        """Begin; call it from the driver's lasting thread, whose end ends the process."""
        if self._files:
            self._spawn("parallelrun_jupyter.data.storage.upload_process")
        self._thread.start()

    def _spawn(self, module: str) -> None:
        self._helper = ChildProcess(module, self._cwd)

    def _wait(self) -> None:
        reason = self._put() if self._helper else ""
        where = f"{self._record.output.destination}/{self._final.name}" if self._final else ""
        if reason:
            kept = f"The rows are safe in {self._cwd / 'output'}; put that right, and run.resume() publishes them"
            self._tell_failure(reason, kept)
        else:
            self._tell(signals.OutputPublished(where, self._final_bytes))

    def _tell_failure(self, reason: str, kept: str) -> None:
        trace = self._end.traceback if self._end else ""
        text = f"the output could not be put: {reason} {kept}"
        self._tell(signals.OutputNotPublished(text, trace))

    def _put(self) -> str:
        """Return why it failed, or nothing."""
        assert self._helper is not None
        job = {
            "storage": self._record.output.storage,
            "url": self._record.output.destination,
            "files": self._files,
        }
        try:
            answers = self._helper.exchange(job, self._limit_s)
        except subprocess.TimeoutExpired:
            self.stop()
            return (
                f"{self._record.output.destination!r} did not take it within {self._limit_s:.0f} s "
                "(task_overhead_timeout, 5 s to begin, and a second for each MB)."
            )
        if not answers:
            return self._why_ended()
        return str(answers[0][1]) if answers[0][0] == "failed" else ""

    def _why_ended(self) -> str:
        """Return why the process ended without an answer."""
        assert self._helper is not None
        self._end = self._helper.died()
        return self._end.sentence

    def stop(self) -> None:
        """End it, where it is."""
        if self._helper is not None:
            self._helper.kill()

    def close(self) -> None:
        """End it, and wait for that."""
        self.stop()
        if self._thread.ident is not None:
            self._thread.join()
        if self._helper is not None:
            self._helper.end()


class PartsPublisher(FilePublisher):
    """Makes one output of the parts that the nodes have put, and puts what the script has written.

    Parameters
    ----------
    folder, record, tell
        As of `FilePublisher`.
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
            "storage": self._record.output.storage,
            "output": self._record.output.destination,
            "files": self._files,
            "url": self._record.output.url,
            "run_id": self._record.run_id,
            "parts": rows,
            "temporary": str(self._job.with_suffix(".part")),
        }
        write_atomically(self._job, json.dumps(words))
        self._spawn("parallelrun_jupyter.engine.output.part_process")
        self._thread.start()

    def _wait(self) -> None:
        reason = self._put()
        if reason:
            kept = "The parts are in the store; put that right, and run.resume() publishes them"
            self._tell_failure(reason, kept)
        else:
            self._tell(signals.OutputPublished(self._record.output.url, self._size_bytes))

    def _put(self) -> str:
        """Return why it failed, or nothing."""
        assert self._helper is not None
        self._helper.send(["publish", str(self._job)])
        self._helper.close_commands()
        while (answers := self._helper.receive(self._limit_s)) is not None:
            if not answers:
                self.stop()
                return (
                    f"{self._record.output.url!r} has not answered for {self._limit_s:.0f} s "
                    "(task_overhead_timeout, 5 s, and a second for each MB of a part)."
                )
            for answer in answers:
                match answer:
                    case ["done", _, size_bytes]:
                        self._size_bytes = size_bytes
                        return ""
                    case ["failed", reason, _]:
                        return str(reason)
        return self._why_ended()

    def close(self) -> None:
        """End it, and wait for that."""
        super().close()
        for path in self._job.parent.glob(f"{self._job.stem}.*"):
            path.unlink()
