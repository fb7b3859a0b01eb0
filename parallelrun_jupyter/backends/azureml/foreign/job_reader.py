"""Looks at a job of others: its states, and the news of its log files."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ....runs.logs import remote_logs
from ....runs.run_folder import RunFolder
from ..service import JobNotFoundError, ServiceError, TransientError
from . import words
from .fold import Reading
from .history import JobHistory
from .job_facts import (
    Facts,
    facts_of,
    is_parallel,
    is_step,
    name_of_step,
    outputs_of,
    step_named,
)
from .log_files import LogFiles, logs_of_processes

_log = logging.getLogger(__name__)

_TRIES = 3
"""Addresses of log files that are refused have expired: they are listed again, so often in a look."""

_LAST_TRIES = 5
"""So often the files of a job that has ended are tried before one that cannot be read is given up."""


class JobReader:
    """Looks at one job.

    Parameters
    ----------
    history
        The run history.
    job
        The job, or a step of one.
    step
        The name of the step; empty for the only one.
    """

    def __init__(self, history: JobHistory, job: str, step: str) -> None:
        self._history = history
        self._job = job
        self._wanted = step
        self._files = LogFiles()
        self._last_tries = 0
        self._url = ""
        self._logs: dict[str, str] = {}
        self._listings = 0
        #: the step as it was seen last
        self.run: Mapping[str, Any] = {}
        #: how far each log of a process was read
        self._offsets: dict[str, int] = {}

    def look(self) -> Reading:
        """Return the news since the last look.

        Raises
        ------
        TransientError, CredentialError, JobNotFoundError, ServiceError
            As those of the history.
        """
        # The states are read first: a step that has ended writes no more files.
        job = self._history.read_run(self._job)
        step = None if is_step(job) else self._step_of(job)
        self.run = run = job if step is None else step
        has_step = step is not None or is_step(job)
        details = self._history.read_details(str(run["runId"])) if has_step else {}
        facts = facts_of(job, step, details)
        self._logs, self._listings = dict(_logs_in(details)), 0
        if facts.has_ended:
            self._files.read_again()
        unread = [
            path
            for path in self._files.list(self._logs)
            if not self._read(path, str(run["runId"]), is_last=facts.has_ended)
        ]
        if unread and facts.has_ended and self._last_tries < _LAST_TRIES:
            self._last_tries += 1
            msg = f"log files of the job cannot be read: {', '.join(unread)}"
            raise TransientError(msg)
        self._url = self._url or self._history.page_of(str(run["runId"]))
        return Reading(facts, self._files.take(is_last=facts.has_ended), self._url, self._job)

    def _step_of(self, job: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """Return the step that is followed; None if it does not exist yet."""
        children = self._history.read_children(str(job["runId"]))
        if self._wanted or len(children) < 2:
            return step_named(children, self._wanted)
        parallel = [
            run
            for run in children
            if is_parallel(self._history.read_details(str(run["runId"])).get("runDefinition"))
        ]
        if len(parallel) != 1:
            raise ServiceError(words.many_steps(self._job, list(map(name_of_step, children))))
        self._wanted = name_of_step(parallel[0])
        return parallel[0]

    def _read(self, path: str, run: str, *, is_last: bool) -> bool:
        """Read the rest of a file; return whether that was possible."""
        for _ in range(_TRIES):
            data = self._bytes_of(path, run, self._files.offset_of(path))
            if data is None:
                return False
            if self._files.add(path, data, is_last=is_last):
                return True
        return False

    def _bytes_of(self, path: str, run: str, offset: int) -> bytes | None:
        """Return the bytes of a file from an offset on; None if its addresses are refused."""
        while path in self._logs:
            try:
                return self._history.read_log(self._logs[path], offset)
            except (JobNotFoundError, ServiceError) as error:
                _log.info("%s: %s", path, error)
                self._listings += 1
                if self._listings > _TRIES:
                    return None
                self._logs = dict(_logs_in(self._history.read_details(run)))
        return None

    def fetch_logs(self, folder: RunFolder) -> None:
        """Fetch the new output of the user's script."""
        run = str(self.run.get("runId") or "")
        details = self._history.read_details(run) if run else {}
        self._logs, self._listings = dict(_logs_in(details)), 0
        for path, process in logs_of_processes(self._logs).items():
            offset = self._offsets.get(path, 0)
            text = self._bytes_of(path, run, offset)
            if text:
                self._offsets[path] = offset + len(text)
                remote_logs.append(folder, process.worker, text, 0)
        remote_logs.mark_fetched(folder)

    def download(self, facts: Facts, rows_file: Path, folder: Path) -> list[str]:
        """Copy the outputs of a job that has ended; return warnings.

        Parameters
        ----------
        rows_file
            Where the file of ``append_row_to`` goes.
        folder
            Where the other outputs go, each in a folder of its name.
        """
        outputs = outputs_of(self.run)
        files = [name for name, kind in outputs.items() if kind == "uri_file"]
        rows = facts.rows_output or (files[0] if len(files) == 1 else "")
        warnings = []
        for name in outputs:
            try:
                self._download(name, rows_file if name == rows else None, folder / name)
            except (JobNotFoundError, ServiceError, OSError) as error:
                if facts.state == "Completed":
                    warnings.append(words.no_output(name, str(error)))
                _log.warning("%s: %s", name, error)
        return warnings

    def _download(self, output: str, file: Path | None, folder: Path) -> None:
        """Copy an output into a folder, or its only file to a path."""
        if file is None:
            self._history.download_output(str(self.run["runId"]), output, folder)
            return
        part = file.with_name(f".{file.name}.download")
        shutil.rmtree(part, ignore_errors=True)
        self._history.download_output(str(self.run["runId"]), output, part)
        found = sorted(path for path in part.rglob("*") if path.is_file())
        if found:
            os.replace(found[0], file)
        shutil.rmtree(part, ignore_errors=True)


def _logs_in(details: Mapping[str, Any]) -> Mapping[str, str]:
    logs = details.get("logFiles")
    return logs if isinstance(logs, Mapping) else {}
