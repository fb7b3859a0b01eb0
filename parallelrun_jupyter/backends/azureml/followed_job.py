"""A job that is followed: the files of its results are read, and answer the attempts that it was sent."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial

from ...engine.scheduling import signals
from ...engine.scheduling.signals import Failure, Signal
from ...runs.run_record import RunLimits
from ...worker.plan_line import PlanLine
from . import job_end
from .folding import Assigned, Folding
from .job_file import JobNote
from .job_logs import read_table
from .job_workers import JobWorkers
from .poller import Poller
from .result_reader import DONE, STATUS, WORKERS, KeepRows, read_result
from .service import ENDED, JobStatus

NODE = "azureml"
"""The node that all mini-batches are assigned to. Azure's own nodes get none: Azure decides."""

_READ_AHEAD_FILES = 64
_READ_AHEAD_BYTES = 64 << 20
_STATUS_S = 5.0
_TORN_READS = 3
"""A file that is not whole after the end of the job is read so often."""

_SUCCEEDED = ("RUN_DONE", "LOAD_DONE")


class FollowedJob:
    """A job, from the moment that it is noted until its results are all used.

    Parameters
    ----------
    note
        Its note in ``job.json``.
    limits
        The run's limits.
    poller
        Makes the requests.
    keep_rows
        Stores the rows of results.
    now_ms
        Returns the milliseconds since the run's creation.
    """

    def __init__(
        self,
        note: JobNote,
        limits: RunLimits,
        poller: Poller,
        keep_rows: KeepRows,
        now_ms: Callable[[], float],
    ) -> None:
        self.note = note
        self.status = JobStatus("")
        self.workers = JobWorkers(now_ms)
        self.folding = Folding(note.first_attempts())
        #: whether an earlier driver has sent the job
        self.is_attached = False
        #: whether such a job had ended before this driver followed it
        self.had_ended = False
        self._limits = limits
        self._poller = poller
        self._keep_rows = keep_rows
        self._files: Mapping[str, int] = {}
        #: the few among them that are of workers, and not of results
        self._worker_files: Mapping[str, int] = {}
        #: the size of each file that is being read
        self._reading: dict[str, int] = {}
        self._torn: dict[str, int] = {}
        #: files that are read again after the next look at the job
        self._later: set[str] = set()
        self._statuses_at = 0.0
        self._table: dict[int, job_end.Row] | None = None
        self._is_table_asked = False

    def take(self, waiting: dict[int, Assigned]) -> None:
        """Wait for the answers of those waiting attempts that were sent to this job."""
        for mini_batch in [k for k in waiting if self.folding.knows(k)]:
            self.folding.assign(waiting.pop(mini_batch))

    # Reports

    def seen(self, status: JobStatus, files: Mapping[str, int]) -> None:
        """Note the state of the job and the files that are there."""
        if not self.status.state:
            self.had_ended = self.is_attached and status.state in ENDED
        self.status, self._files = status, files
        self._worker_files = {
            path: size for path, size in files.items() if path.startswith((WORKERS, STATUS))
        }
        self._later.clear()
        self.folding.list_files(path for path in files if path.startswith(DONE))

    def file_read(self, path: str, content: bytes | None) -> list[Signal]:
        """Note the content of a file; None if it could not be read."""
        self._reading.pop(path, None)
        if content is None:
            self._read_later(path)
        elif path.startswith(WORKERS):
            emitted = self.workers.started(path, content, is_final=self.has_ended)
            if not emitted:
                self._read_later(path)
            return emitted
        elif path.startswith(STATUS):
            return self.workers.sampled(path, content) if self.folding.assigned else []
        elif (result := read_result(path, content)) is not None:
            self.folding.add(result)
        else:
            self._read_later(path)
            self._torn[path] = self._torn.get(path, 0) + self.has_ended
            if self._torn[path] >= _TORN_READS:
                self.folding.drop(path)
                return [signals.Warned(job_end.torn_text(path, self.note.name))]
        return []

    def _read_later(self, path: str) -> None:
        self._later.add(path)
        self._poller.poll_now()

    def table_read(self, content: bytes) -> None:
        """Note Azure's table of mini-batches; empty if there is none."""
        self._table = job_end.read_table(content, self.folding.mini_batches)

    # Answers

    def answers(self) -> list[Signal]:
        """Return the signals of the attempts that are answered."""
        emitted: list[Signal] = []
        for assigned, result in self.folding.answered():
            emitted.append(result.signal(NODE, assigned.attempt, self._keep_rows))
            self.workers.done(result.worker, result.mini_batch)
            if result.spent:
                tokens, nano_usd = result.spent
                spend = (result.mini_batch, assigned.attempt, tokens, nano_usd)
                emitted.append(signals.CallsSpentReported((spend,)))
        if emitted and not self.folding.assigned:
            emitted += self.workers.idle()
        return emitted

    def request_files(self) -> None:
        """Read files: those of workers come first, since a worker starts before it has results."""
        if not self._files:
            return
        unread = self.workers.unread(self._worker_files)
        paths = [p for p in unread if p not in self._reading and p not in self._later]
        if not (paths or any(p.startswith(WORKERS) for p in self._reading)):
            paths = self._next_results()
        now = time.monotonic()
        if now >= self._statuses_at and not self.has_ended:
            self._statuses_at = now + _STATUS_S
            paths += [
                p for p in self.workers.statuses(self._worker_files) if p not in self._reading
            ]
        for path in paths:
            self._reading[path] = self._files.get(path, 0)
        if paths:
            self._poller.read(self.note.name, paths)

    def _next_results(self) -> list[str]:
        """Return the files of results to read next; few enough to be held in memory."""
        room, size = _READ_AHEAD_FILES - len(self._reading), sum(self._reading.values())
        found: list[str] = []
        if room < _READ_AHEAD_FILES // 2:
            return found  # to look through 100,000 files for each that was read takes minutes
        for path in self.folding.wanted():
            if path in self._reading or path in self._later:
                continue
            if len(found) >= room or (size > _READ_AHEAD_BYTES and (found or self._reading)):
                break
            size += self._files.get(path, 0)
            found.append(path)
        return found

    # The end

    @property
    def has_ended(self) -> bool:
        """Whether the job has ended, as far as it was seen."""
        return self.status.state in ENDED

    @property
    def is_read(self) -> bool:
        """Whether the job has ended, and all results that are waited for are read."""
        return self.has_ended and not (
            self._reading or self.folding.wanted() or self.workers.unread(self._worker_files)
        )

    def unanswered(self) -> list[Signal] | None:
        """Return failures of attempts that have run without a result; None until that is known.

        The attempts that remain have not run.
        """
        if self.note.is_over:
            return []
        if not self._is_table_asked:
            self._is_table_asked = True
            self._poller.ask("table", partial(read_table, name=self.note.name))
        if self._table is None:
            return None
        emitted: list[Signal] = []
        for mini_batch in list(self.folding.assigned):
            failure = self._failure_of(mini_batch)
            if failure is not None:
                lost = self.folding.end(mini_batch)
                items = PlanLine.decode(lost.line).item_count
                emitted.append(
                    signals.AttemptErrored(NODE, "", mini_batch, lost.attempt, items, 0, failure)
                )
        return emitted

    def _failure_of(self, mini_batch: int) -> Failure | None:
        """Return why an attempt has no result; None if it has not run."""
        has_tries = self.folding.answers[mini_batch] < self._limits.run_max_try
        if not (has_tries and self.folding.is_sent(mini_batch)):
            return None
        row = self._table.get(mini_batch) if self._table else None
        if row is not None and row.status not in _SUCCEEDED:
            return job_end.failure_of_row(row, self._limits.run_invocation_timeout)
        if row is not None and self.folding.answers[mini_batch]:
            return None  # its last try was answered: this attempt was wished for later
        return job_end.failure_without_row() if self.status.state == "Completed" else None

    @property
    def lacks_mini_batches(self) -> bool:
        """Whether the job has ended without running mini-batches that it was sent."""
        tries, folding = self._limits.run_max_try, self.folding
        return self.status.state != "Completed" and any(
            folding.is_sent(k) and folding.answers[k] < tries for k in folding.assigned
        )

    def lost(self) -> signals.PoolLost:
        """Return the signal that ends the run, since the job has ended too early."""
        failure = self.workers.failure
        if failure is not None and not self.workers.has_ready:
            why = f"{failure.group}: {failure.message}" if failure.message else failure.group
            return signals.PoolLost(f"no worker could start: {why}", is_resumable=False)
        text = job_end.lost_job_text(self.note.name, self.status, len(self.folding.assigned))
        return signals.PoolLost(text, is_resumable=True)
