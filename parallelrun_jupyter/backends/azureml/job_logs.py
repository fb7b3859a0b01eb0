"""The log files of a job: fetched on request, and Azure's table at the end."""

from __future__ import annotations

import re
from collections.abc import Mapping

from ...runs.logs import remote_logs
from ...runs.run_folder import RunFolder
from .job_end import TABLE
from .poller import Poller
from .service import JobNotFoundError, JobService, ServiceError

_PIECE_BYTES = 1 << 20
_WORKER_LINE = re.compile(rb"^.*parallelrun worker (\S+)\r?\n", re.MULTILINE)
_STREAMS = ("logs/user/stdout/", "logs/user/stderr/")
_TRIES = 3
_MOST_FILES = 400
"""At most so many files are fetched at once: few logs are ever looked at."""


def read_table(service: JobService, name: str) -> bytes:
    """Return Azure's table of the mini-batches of a job; empty if there is none."""
    try:
        logs = service.list_logs(name)
    except (JobNotFoundError, ServiceError):
        return b""
    paths = sorted(path for path in logs if path.endswith(TABLE))
    return _read_whole(service, logs[paths[-1]]) if paths else b""


def _read_whole(service: JobService, address: str) -> bytes:
    content = b""
    while True:
        try:
            piece = service.read_log(address, len(content))
        except (JobNotFoundError, ServiceError):
            return content
        if not piece:
            return content
        content += piece


class JobLogs:
    """The fetched logs of the jobs of a run.

    The log of a worker is what its process wrote to standard output and error. Its name is in the first
    line of the output.

    Parameters
    ----------
    folder
        The run.
    poller
        Makes the requests.
    """

    def __init__(self, folder: RunFolder, poller: Poller) -> None:
        self._folder = folder
        self._poller = poller
        self._is_fetching = False
        #: bytes that were read of each file
        self._offsets: dict[str, int] = {}
        #: the worker of each file of standard output
        self._workers: dict[str, str] = {}

    def fetch(self, name: str) -> None:
        """Start fetching what is new; without a job there is nothing."""
        if not name:
            remote_logs.mark_fetched(self._folder)
        elif not self._is_fetching:
            self._is_fetching = True
            self._poller.ask("logs", lambda service: self._fetch(service, name))

    def _fetch(self, service: JobService, name: str) -> bytes:
        """Fetch what is new; in the thread of the requests."""
        try:
            logs = service.list_logs(name)
            for stream in _STREAMS:  # the first has the names of the workers
                paths = sorted(path for path in logs if path.startswith(stream))
                for path in paths[: _MOST_FILES // len(_STREAMS)]:
                    self._fetch_file(service, name, path, logs)
        except (JobNotFoundError, ServiceError):
            pass  # there are no logs yet, or not any more
        finally:
            self._is_fetching = False
        remote_logs.mark_fetched(self._folder)
        return b""

    def _fetch_file(
        self, service: JobService, name: str, path: str, logs: Mapping[str, str]
    ) -> None:
        key = f"{name}/{path}"
        offset = self._offsets.get(key, 0)
        address = logs[path]
        for _ in range(_TRIES):
            try:
                text = service.read_log(address, offset)
                break
            except (JobNotFoundError, ServiceError):  # the address has expired, or the file is gone
                address = service.list_logs(name).get(path, "")
                if not address:
                    return
        else:
            return
        worker = self._worker_of(name, path, text)
        if not text or not worker:
            return
        self._offsets[key] = offset + len(text)
        remote_logs.append(self._folder, worker, _WORKER_LINE.sub(b"", text, count=1), 0)

    def _worker_of(self, name: str, path: str, text: bytes) -> str:
        """Return the worker of a file; empty if it is not known yet."""
        process = path.split("/", 3)[3].partition(".std")[0]
        key = f"{name}/{process}"
        found = _WORKER_LINE.search(text)
        if found:
            self._workers[key] = re.sub(r"[^\w.-]", "_", found[1].decode("utf-8", "replace"))
        return self._workers.get(key, "")
