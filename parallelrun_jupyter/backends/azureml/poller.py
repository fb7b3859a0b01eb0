"""The thread that talks to Azure ML: the driver's loop never waits for it."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeAlias

from ...errors import ParallelRunError
from .service import (
    ENDED,
    CredentialError,
    JobNotFoundError,
    JobService,
    JobStatus,
    ServiceError,
    TransientError,
)

_log = logging.getLogger(__name__)

READERS = 8
"""Files of results that are read at once."""

SILENCE_S = 30.0
"""After this long without an answer of the service, the run is warned."""

_READERS_END_S = 5.0

_APPEARS_S = 120.0
"""A job that was submitted appears within this time."""

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 60.0
_SLOWEST_POLL_S = 10.0


@dataclass(frozen=True, slots=True)
class Submitted:
    """The job was accepted."""

    name: str


@dataclass(frozen=True, slots=True)
class Seen:
    """The state of a job and the files of its results; all of them if it has ended."""

    name: str
    status: JobStatus
    files: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class FileRead:
    """A file of results; empty if it cannot be read, None if the service did not answer."""

    name: str
    path: str
    content: bytes | None


@dataclass(frozen=True, slots=True)
class Done:
    """A request is answered, or cannot be: then ``reason`` says why."""

    what: str
    reason: str = ""
    content: bytes = b""


@dataclass(frozen=True, slots=True)
class Silent:
    """The service has not answered for `SILENCE_S`, for this reason; empty once it answers again."""

    reason: str


@dataclass(frozen=True, slots=True)
class Gone:
    """The job, or the access to it, is lost: nothing more can be asked.

    Parameters
    ----------
    reason
        What happened.
    is_credential
        Whether the service does not accept the credential.
    is_refused
        Whether it refuses the request.
    is_failure
        Whether the job could not be compiled: to resume does not help.
    is_local
        Whether this machine is the reason, such as a full disk.
    """

    reason: str
    is_credential: bool = False
    is_refused: bool = False
    is_failure: bool = False
    is_local: bool = False


Report: TypeAlias = Submitted | Seen | FileRead | Done | Silent | Gone


@dataclass(slots=True)
class _Task:
    """One request, which is repeated until it is answered."""

    what: str
    run: Callable[[], Report | None]
    not_before: float = 0.0


@dataclass(slots=True)
class _Silence:
    """How long the service has not answered."""

    since: float = 0.0
    pause_s: float = _FIRST_PAUSE_S
    is_told: bool = field(default=False)


class Poller:
    """Makes requests in a thread of its own, one after another, and polls the job between them.

    Parameters
    ----------
    connect
        Returns the service; called in the thread, since its packages are slow to import.
    post
        Receives the reports; called in the thread and in those of the readers.
    poll_s
        Seconds between two polls while something changes.
    """

    def __init__(
        self, connect: Callable[[], JobService], post: Callable[[Report], None], poll_s: float
    ) -> None:
        self._connect = connect
        self._post = post
        self._poll_s = poll_s
        self._service: JobService | None = None
        self._tasks: deque[_Task] = deque()
        self._changed = threading.Condition()
        self._name = ""
        #: whether the job is polled: it has not ended
        self._is_followed = False
        self._is_closed = False
        self._is_lost = False
        self._silence = _Silence()
        self._pace_s = poll_s
        self._poll_at = 0.0
        self._last_seen: Seen | None = None
        self._has_appeared = False
        self._watched_at = 0.0
        self._readers = ThreadPoolExecutor(READERS, "azureml-results")
        self._thread = threading.Thread(target=self._run, name="azureml-jobs", daemon=True)

    # Any thread

    def submit(self, name: str, compile_job: Callable[[], Path]) -> None:
        """Compile and submit a job, then poll it."""
        self._add("compile", lambda: self._compile(name, compile_job))

    def watch(self, name: str) -> None:
        """Poll a job of an earlier driver; report that it is gone if it never existed."""
        self._add("watch", partial(self._watch, name))

    def read(self, name: str, paths: list[str]) -> None:
        """Read files of a job's results, several at once."""
        for path in paths:
            self._readers.submit(self._read, name, path).add_done_callback(self._note_read)

    def cancel(self, name: str) -> None:
        """Cancel a job, and make no request that waits, except for logs."""
        with self._changed:
            kept = [task for task in self._tasks if task.what == "logs"]
            self._tasks.clear()
        self._add("cancel", partial(self._cancel, name))
        with self._changed:
            self._tasks.extend(kept)

    def ask(self, what: str, run: Callable[[JobService], bytes]) -> None:
        """Make another request; its answer is reported as `Done`."""
        self._add(what, lambda: Done(what, "", run(self._get_service())))

    def poll_now(self) -> None:
        """Poll soon, also a job that has ended: a file of it could not be read."""
        with self._changed:
            self._is_followed = bool(self._name)
            self._poll_at = time.monotonic() + self._poll_s
            self._changed.notify()

    def close(self, timeout_s: float) -> None:
        """End the thread after the requests that wait, or at the latest after ``timeout_s``."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        ending = partial(self._readers.shutdown, wait=True, cancel_futures=True)
        closing = threading.Thread(target=ending, name="azureml-closing", daemon=True)
        closing.start()
        closing.join(_READERS_END_S)  # a request that is not answered takes longer

    def _add(self, what: str, run: Callable[[], Report | None]) -> None:
        with self._changed:
            self._tasks.append(_Task(what, run))
            self._changed.notify()
        if self._thread.ident is None:
            self._thread.start()

    # The thread

    def _run(self) -> None:
        try:
            self._make_tasks()
        finally:
            error = sys.exc_info()[1]
            if error is not None:  # the run would wait for ever
                self._lose(Gone(_unexpected_text(error), is_failure=True))

    def _make_tasks(self) -> None:
        while True:
            with self._changed:
                task = self._next_task()
                if task is None:
                    if self._is_closed:
                        return
                    self._changed.wait(self._wait_s())
                    continue
            self._make(task)

    def _next_task(self) -> _Task | None:
        now = time.monotonic()
        if self._is_lost:
            return None
        if self._tasks:
            if self._tasks[0].not_before > now:
                return None
            return self._tasks.popleft()
        if self._is_followed and not self._is_closed and now >= self._poll_at:
            return _Task("poll", self._poll)
        return None

    def _wait_s(self) -> float | None:
        now = time.monotonic()
        if self._is_lost:
            return None
        if self._tasks:
            return max(0.0, self._tasks[0].not_before - now)
        return max(0.0, self._poll_at - now) if self._is_followed else None

    def _make(self, task: _Task) -> None:
        try:
            report = task.run()
        except TransientError as error:
            self._pause(task, error)
            return
        except JobNotFoundError as error:
            if self._has_appeared or time.monotonic() - self._watched_at > _APPEARS_S:
                self._lose(Gone(str(error)))
            else:
                self._pause(task, TransientError(str(error), self._poll_s))
            return
        except (ParallelRunError, OSError) as error:
            self._lose(_gone(error))
            return
        self._answered()
        if report is not None:
            self._post(report)

    def _lose(self, gone: Gone) -> None:
        self._is_lost = True
        self._post(gone)

    def _pause(self, task: _Task, error: TransientError) -> None:
        """Repeat a request later: the service may be away for hours."""
        now, silence = time.monotonic(), self._silence
        _log.warning("%s: %s", task.what, error)
        silence.since = silence.since or now
        if not silence.is_told and now - silence.since >= SILENCE_S:
            silence.is_told = True
            self._post(Silent(str(error)))
        pause_s = error.retry_after_s or silence.pause_s
        silence.pause_s = min(2 * silence.pause_s, _LONGEST_PAUSE_S)
        with self._changed:
            if task.what == "poll":
                self._poll_at = now + pause_s
            elif not self._is_closed:
                task.not_before = now + pause_s
                self._tasks.appendleft(task)

    def _answered(self) -> None:
        silence, self._silence = self._silence, _Silence()
        if silence.is_told:
            self._post(Silent(""))

    def _get_service(self) -> JobService:
        if self._service is None:
            self._service = self._connect()
        return self._service

    def _compile(self, name: str, compile_job: Callable[[], Path]) -> None:
        folder = compile_job()
        self._add("submit", partial(self._submit, name, folder))

    def _submit(self, name: str, folder: Path) -> Report:
        self._get_service().submit(folder, name)
        self._follow(name)
        return Submitted(name)

    def _watch(self, name: str) -> Report:
        try:
            self._get_service().status(name)
        except JobNotFoundError:
            return Done("watch", "it does not exist")
        self._follow(name)
        self._has_appeared = True
        return Done("watch")

    def _follow(self, name: str) -> None:
        self._name, self._is_followed = name, True
        self._last_seen, self._has_appeared = None, False
        self._poll_at, self._pace_s, self._watched_at = 0.0, self._poll_s, time.monotonic()

    def _cancel(self, name: str) -> Report:
        try:
            self._get_service().cancel(name)
        except JobNotFoundError:
            pass  # it was not submitted
        return Done("cancel")

    def _poll(self) -> Report | None:
        began = time.monotonic()
        service = self._get_service()
        # The state is read first: a job that has ended writes no more files.
        status = service.status(self._name)
        self._has_appeared = True
        seen = Seen(self._name, status, service.list_results(self._name))
        is_new, self._last_seen = seen != self._last_seen, seen
        now = time.monotonic()
        self._pace_s = self._poll_s if is_new else min(1.5 * self._pace_s, _SLOWEST_POLL_S)
        self._poll_at = now + max(self._pace_s, 10 * (now - began))
        self._is_followed = status.state not in ENDED
        return seen

    # Readers

    def _read(self, name: str, path: str) -> None:
        content: bytes | None = b""
        try:
            content = self._get_service().read_result(name, path)
        except TransientError:
            content = None
        except JobNotFoundError as error:
            _log.warning("%s: %s", path, error)
        except (ParallelRunError, OSError) as error:
            self._lose(_gone(error))
            return
        self._post(FileRead(name, path, content))

    def _note_read(self, reading: Future[None]) -> None:
        """Report an unexpected error of a reader."""
        error = None if reading.cancelled() else reading.exception()
        if error is not None:
            _log.error("a result could not be read", exc_info=error)
            self._lose(Gone(_unexpected_text(error), is_failure=True))


def _gone(error: ParallelRunError | OSError) -> Gone:
    """Return the report of an error after which no request helps."""
    return Gone(
        str(error),
        is_credential=isinstance(error, CredentialError),
        is_refused=isinstance(error, ServiceError),
        is_failure=isinstance(error, ParallelRunError)
        and not isinstance(error, CredentialError | ServiceError),
        is_local=isinstance(error, OSError),
    )


def _unexpected_text(error: BaseException) -> str:
    return f"a request to Azure ML ended with {type(error).__name__}: {error}; driver.log has where"
