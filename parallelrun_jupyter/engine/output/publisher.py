"""Publishes the output to a store: a process uploads it, a thread waits, the driver continues."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ...files import write_atomically
from ...runs.output.stored_parts import SPLICED_BYTES, PartIndex, read_spliced
from ...runs.run_folder import RunFolder
from ...runs.run_record import RunRecord
from ..child_process import ChildProcess
from ..scheduling.signals import OutputNotPublished, OutputPublished, Signal

_SLOWEST_BYTES_PER_S = 1 << 20
_START_S = 5.0


def upload_limit_s(overhead_s: float, size_bytes: int) -> float:
    """Return the time limit in seconds of an upload; a store that takes longer has stalled."""
    return overhead_s + _START_S + size_bytes / _SLOWEST_BYTES_PER_S


@dataclass(frozen=True, slots=True)
class _Job:
    """An upload, and how its result is reported.

    Parameters
    ----------
    module
        The process that does it.
    message
        Its message to the process; None without files.
    limit_s
        Seconds until the process must reply.
    timeout_text, remedy
        The error message after ``limit_s``, and the end of the message after any failure.
    url
        The published output; empty without a final file.
    size_bytes
        Its size, unless the process reports it.
    temporary_files
        A pattern of files to delete at the end. Default: none.
    """

    module: str
    message: Any
    limit_s: float
    timeout_text: str
    remedy: str
    url: str
    size_bytes: int = 0
    temporary_files: str = ""


class Publisher:
    """Publishes the output of a run in a process of its own, and reports the result once.

    `for_files` and `for_parts` make one.

    Parameters
    ----------
    folder
        The run.
    job
        The upload.
    report
        Called, in any thread, with `OutputPublished` or `OutputNotPublished`.
    """

    def __init__(self, folder: RunFolder, job: _Job, report: Callable[[Signal], None]) -> None:
        self._folder = folder
        self._job = job
        self._report = report
        self._child: ChildProcess | None = None
        self._thread: threading.Thread | None = None

    @classmethod
    def for_files(
        cls,
        folder: RunFolder,
        record: RunRecord,
        final: Path | None,
        report: Callable[[Signal], None],
    ) -> Publisher:
        """Upload the files that the script has written, and then the final file, if any."""
        files = _script_files(folder, record)
        if final is not None:
            files.append((str(final), final.name))
        size_bytes = sum(os.path.getsize(path) for path, _ in files)
        limit_s = upload_limit_s(record.limits.task_overhead_timeout, size_bytes)
        job = _Job(
            module="parallelrun_jupyter.data.storage.upload_process",
            message={
                "storage": record.output.storage,
                "url": record.output.destination,
                "files": files,
            }
            if files
            else None,
            limit_s=limit_s,
            timeout_text=(
                f"uploading to {record.output.destination!r} timed out after {limit_s:.0f} s "
                "(task_overhead_timeout, 5 s to begin, and a second for each MB)."
            ),
            remedy=(
                f"The rows are safe in {folder.path / 'output'}: fix this and resume the run to "
                "publish them"
            ),
            url=f"{record.output.destination}/{final.name}" if final is not None else "",
            size_bytes=final.stat().st_size if final is not None else 0,
        )
        return cls(folder, job, report)

    @classmethod
    def for_parts(
        cls,
        folder: RunFolder,
        record: RunRecord,
        index: PartIndex,
        report: Callable[[Signal], None],
    ) -> Publisher:
        """Publish the parts that nodes have uploaded as one output, and the script's files.

        ``index`` has the parts of the journal, which is complete on the disk.
        """
        url = record.output.url
        files = _script_files(folder, record)
        spliced = read_spliced(folder.spliced_parts)
        groups = index.groups(spliced)
        parts = [part for group, _ in groups for part in group]
        is_in_order = all(is_as_it_is for _, is_as_it_is in groups)
        largest = max((part.size_bytes for part in parts), default=0)
        if not is_in_order:
            largest += SPLICED_BYTES
        # A part with other types is downloaded and uploaded again.
        size_bytes = 2 * largest + sum(os.path.getsize(path) for path, _ in files)
        limit_s = upload_limit_s(record.limits.task_overhead_timeout, size_bytes)
        path = folder.output / "publish.json"
        words = {
            "storage": record.output.storage,
            "output": record.output.destination,
            "files": files,
            "url": url,
            "run_id": record.run_id,
            # Otherwise the process reads the journal: the driver does not store each result.
            "parts": [asdict(part) for part in parts] if is_in_order else None,
            "journal": str(folder.journal),
            "spliced": str(folder.spliced_parts),
            "temporary": str(path.with_suffix(".part")),
        }
        write_atomically(path, json.dumps(words))
        job = _Job(
            module="parallelrun_jupyter.engine.output.part_process",
            message=["publish", str(path)],
            limit_s=limit_s,
            timeout_text=(
                f"{url!r} did not respond for {limit_s:.0f} s (task_overhead_timeout, 5 s, and a "
                "second for each MB of a part)."
            ),
            remedy="The parts are in the store: fix this and resume the run to publish them",
            url=url,
            temporary_files="publish.*",
        )
        return cls(folder, job, report)

    def start(self) -> None:
        """Start the process; call this in the driver's main thread, whose end ends the process."""
        if self._job.message is None:
            self._report(OutputPublished(self._job.url, self._job.size_bytes))
            return
        self._child = ChildProcess.start(self._job.module, self._folder.path)
        self._thread = threading.Thread(target=self._run, args=(self._child,), name="upload")
        self._thread.start()

    def _run(self, child: ChildProcess) -> None:
        child.send(self._job.message)
        while (replies := child.receive(self._job.limit_s)) is not None:
            if not replies:
                child.kill()
                self._report_failure(self._job.timeout_text)
                return
            for reply in replies:
                match reply:
                    case ["done"]:
                        self._report(OutputPublished(self._job.url, self._job.size_bytes))
                        return
                    case ["done", _, size_bytes]:
                        self._report(OutputPublished(self._job.url, size_bytes))
                        return
                    case ["failed", reason, *_]:
                        self._report_failure(reason)
                        return
        end = child.died()
        self._report_failure(end.sentence, end.traceback)

    def _report_failure(self, reason: str, traceback: str = "") -> None:
        text = f"the output could not be uploaded: {reason} {self._job.remedy}"
        self._report(OutputNotPublished(text, traceback))

    def close(self) -> None:
        """Abort the upload if it is running, and delete temporary files."""
        if self._child is not None:
            self._child.kill()
        if self._thread is not None:
            self._thread.join()
        if self._child is not None:
            self._child.end()
        if self._job.temporary_files:
            for path in self._folder.output.glob(self._job.temporary_files):
                path.unlink()


def _script_files(folder: RunFolder, record: RunRecord) -> list[tuple[str, str]]:
    """Return (path, relative path) of the regular files that the script has written."""
    root = folder.script_output(record)
    paths = [os.path.join(at, name) for at, _, names in os.walk(root) for name in sorted(names)]
    return [
        (path, os.path.relpath(path, root).replace(os.sep, "/"))
        for path in paths
        if os.path.isfile(path)  # reading a named pipe would block
    ]
