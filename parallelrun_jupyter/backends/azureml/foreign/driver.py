"""The driver of a run that follows a job of others: it assigns nothing, and writes a journal."""

from __future__ import annotations

import json
import logging
import os
import socket
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from ....engine.output.committer import Committer
from ....errors import OutputError, ParallelRunError
from ....files import write_atomically
from ....runs.driver_lock import DriverLock
from ....runs.journal.events import (
    FINAL_STATES,
    SCHEMA,
    CancelRequested,
    Event,
    RunFinished,
    RunStarted,
    WarningRaised,
)
from ....runs.journal.files import JournalReader, write_state
from ....runs.journal.state import RunState
from ....runs.logs import remote_logs
from ....runs.output.azure_reports import write_reports
from ....runs.run_folder import RunFolder
from ..service import CredentialError, JobNotFoundError, ServiceError, TransientError
from . import words
from .fold import Fold, Reading
from .history import JobHistory
from .job_reader import JobReader
from .numbers import Numbers

_log = logging.getLogger(__name__)

_TURN_S = 0.05
_SAVE_S = 0.3
_SLOWEST_POLL_S = 10.0
_LOOKS_COST = 10
_MOST_POLLS = 6
"""The pause after a look is at least so many times as long as the look, but no longer than so many polls."""

_LONGEST_PAUSE_S = 60.0
SILENCE_S = 60.0
"""The service is reported as silent after this long without an answer."""

_NOT_FOUND = 3
"""A job is gone when the service has not had it so often, one after the other."""

_DOWNLOADS = 6
_CANCEL_REQUESTS = ("cancel", "cancel-drain")


class ForeignDriver:
    """Follows one job to its end.

    Parameters
    ----------
    folder
        The run; its record names the job.
    connect
        Returns the run history; called in a thread, since its packages are slow to import.
    poll_s
        Seconds between two looks while something changes.
    clock
        Returns seconds since the epoch.

    Raises
    ------
    RunFolderError
        The run has a driver already.
    """

    def __init__(
        self,
        folder: RunFolder,
        connect: Callable[[], JobHistory],
        poll_s: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._folder = folder
        self._clock = clock
        self._lock = DriverLock(folder)
        self._record = folder.read_record()
        compute = self._record.placement.compute
        self._job, self._step = str(compute["job"]), str(compute.get("step") or "")
        self._connect = connect
        self._numbers_file = folder.path / "azureml" / "numbers.json"
        self._fold = Fold(Numbers(_numbers_in(self._numbers_file)))
        self._saved_numbers = len(self._fold.numbers.given)
        self._state = RunState()
        for event in JournalReader(folder.journal).read():
            self._state.apply(event)
            self._fold.note(event)
        self._committer = Committer(folder, part=self._state.drivers)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="azureml-history")
        self._tasks: deque[Callable[[JobReader], None]] = deque()
        self._history: JobHistory | None = None
        self._reader: JobReader | None = None
        self._poll_s = self._pace_s = poll_s
        self._pause_s = 1.0
        self._silent_since = 0.0
        self._missing = 0
        self._cost_s = 0.0
        self._seen_requests: set[str] = set()
        self._save_at = 0.0

    def run(self) -> bool:
        """Follow the job to its end, and record it; then call `close`.

        Returns
        -------
        bool
            Whether this process can drive another run.
        """
        if self._state.state in FINAL_STATES:
            return True
        try:
            self._add(RunStarted(self._now_ms(), SCHEMA, os.getpid(), socket.gethostname()))
            self._follow()
            self._save_state()
            self._report()
        except OSError as error:
            _log.exception("the driver cannot continue")
            reason = f"{error.strerror or error} (run folder {self._folder.path}); correct it and attach again"
            end = RunFinished(self._now_ms(), "Interrupted", reason, "", 0)
            try:
                self._committer.record_end(end)
            except OSError:  # readers will notice that the driver is dead
                _log.exception("the journal could not be written")
            return False
        return False  # Azure's packages leave threads behind

    def _follow(self) -> None:
        """Look at the job until it has ended, or cannot be seen any more."""
        while True:
            try:
                reading = self._call(self._look)
            except TransientError as error:
                self._turn_until(time.monotonic() + self._delay_after(error))
                continue
            except CredentialError as error:
                self._interrupt(words.no_credential(self._job, str(error)))
                return
            except JobNotFoundError as error:
                self._missing += 1
                if self._missing < _NOT_FOUND:
                    self._turn_until(time.monotonic() + self._poll_s)
                    continue
                self._interrupt(words.vanished(self._job, str(error)))
                return
            except ParallelRunError as error:
                self._interrupt(words.refused(self._job, str(error)))
                return
            self._missing, self._silent_since, self._pause_s = 0, 0.0, 1.0
            is_new = self._take(reading)
            if reading.is_last:
                self._finish(reading)
                return
            self._pace_s = self._poll_s if is_new else min(1.5 * self._pace_s, _SLOWEST_POLL_S)
            pause_s = min(_LOOKS_COST * self._cost_s, _MOST_POLLS * self._poll_s)
            self._turn_until(time.monotonic() + max(self._pace_s, pause_s))

    # Requests, in the thread

    def _get_reader(self) -> JobReader:
        if self._reader is None:
            self._history = self._connect()
            self._reader = JobReader(self._history, self._job, self._step)
        return self._reader

    def _look(self) -> Reading:
        reader = self._get_reader()
        began = time.monotonic()
        reading = reader.look()
        self._cost_s = time.monotonic() - began
        return reading

    def _call(self, request: Callable[[], Reading]) -> Reading:
        """Make a request while this driver goes on."""
        answer: Future[Reading] = self._thread.submit(request)
        while not answer.done():
            self._turn()
        return answer.result()

    def _do_tasks(self) -> None:
        """Make the requests of users; those without an answer are tried again with the next look."""
        for _ in range(len(self._tasks)):
            task = self._tasks.popleft()

            def request(task: Callable[[JobReader], None] = task) -> None:
                task(self._get_reader())

            answer: Future[None] = self._thread.submit(request)
            while not answer.done():
                self._turn()
            error = answer.exception()
            if isinstance(error, TransientError):
                _log.warning("%s", error)
                self._tasks.append(task)
                return
            if error is not None:
                self._warn(f"Azure ML refuses: {error}")

    def _delay_after(self, error: TransientError) -> float:
        """Return how long to wait after an error; the service may be away for hours."""
        _log.warning("%s", error)
        now = time.monotonic()
        self._silent_since = self._silent_since or now
        if now - self._silent_since >= SILENCE_S:
            self._warn(words.silent(str(error)))
        pause_s, self._pause_s = self._pause_s, min(2 * self._pause_s, _LONGEST_PAUSE_S)
        return error.retry_after_s or min(pause_s, max(5 * self._poll_s, pause_s / 2))

    # The driver's own turns

    def _turn_until(self, until: float) -> None:
        while time.monotonic() < until:
            self._turn()
            if self._tasks:
                self._do_tasks()

    def _turn(self) -> None:
        time.sleep(_TURN_S)
        self._committer.step()
        self._lock.heartbeat()
        self._read_control()
        if time.monotonic() >= self._save_at:
            self._save_state()

    def _read_control(self) -> None:
        for name in os.listdir(self._folder.control):
            if name == remote_logs.REQUEST:
                (self._folder.control / name).unlink(missing_ok=True)
                self._tasks.append(lambda reader: reader.fetch_logs(self._folder))
            elif name in _CANCEL_REQUESTS and not self._seen_requests & {*_CANCEL_REQUESTS}:
                self._seen_requests.add(name)
                self._add(CancelRequested(self._now_ms(), name == "cancel-drain"))
                self._tasks.append(self._cancel)

    def _cancel(self, _: JobReader) -> None:
        if self._history is not None:
            self._history.cancel(self._job)

    # Events

    def _take(self, reading: Reading) -> bool:
        """Record the events of a reading; return whether it has any."""
        events = self._fold.fold(reading, self._now_ms())
        self._save_numbers()
        for event in events:
            self._state.apply(event)
            self._committer.record(event)
        return bool(events)

    def _add(self, event: Event) -> None:
        self._fold.note(event)
        self._state.apply(event)
        self._committer.record(event)

    def _warn(self, text: str) -> None:
        if text not in self._state.warnings:
            self._add(WarningRaised(self._now_ms(), text))

    def _now_ms(self) -> int:
        return int((self._clock() - self._record.created_at) * 1000)

    def _save_numbers(self) -> None:
        """Keep the numbers that were given, before an event has them."""
        given = self._fold.numbers.given
        if len(given) != self._saved_numbers:
            self._numbers_file.parent.mkdir(exist_ok=True)
            write_atomically(self._numbers_file, json.dumps(given))
            self._saved_numbers = len(given)

    def _save_state(self) -> None:
        size_bytes = self._committer.flush()
        try:
            write_state(self._folder, self._state, size_bytes)
        except OSError:
            _log.exception("state.json could not be written")
        self._save_at = time.monotonic() + _SAVE_S

    # The end

    def _interrupt(self, reason: str) -> None:
        self._add(RunFinished(self._now_ms(), "Interrupted", reason, "", 0))

    def _finish(self, reading: Reading) -> None:
        """Bring the output, and record the end."""
        self._tasks.clear()
        self._tasks.append(lambda reader: reader.fetch_logs(self._folder))
        self._do_tasks()
        target = self._folder.final_file(self._record)
        for text in self._download(reading, target):
            self._warn(text)
        size_bytes = target.stat().st_size if target.exists() else 0
        facts = reading.facts
        if facts.state == "Completed":
            reason = ""
        elif facts.state == "Canceled":
            reason = "" if self._state.cancel else f"the job {self._job} was canceled in Azure ML"
        else:
            reason = f"the job {self._job} has failed in Azure ML"
            reason += f": {facts.error}" if facts.error else ""
        output = str(target) if target.exists() else ""
        self._add(RunFinished(self._now_ms(), facts.state, reason, output, size_bytes))

    def _download(self, reading: Reading, target: Path) -> list[str]:
        warnings: list[str] = []

        def download() -> Reading:
            warnings[:] = self._get_reader().download(
                reading.facts, target, self._folder.output / "files"
            )
            return reading

        for _ in range(_DOWNLOADS):
            try:
                self._call(download)
            except TransientError as error:
                warnings = [words.no_output("", str(error))]
                self._turn_until(time.monotonic() + self._delay_after(error))
            except (CredentialError, ServiceError, OutputError) as error:
                return [words.no_output("", str(error))]
            else:
                break
        return warnings

    def _report(self) -> None:
        """Write the reports. The run has ended, so an error is only logged."""
        try:
            write_reports(self._folder, self._record, JournalReader(self._folder.journal).read())
        except OSError:
            _log.exception("the reports could not be written")

    def close(self) -> None:
        """Release the run to other drivers."""
        self._committer.close()
        self._lock.release()
        self._thread.shutdown(cancel_futures=True)  # a request may be under way if the disk is full


def _numbers_in(path: Path) -> dict[str, int]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return {}
