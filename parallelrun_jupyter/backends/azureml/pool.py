"""The pool of a run on Azure ML: its mini-batches are sent as a job, whose results are read as they appear."""

from __future__ import annotations

import shutil
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Protocol

from ...engine.scheduling import signals
from ...engine.scheduling.actions import Piece
from ...engine.scheduling.signals import Signal
from ...formatting import plural
from ...runs.logs import remote_logs
from ...runs.run_folder import RunFolder
from ...runs.run_record import RunRecord
from . import job_end
from .folding import Assigned
from .followed_job import NODE, FollowedJob
from .job_code import digest_of
from .job_file import JobFile, JobNote, spans_of
from .job_logs import JobLogs
from .poller import Done, FileRead, Gone, Poller, Report, Seen, Silent, Submitted
from .result_reader import KeepRows
from .service import JobNotFoundError, JobService, JobStatus
from .settling import Settling


class WriteJob(Protocol):
    """Compiles a job, as `job_folder.write_job`."""

    def __call__(
        self,
        folder: RunFolder,
        record: RunRecord,
        mini_batches: Sequence[int] | None,
        target: Path,
        lines: Mapping[int, bytes] | None = None,
    ) -> None:
        """Write the folder of a job that runs some mini-batches, by these plan lines."""


_CAPACITY = 1 << 40
_CANCEL_S = 20.0
"""A run that is canceled at once, or interrupted, waits this long for Azure ML to accept that, and for the logs."""

_END_S = 600.0
"""A run whose results are all there, or that is canceled, waits this long for the end of its job."""

_CLOSE_S = 30.0

_MOST_JOBS = 12
"""Jobs that one driver submits: each takes minutes, and may cost money."""


class AzureMLPool:
    """The job of a run on Azure ML.

    Assigned mini-batches are collected until the plan is complete; then they are sent as one job. A
    result answers an attempt of the scheduler; Azure retries by itself. Attempts that the job does not
    answer, such as those of parts of a mini-batch, are collected for the next one.

    Parameters
    ----------
    folder, record, keep_rows
        As for `PoolFactory`.
    connect
        Returns the service; called in the thread that makes the requests.
    write_job
        Compiles a job.
    poll_s
        Seconds between two requests for the state of the job while it changes.
    """

    nodes: tuple[str, ...] = (NODE,)

    def __init__(
        self,
        folder: RunFolder,
        record: RunRecord,
        keep_rows: KeepRows,
        *,
        connect: Callable[[], JobService],
        write_job: WriteJob,
        poll_s: float,
    ) -> None:
        self._folder = folder
        self._record = record
        self._keep_rows = keep_rows
        self._write_job = write_job
        self._jobs = JobFile(folder)
        self._poller = Poller(connect, self._post, poll_s)
        self._settling = Settling(folder.plan)
        self._logs = JobLogs(folder, self._poller)
        #: attempts that the next job runs
        self._waiting: dict[int, Assigned] = {}
        self._job: FollowedJob | None = None
        #: whether a job of an earlier driver is looked for first
        self._attaches = self._jobs.last is not None
        #: whether the service was asked for that job, or to cancel it, and has not answered
        self._is_watching = False
        #: the name of a job that was noted, and never submitted
        self._unused_name = ""
        #: number of jobs that this driver has submitted
        self._submitted = 0
        #: the nodes of all jobs
        self._nodes = [NODE]
        #: how the pool stops, if it does: with the results that still appear (drain), or at once
        self._drains: bool | None = None
        self._stops_at = 0.0
        self._has_stopped = self._are_files_asked = False
        #: whether the service was asked to cancel the job, and has not answered
        self._is_cancel_asked = False
        #: until when the logs of a job that has ended too early are waited for
        self._logs_until: float | None = None
        #: whether nothing more can be asked
        self._is_gone = False
        self._shown: tuple[str, ...] = ()
        self._reports: deque[Report] = deque()
        self._queued: list[Signal] = [signals.NodeOffered(NODE, 1, _CAPACITY)]
        self._wakes = threading.Event()
        remote_logs.mark_remote(folder)

    # The driver's thread

    def assign(
        self,
        node: str,  # noqa: ARG002 - there is one
        first: int,
        attempt: int,
        lines: list[bytes],
        *,
        after_ms: float = 0.0,  # noqa: ARG002 - Azure starts them when it can
        every_ms: float = 0.0,  # noqa: ARG002
    ) -> None:
        """Collect mini-batches from ``first`` on, or wait for their answers by the job."""
        self._settling.note_assigned(first + len(lines))
        for mini_batch, line in enumerate(lines, first):
            self._waiting[mini_batch] = Assigned(mini_batch, attempt, line)
        if self._job is not None:
            self._job.take(self._waiting)

    def upload_part(self, node: str, first: int, pieces: Sequence[Piece]) -> None:
        """Do nothing: the driver writes the output."""

    def pause(self) -> None:
        """Do nothing: only nodes that upload their output are paused."""

    def stop(self, *, drain: bool) -> None:
        """End the job: when all is done it ends by itself; otherwise it is canceled."""
        self._drains = drain
        is_complete = drain and not self._is_busy
        if self._attaches and is_complete:
            self._attach()
        note = self._job.note if self._job is not None else self._jobs.last
        if note is None or self._has_stopped or self._is_gone or (drain and note.is_over):
            return
        self._stops_at = time.monotonic() + (_END_S if drain else _CANCEL_S)
        has_ended = note.is_over or (self._job is not None and self._job.has_ended)
        if not (is_complete or has_ended):
            self._is_cancel_asked = True
            self._poller.cancel(note.name)
        if not drain:
            self._logs.fetch(note.name)  # its end ends the pool

    @property
    def _is_busy(self) -> bool:
        return bool(self._waiting) or (self._job is not None and bool(self._job.folding.assigned))

    def wait(self, timeout_s: float) -> list[Signal]:
        """Return pending signals, waiting up to ``timeout_s`` for the first."""
        if not (self._queued or self._reports):
            self._wakes.wait(timeout_s)
        self._wakes.clear()
        emitted, self._queued = self._queued, []
        while self._reports:
            emitted += self._handle(self._reports.popleft())
        emitted += self._step()
        self._nodes += [s.node for s in emitted if isinstance(s, signals.NodeConnected)]
        return emitted

    def wake(self) -> None:
        """Let a running `wait` return."""
        self._wakes.set()

    def set_mini_batches_left(self, count: int) -> None:
        """Note how many mini-batches the scheduler still has."""
        self._settling.left = count

    def fetch_logs(self) -> None:
        """Start fetching what is new in the logs of the job."""
        job = self._job
        self._logs.fetch(job.note.name if job is not None and job.note.is_submitted else "")

    def close(self) -> None:
        """End the thread; the job goes on unless it was canceled."""
        self._poller.close(_CLOSE_S)

    def _post(self, report: Report) -> None:
        """Queue a report; called in other threads."""
        self._reports.append(report)
        self._wakes.set()

    # Reports of the thread

    def _handle(self, report: Report) -> list[Signal]:
        job = self._job
        name = job.note.name if job is not None else ""
        match report:
            case Submitted(of) | Seen(of, _, _) | FileRead(of, _, _) if of != name:
                return []  # late, of a job that is left
            case Submitted() if job is not None:
                job.note.is_submitted = True
                self._jobs.save()
            case Seen(_, status, files) if job is not None:
                job.seen(status, files)
                return self._show(job.status, job.note.name)
            case FileRead(_, path, content) if job is not None:
                return job.file_read(path, content)
            case Done(what, reason, content):
                return self._done(what, reason, content)
            case Silent(reason):
                is_there = job is not None and job.note.is_submitted
                return [signals.Warned(_silence_text(reason, is_there=is_there))]
            case Gone():
                return self._gone(report)
        return []

    def _show(self, status: JobStatus, name: str) -> list[Signal]:
        """Return the signal of a new state of the job."""
        shown = (name, status.state, status.detail, status.url)
        if shown == self._shown:
            return []
        self._shown = shown
        return [signals.JobChanged(*shown)]

    def _done(self, what: str, reason: str, content: bytes) -> list[Signal]:
        match what:
            case "watch":
                self._is_watching = False
                if reason:
                    return self._not_there()
                if self._job is not None and not self._job.note.is_submitted:
                    self._job.note.is_submitted = True
                    self._jobs.save()
            case "table" if self._job is not None:
                self._job.table_read(content)
            case "cancel":
                self._canceled()
            case "logs" if self._drains is False:
                self._stops_at = 0.0
            case "logs" if self._logs_until is not None:
                self._logs_until = 0.0
            case "files":
                self._stops_at = 0.0
                self._note_files()
        return []

    def _canceled(self) -> None:
        """Note that the service has accepted a cancel: at the end, or of a job with an older script."""
        self._is_cancel_asked = False
        if self._drains is None:
            self._is_watching = False
            self._mark_over()

    def _note_files(self) -> None:
        """Note that the script's own files of all jobs are here."""
        for note in self._jobs.jobs:
            note.has_copied_files = note.is_submitted
        self._jobs.save()

    def _gone(self, gone: Gone) -> list[Signal]:
        """Return the signals for a job that cannot be followed any more."""
        self._is_gone = True
        note = self._job.note if self._job is not None else None
        name = note.name if note is not None and note.is_submitted else ""
        if gone.is_credential:
            text = job_end.credential_text(name, gone.reason)
        elif gone.is_refused:
            text = job_end.refused_text(gone.reason)
        elif gone.is_failure:
            text = gone.reason
        elif gone.is_local:
            text = job_end.local_text(gone.reason)
        else:
            text = job_end.vanished_text(name, gone.reason)
            self._mark_over()
        if self._drains is not None:
            return [signals.Warned(text), *self._stopped()]
        return [signals.PoolLost(text, is_resumable=not gone.is_failure)]

    # Steps

    def _step(self) -> list[Signal]:
        job, emitted = self._job, list[Signal]()
        if job is not None:
            emitted += job.answers()
            job.request_files()
        if self._drains is not None:
            return emitted + self._step_of_stop()
        if emitted or self._is_watching:
            return emitted  # the scheduler may assign the next attempts
        if self._attaches and self._waiting:
            self._attach()
        elif job is not None and job.is_read and self._is_busy:
            emitted += self._end_job(job)
        elif job is None and self._waiting and self._settling.is_settled(len(self._waiting)):
            emitted += self._launch()
        return emitted

    def _step_of_stop(self) -> list[Signal]:
        """Return the signals of the end, once the job has ended or need not be waited for."""
        if self._has_stopped:
            return []
        job = self._job
        if job is not None and self._drains and job.is_read and not self._are_files_asked:
            self._are_files_asked = True
            self._logs.fetch(job.note.name)
            self._ask_files()
        if time.monotonic() < self._stops_at:
            return []
        return [*self._unanswered_at_end(), *self._stopped()]

    def _ask_files(self) -> None:
        """Copy the script's own files of all jobs: later jobs run only what earlier ones did not."""
        notes = [
            note for note in self._jobs.jobs if note.is_submitted and not note.has_copied_files
        ]
        target = Path(self._folder.script_output(self._record))
        names = [note.name for note in notes]
        self._poller.ask("files", partial(_download, names=names, target=target))

    def _unanswered_at_end(self) -> list[Signal]:
        """Return warnings of requests that Azure ML has not answered in time."""
        if not self._stops_at:
            return []
        last = self._jobs.last
        assert last is not None
        if self._is_cancel_asked:
            return [signals.Warned(job_end.not_canceled_text(last.name))]
        return [signals.Warned(job_end.no_files_text(last.name))]

    def _stopped(self) -> list[Signal]:
        if self._has_stopped:
            return []
        self._has_stopped = True
        self._mark_over()
        return [signals.NodeStopped(node) for node in self._nodes]

    # Jobs

    def _follow(self, note: JobNote) -> FollowedJob:
        created_at = self._record.created_at
        self._job = FollowedJob(
            note,
            self._record.limits,
            self._poller,
            self._keep_rows,
            lambda: 1000 * (time.time() - created_at),
        )
        self._job.take(self._waiting)
        return self._job

    def _attach(self) -> None:
        """Look for the last job of earlier drivers, and wait for its results."""
        self._attaches = False
        note = self._jobs.last
        assert note is not None
        if note.code == digest_of(self._folder, self._record):
            self._follow(note).is_attached = True
            self._is_watching = True
            self._poller.watch(note.name)
        elif not note.is_over:
            self._is_watching = True  # the next job is not sent before
            self._poller.cancel(note.name)

    def _not_there(self) -> list[Signal]:
        """Go on without a job of an earlier driver that the service does not have."""
        assert self._job is not None
        note = self._job.note
        self._leave()
        if note.is_over:
            return []
        if note.is_submitted:
            self._mark_over()
            text = f"Azure ML no longer has the job {note.name}: its mini-batches are sent again"
            return [signals.Warned(text)]
        # The request of a killed driver may still arrive: a second job of this name is not made.
        self._unused_name = note.name
        self._jobs.jobs.pop()
        return []

    def _leave(self) -> None:
        """Let the next job run what this one has not answered."""
        if self._job is not None:
            self._waiting.update(self._job.folding.assigned)
            self._queued += self._job.workers.ended()
            self._job = None

    def _launch(self) -> list[Signal]:
        """Note, compile and submit a job of the waiting mini-batches."""
        self._mark_over()
        if self._submitted >= _MOST_JOBS:
            text = job_end.many_jobs_text(self._submitted, len(self._waiting))
            return [signals.PoolLost(text, is_resumable=True)]
        self._submitted += 1
        attempts = sorted((a.mini_batch, a.attempt) for a in self._waiting.values())
        lines = {mini_batch: self._waiting[mini_batch].line for mini_batch, _ in attempts}
        name, self._unused_name = self._unused_name or self._jobs.new_name(), ""
        note = JobNote(name, digest_of(self._folder, self._record), spans_of(attempts))
        self._jobs.jobs.append(note)
        self._jobs.save()  # before the job exists
        self._follow(note)
        self._poller.submit(name, partial(self._compile, note, lines))
        return self._show(JobStatus("Uploading", detail=plural(len(lines), "mini-batch")), "")

    def _compile(self, note: JobNote, lines: Mapping[int, bytes]) -> Path:
        """Write the job's folder; in the thread of the requests."""
        target = self._jobs.job_folder(note)
        if target.exists():  # a killed driver has left it
            shutil.rmtree(target)
        self._write_job(self._folder, self._record, list(lines), target, lines)
        return target

    def _mark_over(self) -> None:
        """Note that the last job is not waited for any more."""
        last = self._jobs.last
        if last is not None and not last.is_over:
            last.is_over = True
            self._jobs.save()

    def _end_job(self, job: FollowedJob) -> list[Signal]:
        """Return the signals for the attempts that an ended job has not answered."""
        emitted = job.unanswered()
        if emitted or emitted is None:
            return emitted or []
        if job.lacks_mini_batches and not (job.note.is_over or job.had_ended):
            if self._logs_until is None:
                self._logs_until = time.monotonic() + _CANCEL_S
                self._logs.fetch(job.note.name)
            if time.monotonic() < self._logs_until:
                return []
            self._mark_over()
            return [job.lost()]
        self._mark_over()
        self._leave()
        return []


def _download(service: JobService, names: Sequence[str], target: Path) -> bytes:
    """Copy the files that the script wrote in each job, if there are any."""
    for name in names:
        try:
            service.download_files(name, target)
        except JobNotFoundError:
            pass
    return b""


def _silence_text(reason: str, *, is_there: bool) -> str:
    if not reason:
        return "Azure ML answers again"
    job = "The job goes on there" if is_there else "The job is not submitted yet"
    return f"Azure ML does not answer ({reason}). {job}; the run goes on asking, ever more rarely"
