"""The driver: the loop that connects planner, scheduler, pool and journal."""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from ..errors import OutputError, ParallelRunError
from ..runs.driver_lock import DriverLock
from ..runs.failed_items import FailedItem, failed_items
from ..runs.journal.events import (
    AttemptSucceeded,
    Event,
    ItemsSucceeded,
    RunFinished,
    WarningRaised,
)
from ..runs.journal.files import JournalReader, write_state
from ..runs.journal.short_results import ShortResults
from ..runs.journal.state import LEFT, RunState
from ..runs.logs import remote_logs
from ..runs.output.azure_reports import write_reports
from ..runs.output.committed_rows import CommittedRows, publish, remove_parts
from ..runs.output.failed_items_file import import_ahead, write_failed_items
from ..runs.output.stored_parts import PartIndex
from ..runs.plan_places import places_path
from ..runs.resume_request import read_resume, write_refusal
from ..runs.run_folder import RunFolder
from ..worker.child_loop import traceback_text
from ..worker.plan_line import PlanLine
from .node_pool import Pool, PoolFactory
from .output.committer import Committer
from .output.joiner import Joiner
from .output.publisher import Publisher
from .output.schema_check import SchemaCheck
from .planning.assumed_plan import decided_plan
from .planning.fates import resume_fates
from .planning.plan_file import PlanFile
from .planning.planner import Planner
from .scheduling import actions, signals
from .scheduling.actions import Action, Assign, Record
from .scheduling.allocation import Pending
from .scheduling.limits import Limits
from .scheduling.range_allocator import RangeAllocator
from .scheduling.scheduler import Scheduler
from .scheduling.signals import Signal

# Few runs take rows of others or copy them, and each driver's start counts.
if TYPE_CHECKING:
    from .planning.copied_rows import CopiedRows
    from .planning.duplicates import Duplicates
    from .planning.update import Update

_log = logging.getLogger(__name__)

_MAX_WAIT_S = 0.25
_CONTROL_S = 0.1
_SAVE_S = 0.3
"""Least interval of writing state.json, if it has changed; longer if that would take more than two
percent of the time."""

_CANCEL_REQUESTS = {"cancel": False, "cancel-drain": True}
"""Names of control files that cancel the run, and whether running mini-batches finish first."""

_WITH_TRACEBACK = (
    signals.PlanFailed,
    signals.OutputNotPublished,
    signals.PartUploadFailed,
    signals.PoolLost,
    signals.Warned,
)
"""Signals about child processes and nodes; the driver's log shows their tracebacks."""


class Driver:
    """Drives one run to its end.

    Parameters
    ----------
    folder
        The run.
    make_pool
        Makes the pool, in the backend selected by the run's record.
    clock
        Returns seconds since the epoch.
    on_end
        Called when the run is over, before its end is written to the journal. Default: nothing.

    Raises
    ------
    RunFolderError
        The run has a driver already, or a damaged request to resume.
    """

    def __init__(
        self,
        folder: RunFolder,
        make_pool: PoolFactory,
        clock: Callable[[], float] = time.time,
        on_end: Callable[[], None] = lambda: None,
    ) -> None:
        self._folder = folder
        self._clock = clock
        self._on_end = on_end
        self._lock = DriverLock(folder)
        self._resume = read_resume(folder)
        self._record = self._resume.applied_to(folder.read_record())
        self._rows = CommittedRows()
        self._parts = PartIndex()
        self._short_results = ShortResults()
        state = self._read_journal()
        short_results = self._short_results.in_group(self._resume.group)
        self._committer = Committer(folder, part=state.drivers)
        self._plan = PlanFile(folder.plan)
        self._queued: deque[Signal] = deque()
        self._schema_check = SchemaCheck(self._record.output.format)
        self._pool: Pool = make_pool(folder, self._record, self._store_rows)
        fates = resume_fates(state, self._resume, short_results) if state.drivers else None
        self._planner = Planner(
            self._record,
            folder.plan,
            self._post,
            fates,
            update=self._update_of(state),
            duplicates=self._duplicates_of(state),
        )
        self._copied: CopiedRows | None = None
        self._scheduler = Scheduler(
            Limits.of(self._record),
            self._pool.nodes,
            RangeAllocator if self._record.output.in_parts else Pending,
            self._plan.items_of,
            state,
            failed_only=self._resume.failed_only,
            group=self._resume.group,
            short_results=short_results,
        )
        self._control_at = 0.0
        self._save_at = time.monotonic() + _SAVE_S
        self._is_saved = False
        self._seen_requests: set[str] = set()
        self._is_over = False
        self._publisher: Publisher | None = None
        #: whether the list of failed items would need an import that has not begun
        self._needs_import = self._record.limits.isolate_failures
        output = self._record.output
        is_one_file = output.append_rows and not output.in_parts
        self._target = folder.final_file(self._record) if is_one_file else None
        self._joiner = Joiner(folder, self._rows, self._target, output.format)

    def run(self) -> bool:
        """Drive the run to a final state, and record the state in the journal; then call `close`.

        Returns
        -------
        bool
            Whether nothing unexpected happened, so that this process can drive another run.
        """
        is_reusable = False
        try:
            self._planner.start()
            process = os.getpid(), socket.gethostname()
            self._perform(self._scheduler.start(self._now_ms(), *process, self._resume.script))
            while not self._is_over:
                self._turn()
            if self._scheduler.is_untouched:
                return True
            state = self._scheduler.state
            self._save_state()
            if state.state == "Completed" and not self._can_run_again(state):
                remove_parts(self._folder)
            self._report()
            is_reusable = True
        except OSError as error:
            _log.exception("the driver cannot continue")
            self._record_end(
                f"{error.strerror or error}{f': {error.filename}' if error.filename else ''} (run "
                f"folder {self._folder.path}). Committed results are kept; correct the error and "
                "resume the run"
            )
        except Exception as error:  # the top of the driver: the journal must contain the reason
            _log.exception("the driver failed")
            self._record_end(
                f"the driver failed: {type(error).__name__}: {error}; see {self._folder.driver_log}",
                traceback_text(error),
            )
        return is_reusable

    def _update_of(self, state: RunState) -> Update | None:
        """Return the update that takes rows from another run, if there are any left to take."""
        inputs = self._record.inputs
        if not (inputs.reuse_from or inputs.update_by == "digest") or state.reused is not None:
            return None
        statuses, answered = bytes(state.statuses), frozenset(state.answers)
        only_retries = self._resume.failed_only or self._resume.group

        def is_open(mini_batch: int) -> bool:
            is_left = mini_batch >= len(statuses) or statuses[mini_batch] == LEFT
            return is_left and mini_batch not in answered and not only_retries

        from .planning.update import Update

        return Update(self._folder, self._record, is_open, is_resume=state.drivers > 0)

    def _duplicates_of(self, state: RunState) -> Duplicates | None:
        """Return the search for items with the same content, if the run has asked for it."""
        if not self._record.inputs.run_duplicates_once:
            return None
        limit_s = self._record.limits.first_task_creation_timeout / 2
        from .planning.duplicates import Duplicates

        return Duplicates(self._folder, is_resume=state.drivers > 0, resume_limit_s=limit_s)

    def _read_journal(self) -> RunState:
        """Return the state of the run after earlier drivers."""
        state = RunState()
        drops_short_results = self._resume.failed_only or bool(self._resume.group)
        for event in JournalReader(self._folder.journal).read():
            state.apply(event)
            self._note(event)
            if drops_short_results:
                self._short_results.note(event)
        return state

    def _can_run_again(self, state: RunState) -> bool:
        """Return whether a resume may run failed items, and then needs the part files."""
        is_by_item = self._record.limits.isolate_failures
        return bool(state.failed or state.items_lost or (state.items_failed and is_by_item))

    def _note(self, event: Event) -> None:
        """Index the committed rows, and the parts in the store."""
        self._rows.note(event)
        if self._record.output.in_parts:
            self._parts.note(event)

    def _store_rows(self, rows: bytes) -> tuple[int, int]:
        """Append rows to the part file; return the number of the part and their offset in it."""
        place = self._committer.keep_rows(rows)
        self._schema_check.add_rows(rows, place)
        return place

    def _check_columns(self, event: Event) -> None:
        """End the run if the results so far cannot be written to one file."""
        if isinstance(event, ItemsSucceeded):
            self._schema_check.forget((event.part, event.offset))
        elif isinstance(event, AttemptSucceeded) and event.length:
            reason = self._schema_check.conflict(event.mini_batch, (event.part, event.offset))
            if reason:
                self._post(signals.OutputImpossible(reason))

    def _turn(self) -> None:
        now = time.monotonic()
        wait_s = min(_MAX_WAIT_S, max(0.0, self._committer.due_at() - now))
        for signal in self._pool.wait(0.0 if self._queued or self._copied else wait_s):
            self._handle(signal)
        if self._copied is not None and self._copied.step():
            self._copied = None
        while self._queued:
            self._handle(self._queued.popleft())
        self._committer.step()
        if not self._scheduler.is_untouched:  # failed mini-batches may run again
            self._joiner.step(self._scheduler.state, self._committer)
        if self._needs_import and self._scheduler.state.items_failed:
            self._needs_import = False  # the end of the run does not wait for it
            threading.Thread(target=import_ahead, name="import", daemon=True).start()
        if not self._is_saved and time.monotonic() >= self._save_at:
            self._save_state()
        self._lock.heartbeat()
        self._read_control()

    def _save_state(self) -> None:
        """Write state.json, a cache for readers of the run; a disk error is only logged."""
        started = time.monotonic()
        size_bytes = self._committer.flush()
        try:
            write_state(self._folder, self._scheduler.state, size_bytes)
        except OSError:
            _log.exception("state.json could not be written")
        now = time.monotonic()
        self._save_at = now + max(_SAVE_S, 50 * (now - started))
        self._is_saved = True

    def _post(self, signal: Signal) -> None:
        """Queue a signal; may be called from any thread."""
        self._queued.append(signal)
        self._pool.wake()

    def _handle(self, signal: Signal) -> None:
        if isinstance(signal, _WITH_TRACEBACK) and signal.traceback:
            _log.error("%s", signal.traceback.rstrip())
        if isinstance(signal, signals.TypesDecided) and signal.text:
            signal = self._with_dropped(signal)
        self._perform(self._scheduler.handle(signal, self._now_ms()))

    def _with_dropped(self, signal: signals.TypesDecided) -> signals.TypesDecided:
        """Add the results that were made with other types."""
        from .planning.dropped_results import drops_of  # rarely needed

        self._committer.flush()
        self._schema_check = SchemaCheck(self._record.output.format)
        return replace(signal, dropped=drops_of(self._folder, signal.first, signal.end))

    def _replace_plan(self) -> None:
        """Put the plan with the decided types in place, after the events that drop results."""
        self._committer.commit_all()
        places_path(self._folder.plan).unlink(missing_ok=True)
        os.replace(decided_plan(self._folder.plan), self._folder.plan)
        self._plan.reopen()

    def _now_ms(self) -> int:
        return int((self._clock() - self._record.created_at) * 1000)

    def _perform(self, wanted: list[Action]) -> None:  # noqa: C901 - one flat match over the closed union
        for action in wanted:
            match action:
                case Record(events):
                    self._record_events(events)
                case Assign():
                    self._assign(action)
                case actions.UploadPart(node, first, pieces):
                    self._pool.upload_part(node, first, pieces)
                case actions.PauseNodes():
                    self._pool.pause()
                case actions.StopNodes(drain):
                    self._planner.hurry(drain=drain)
                    self._pool.stop(drain=drain)
                case actions.CopyDuplicates():
                    self._copy_duplicates(action)
                case actions.DecideTypes():
                    self._planner.decide_types()
                case actions.ReplacePlan():
                    self._replace_plan()
                case actions.Publish():
                    self._publish()
                case actions.Refuse(reason):
                    self._on_end()
                    write_refusal(self._folder, reason)
                    self._is_over = True
                case actions.Finish():
                    self._on_end()  # the event of the end is recorded, but not committed yet
                    self._is_over = True

    def _copy_duplicates(self, action: actions.CopyDuplicates) -> None:
        from .planning.copied_rows import CopiedRows

        self._committer.flush()
        divided = frozenset(self._scheduler.state.answers)
        self._copied = CopiedRows(self._folder, self._record, action.items, divided, self._post)

    def _record_events(self, events: list[Event]) -> None:
        self._is_saved = False
        for event in events:
            if isinstance(event, RunFinished):
                self._list_failed_items(event.at_ms)
            self._committer.record(event)
            self._note(event)
            if self._schema_check.is_needed:
                self._check_columns(event)

    def _assign(self, action: Assign) -> None:
        lines = self._plan.lines(action.first, action.count)
        if action.ranges:
            line = PlanLine.decode(lines[0]).only(
                action.ranges, isolates=action.isolates, suspect=action.suspect
            )
            lines = [line.encode()]
        self._pool.assign(
            action.node,
            action.first,
            action.attempt,
            lines,
            after_ms=action.after_ms,
            every_ms=action.every_ms,
        )

    def _publish(self) -> None:
        record = self._record
        if record.output.in_parts:
            self._committer.flush()
            self._publisher = Publisher.for_parts(self._folder, record, self._parts, self._post)
            self._publisher.start()
            return
        target = self._target
        size_bytes: int | None = 0
        try:
            self._committer.commit_all()  # the end of the run syncs the journal
            if target is not None:
                size_bytes = self._joiner.publish()
                if size_bytes is None:
                    size_bytes = publish(self._folder, self._rows, target, record.output.format)
        except OutputError as error:
            self._post(signals.OutputNotPublished(str(error)))
            return
        if record.output.storage:
            self._publisher = Publisher.for_files(self._folder, record, target, self._post)
            self._publisher.start()
        else:
            self._post(signals.OutputPublished(str(target), size_bytes or 0))

    def _read_control(self) -> None:
        """Signal that time has passed, and handle requests in the control folder."""
        now = time.monotonic()
        if now < self._control_at:
            return
        self._control_at = now + _CONTROL_S
        self._handle(signals.TimePassed())
        self._pool.set_mini_batches_left(self._scheduler.state.left)
        self._planner.note_statuses(self._scheduler.state.statuses)
        for name in os.listdir(self._folder.control):
            if name == remote_logs.REQUEST:
                (self._folder.control / name).unlink(missing_ok=True)  # the request may be repeated
                self._pool.fetch_logs()
            elif name not in self._seen_requests:
                self._seen_requests.add(name)
                if name in _CANCEL_REQUESTS:
                    self._handle(signals.CancelAsked(_CANCEL_REQUESTS[name]))

    def _list_failed_items(self, end_ms: int) -> None:
        """Write the list of failed items before the run ends; an error is only a warning."""
        state = self._scheduler.state
        if state.items_failed:
            self._committer.flush()  # the list is read from the journal
        try:
            write_failed_items(self._folder, self._record, self._failed_items(state))
        except (OSError, ParallelRunError) as error:  # a full disk, or a damaged journal
            _log.exception("the list of failed items could not be written")
            text = f"the list of failed items could not be written ({error}); run.failed_items() has it"
            warning = WarningRaised(end_ms, text)
            self._committer.record(warning)
            state.apply(warning)

    def _failed_items(self, state: RunState) -> Iterator[FailedItem]:
        for item in failed_items(self._folder, state=state) if state.items_failed else ():
            self._lock.heartbeat()
            yield item

    def _report(self) -> None:
        """Write the reports. The run has ended, so an error is only logged."""
        try:
            events = JournalReader(self._folder.journal).read()
            write_reports(self._folder, self._record, events)
        except OSError:
            _log.exception("the reports could not be written")

    def _record_end(self, reason: str, trace: str = "") -> None:
        """Record that the run has failed because of the driver itself."""
        if self._scheduler.is_untouched:  # the resume is refused; the run stays as it was
            write_refusal(self._folder, reason)
            return
        try:
            event = RunFinished(self._now_ms(), "Failed", reason, "", 0, trace)
            self._committer.record_end(event)
            self._scheduler.state.apply(event)
        except OSError:  # readers will notice that the driver is dead
            _log.exception("the journal could not be written")

    def close(self) -> None:
        """End the helpers and the pool, and release the run to other drivers."""
        if self._scheduler.state.is_all_done:
            self._planner.finish()
        else:
            self._planner.stop()  # a resume may be waiting for the lock
        if self._publisher is not None:
            self._publisher.close()
        self._joiner.close()
        if self._copied is not None:
            self._copied.close()
        self._pool.close()
        self._committer.close()
        self._plan.close()
        if self._record.notify:
            from .notices.start import tell_of_end

            tell_of_end(self._folder, self._record, self._scheduler.state)
        self._lock.release()
