"""The driver: the loop that joins plan, scheduler, pool and journal, and does what they say."""

from __future__ import annotations

import logging
import os
import socket
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from ..data.datasets.inputs import count_items
from ..errors import OutputError
from ..runs.driver_lock import DriverLock
from ..runs.journal.events import IN_STORE, AttemptSucceeded, Event, PartStored, RunFinished
from ..runs.journal.files import JournalReader
from ..runs.journal.state import LEFT, SUCCEEDED, RunState
from ..runs.journal.state_cache import write_state
from ..runs.logs import remote_logs
from ..runs.output.azure_reports import write_reports
from ..runs.output.committed_rows import CommittedRows, publish, remove_parts
from ..runs.output.manifest import parts_of
from ..runs.resume_request import ResumeRequest, read_resume, write_refusal
from ..runs.run_folder import RunFolder
from ..runs.run_record import RunRecord
from ..worker.child_loop import traceback_text
from .node_pool import Pool, PoolFactory
from .output.committer import Committer
from .output.publisher import Publisher
from .output.schema_check import SchemaCheck
from .planning.plan_check import Fate, Fates
from .planning.plan_file import PlanFile
from .planning.planner import Planner
from .scheduling import signals
from .scheduling.limits import MAX_NODE_LOSSES, Limits
from .scheduling.part_scheduler import PartsScheduler
from .scheduling.scheduler import Scheduler
from .scheduling.signals import (
    Action,
    Assign,
    Charge,
    Finish,
    PauseNodes,
    Publish,
    Record,
    Refuse,
    Signal,
    StopNodes,
    UploadPart,
)

_log = logging.getLogger(__name__)

_LONGEST_WAIT_S = 0.25
_CONTROL_S = 0.1
_SAVE_S = 0.3
"""The fold is written so often, and less often where that would take two percent of the time."""

_WITH_TRACEBACK = (
    signals.PlanFailed,
    signals.OutputNotPublished,
    signals.PartUploadFailed,
    signals.PoolLost,
    signals.Warned,
)
"""Signals about the driver's own helpers and nodes: the driver's log has their tracebacks too."""


class Driver:
    """Runs one run from its folder to its end.

    Parameters
    ----------
    folder
        The run.
    make_pool
        Makes the nodes; from the backend that the run's record names.
    clock
        Seconds since the epoch.
    """

    def __init__(
        self,
        folder: RunFolder,
        make_pool: PoolFactory,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._folder = folder
        self._clock = clock
        self._claim = DriverLock(folder)
        self._resume = read_resume(folder)
        self._record = self._resume.applied_to(folder.read_record())
        self._rows = CommittedRows()
        self._parts: list[PartStored] = []
        state = self._read_journal()
        self._commits = Committer(folder, part=state.drivers)
        self._plan = PlanFile(folder.plan)
        self._told: deque[Signal] = deque()
        self._schema_check = SchemaCheck(self._record.output_format)
        self._pool: Pool = make_pool(folder, self._record, self._keep_rows)
        asked = self._resume
        fates = _fates(state, asked) if state.drivers else None
        self._planner = Planner(self._record, folder.plan, self._tell, fates)
        kind = PartsScheduler if self._record.output_parts else Scheduler
        self._scheduler = kind(
            Limits.of(self._record),
            self._pool.nodes,
            state,
            failed_only=asked.failed_only,
            group=asked.group,
        )
        self._control_at = 0.0
        self._save_at = time.monotonic() + _SAVE_S
        self._seen_requests: set[str] = set()
        self._is_over = False
        self._upload: Publisher | None = None

    def run(self) -> bool:
        """Drive the run to a final state, which the journal holds in any case; then `close`.

        Returns
        -------
        bool
            Whether this process is in order, and could drive another run.
        """
        is_well = False
        try:
            self._planner.start()
            me = (os.getpid(), socket.gethostname(), self._resume.script)
            self._perform(self._scheduler.start(self._now_ms(), *me))
            while not self._is_over:
                self._turn()
            if self._scheduler.is_held:
                return True
            state = self._scheduler.state
            self._save_state()
            if state.state == "Completed" and not state.failed:
                remove_parts(self._folder)  # where something failed, a resume will want them
            self._report()
            is_well = True
        except OSError as error:
            _log.exception("the driver cannot go on")
            self._record_end(
                f"{error.strerror or error}{f': {error.filename}' if error.filename else ''} (run "
                f"folder {self._folder.path}). What was committed is kept: put that right, and "
                "run.resume() goes on"
            )
        except Exception as error:  # the driver's top: whatever it is, the journal says so
            _log.exception("the driver failed")
            self._record_end(
                f"the driver failed: {type(error).__name__}: {error}; see {self._folder.driver_log}",
                traceback_text(error),
            )
        return is_well

    def _read_journal(self) -> RunState:
        """Fold what earlier drivers recorded; nothing, for a new run."""
        state = RunState()
        for event in JournalReader(self._folder.journal).read():
            state.apply(event)
            self._note(event)
        return state

    def _note(self, event: Event) -> None:
        """Remember where rows are."""
        if isinstance(event, AttemptSucceeded) and event.part != IN_STORE:
            self._rows.add(event)
        elif isinstance(event, PartStored):
            self._parts.append(event)

    def _keep_rows(self, rows: bytes) -> tuple[int, int]:
        """Keep rows for the part file; return the part and their offset in it."""
        place = self._commits.keep_rows(rows)
        self._schema_check.add_rows(rows, place)
        return place

    def _check_columns(self, event: Event) -> None:
        """End the run as soon as results have come which one file cannot hold."""
        if isinstance(event, AttemptSucceeded) and event.length:
            reason = self._schema_check.conflict(event.mini_batch, (event.part, event.offset))
            if reason:
                self._tell(signals.OutputImpossible(reason))

    def _turn(self) -> None:
        now = time.monotonic()
        wait_s = min(_LONGEST_WAIT_S, max(0.0, self._commits.due_at() - now))
        for signal in self._pool.wait(0.0 if self._told else wait_s):
            self._handle(signal)
        while self._told:
            self._handle(self._told.popleft())
        self._commits.step()
        if time.monotonic() >= self._save_at:
            self._save_state()
        self._claim.beat()
        self._read_control()

    def _save_state(self) -> None:
        """Write the fold, for whoever attaches: a cache, so a disk that refuses it is no matter."""
        began = time.monotonic()
        size_bytes = self._commits.flush()
        try:
            write_state(self._folder, self._scheduler.state, size_bytes)
        except OSError:
            _log.exception("state.json could not be written")
        now = time.monotonic()
        self._save_at = now + max(_SAVE_S, 50 * (now - began))

    def _tell(self, signal: Signal) -> None:
        """Take a signal from another thread."""
        self._told.append(signal)
        self._pool.wake()

    def _handle(self, signal: Signal) -> None:
        if isinstance(signal, _WITH_TRACEBACK) and signal.traceback:
            _log.error("%s", signal.traceback.rstrip())
        self._perform(self._scheduler.handle(signal, self._now_ms()))

    def _now_ms(self) -> int:
        return int((self._clock() - self._record.created_at) * 1000)

    def _perform(self, actions: list[Action]) -> None:  # noqa: C901 - one flat match over the closed union
        for action in actions:
            match action:
                case Record(event):
                    self._commits.record(event)
                    self._note(event)
                    self._check_columns(event)
                case Assign(node, first, count, attempt):
                    self._pool.assign(node, first, attempt, self._plan.lines(first, count))
                case UploadPart(node, first, pieces):
                    self._pool.put(node, first, pieces)
                case PauseNodes():
                    self._told.extend(self._pool.pause())
                case Charge():
                    self._tell(self._charged(action))
                case StopNodes(drain):
                    self._planner.stop()
                    self._pool.stop(drain=drain)
                case Publish():
                    self._publish()
                case Refuse(reason):
                    write_refusal(self._folder, reason)
                    self._is_over = True
                case Finish():
                    self._is_over = True

    def _charged(self, charge: Charge) -> Signal:
        """Return the failure of an attempt that went down with its node, once too often."""
        [line] = self._plan.lines(charge.mini_batch, 1)
        text = f"its node was lost while it ran, as {MAX_NODE_LOSSES - 1} or more before it: {charge.reason}"
        failure = signals.Failure("node_lost", "NodeLost", text, "NodeLost at run()", "")
        node = charge.node
        return signals.AttemptErrored(
            node, node, charge.mini_batch, charge.attempt, count_items(line), 0, failure
        )

    def _publish(self) -> None:
        record = self._record
        if record.output_parts:
            self._commits.flush()
            parts = parts_of(self._parts)
            self._upload = Publisher.for_parts(self._folder, record, parts, self._tell)
            self._upload.start()
            return
        target = final_file(self._folder, record) if record.append_rows else None
        size_bytes = 0
        try:
            self._commits.flush()
            if target is not None:
                size_bytes = publish(self._folder, self._rows, target, record.output_format)
        except OutputError as error:
            self._tell(signals.OutputNotPublished(str(error)))
            return
        if record.output_storage:
            self._upload = Publisher.for_files(self._folder, record, target, self._tell)
            self._upload.start()
        else:
            self._tell(signals.OutputPublished(str(target), size_bytes))

    def _read_control(self) -> None:
        now = time.monotonic()
        if now < self._control_at:
            return
        self._control_at = now + _CONTROL_S
        self._handle(signals.TimePassed())
        self._pool.expect(self._scheduler.state.left)
        for name in os.listdir(self._folder.control):
            if name == remote_logs.REQUEST:
                (self._folder.control / name).unlink(missing_ok=True)  # to be asked again and again
                self._pool.bring_logs()
            elif name not in self._seen_requests:
                self._seen_requests.add(name)
                if name in {"cancel", "cancel-drain"}:
                    self._handle(signals.CancelAsked(drain=name == "cancel-drain"))

    def _report(self) -> None:
        """Write the reports; the run has ended, and does not fail for a lack of them."""
        try:
            events = JournalReader(self._folder.journal).read()
            write_reports(self._folder, self._record, events)
        except OSError:
            _log.exception("the reports could not be written")

    def _record_end(self, reason: str, trace: str = "") -> None:
        """Record in the journal that the run has failed for a reason of the driver's own."""
        if self._scheduler.is_held:  # the run has ended before, and stays as it is
            write_refusal(self._folder, reason)
            return
        try:
            self._commits.record_end(RunFinished(self._now_ms(), "Failed", reason, "", 0, trace))
        except OSError:  # then the dead driver will be seen as such
            _log.exception("the journal could not be written")

    def close(self) -> None:
        """End what is still there, and let others drive the run."""
        self._planner.stop()
        if self._upload is not None:
            self._upload.close()
        self._pool.close()
        self._commits.close()
        self._plan.close()
        self._claim.release()


def _fates(state: RunState, request: ResumeRequest) -> Fates:
    """Return a function that tells what becomes of a mini-batch of an earlier driver's plan."""
    retried = frozenset(state.failed_ones(request.group))
    only_retried = request.failed_only or bool(request.group)
    kept = bytes(state.statuses)

    def fate_of(mini_batch: int) -> Fate:
        status = kept[mini_batch] if mini_batch < len(kept) else LEFT
        if status == SUCCEEDED:
            return Fate.KEPT
        if mini_batch in retried:
            return Fate.RETRIED
        return Fate.LEFT_ALONE if only_retried else Fate.FIRST

    return fate_of


def final_file(folder: RunFolder, record: RunRecord) -> Path:
    """Return where the run's final file goes; one for a store goes there from the run's folder."""
    here = None if record.output_storage else record.output
    return (Path(here) if here else folder.output) / record.output_file
