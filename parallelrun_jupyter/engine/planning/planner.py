"""The planner: a process that lists the inputs, so that a stalled store does not stall the driver."""

from __future__ import annotations

import gc
import mmap
import os
import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from ...data.datasets.inputs import digest_of
from ...data.local.file_versions import FileVersions
from ...data.tables.table_files import input_warnings_to
from ...errors import ParallelRunError
from ...files import write_atomically
from ...runs.journal.state import SUCCEEDED
from ...runs.run_record import RunRecord
from ...worker.freed_memory import keep_freed_memory
from ..child_process import LOST, ChildProcess, Message
from ..scheduling.signals import (
    ItemsWithheld,
    PlanAdvanced,
    PlanFailed,
    RowsTaken,
    Signal,
    TypesAssumed,
    TypesChange,
    TypesConfirmed,
    TypesDecided,
    UpdatePlanned,
    Warned,
)
from .fates import Fate, Fates
from .plan_file import Report, write_plan
from .taken_rows import taken_results

if TYPE_CHECKING:
    from .duplicates import Duplicates
    from .update import Update

_NICE = 10
_URGENT, _ASKED = 0, 1
_SUCCEEDED_AT = 8
_AT_ONCE = 1 << 16
_REPORT_S = 1.0
_FINISH_S = 20.0
"""Maximum time after a run to record the versions of its inputs; an update runs items without one."""


class Planner:
    """Writes the plan file in a forked process, and reports its progress as signals.

    Listing a hundred thousand files takes a second of CPU time; in a thread of the driver, the
    scheduler would lose it.

    Parameters
    ----------
    record
        The run.
    plan
        The plan file.
    post
        Called with each signal, from another thread.
    fate_of
        For a resume: returns how to treat an item of the earlier plan.
    update
        Takes rows from another run.
    duplicates
        Finds items with the content of earlier ones.
    """

    def __init__(
        self,
        record: RunRecord,
        plan: Path,
        post: Callable[[Signal], None],
        fate_of: Fates | None = None,
        *,
        update: Update | None = None,
        duplicates: Duplicates | None = None,
    ) -> None:
        self._record = record
        self._update = update
        self._duplicates = duplicates
        self._plan = plan
        self._post = post
        self._fate_of = fate_of
        self._child: ChildProcess | None = None
        self._is_stopped = False
        self._is_planned = False
        #: memory shared with the process: whether it should finish without pauses, whether the types
        #: must be decided, and how many of the first mini-batches have succeeded
        self._flags = mmap.mmap(-1, 16)
        self._succeeded = 0
        #: whether types are assumed, and neither confirmed nor decided
        self._is_open = False
        #: in the process: whether the plan has assumed types
        self._has_assumed = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Fork the process that lists the inputs; call this before other threads are started."""
        self._child = ChildProcess.fork(self._list)
        self._thread = threading.Thread(target=self._listen, args=(self._child,), name="planner")
        self._thread.start()

    def hurry(self, *, drain: bool) -> None:
        """End the process, as the run is over; with ``drain``, let it record all versions soon."""
        if drain and self._is_planned:
            self._flags[_URGENT] = 1
        else:
            self.stop()

    def finish(self) -> None:
        """Wait until the versions of the inputs are recorded, but not for long; then end."""
        if self._thread is not None and self._is_planned:
            self._flags[_URGENT] = 1
            self._thread.join(_FINISH_S)
        self.stop()

    def decide_types(self) -> None:
        """Let the process decide the column types that it has assumed, from all rows."""
        self._flags[_ASKED] = 1

    def note_statuses(self, statuses: bytearray) -> None:
        """Tell the process which of the first mini-batches have succeeded: their rows have the types."""
        if not self._is_open:
            return
        later = statuses[self._succeeded : self._succeeded + _AT_ONCE]
        self._succeeded += len(later) - len(later.lstrip(bytes([SUCCEEDED])))
        self._flags[_SUCCEEDED_AT:] = self._succeeded.to_bytes(8, "little")

    def _count_succeeded(self) -> int:
        return int.from_bytes(self._flags[_SUCCEEDED_AT:], "little")

    def _is_urgent(self) -> bool:
        return self._flags[_URGENT] != 0

    def stop(self) -> None:
        """End the process and wait for it, without reporting a failure."""
        self._is_stopped = True
        if self._child is not None:
            self._child.kill()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _list(self, send: Callable[[Message], None]) -> None:
        """List the inputs, in the forked process."""
        began = time.monotonic()
        gc.disable()  # the objects made here have no reference cycles
        if self._record.has_tables_only:
            keep_freed_memory()
        try:
            self._record_side_versions()
            with input_warnings_to(lambda text: send(["warned", text])):
                report: Report = lambda *counts: send(["planned", *counts])  # noqa: E731 - short
                if self._update is not None:
                    report = self._update.reporting(send)
                if self._duplicates is not None:
                    report = self._duplicates.reporting(send, report)
                write_plan(
                    self._record,
                    self._plan,
                    report,
                    self._fate_of,
                    lambda text: send(["warned", text]),
                    note_assumed=lambda: self._note_assumed(send),
                )
        except (ParallelRunError, OSError) as error:
            send(["failed", str(error)])
            return
        with suppress(OSError), closing(FileVersions(self._plan)) as versions:
            # For an input without a recorded version, a resume compares its time with the plan's.
            versions.record(self._is_left_alone if self._fate_of else None, self._is_urgent)

        self._record_digests()
        if self._has_assumed:
            self._confirm_types(send, time.monotonic() - began)

    def _note_assumed(self, send: Callable[[Message], None]) -> None:
        self._has_assumed = True
        send(["assumed"])

    def _confirm_types(self, send: Callable[[Message], None], planned_s: float) -> None:
        """Confirm or decide the types that were assumed, while the run goes on."""
        from .assumed_plan import AssumedPlan, decided_plan  # only for tables

        plan = AssumedPlan(self._record, self._plan, self._is_urgent, self._count_succeeded)
        if not plan.wait_for_doubt(lambda: self._flags[_ASKED] != 0, planned_s):
            if not self._is_urgent():  # otherwise the run is over
                send(["confirmed"])
            return
        reported_at = time.monotonic()

        def report() -> None:
            nonlocal reported_at
            if time.monotonic() - reported_at > _REPORT_S:
                reported_at = time.monotonic()
                send(["assumed"])

        try:
            send(["decided", *plan.decide(decided_plan(self._plan), report)])
        except (ParallelRunError, OSError) as error:
            send(["failed", str(error)])

    def _record_digests(self) -> None:
        """Record the digests of the values of variables, while the run goes on."""
        if not self._record.has_variables:
            return
        from ...data.memory_digest import write_digest  # only for runs over variables

        os.nice(_NICE)
        for spec in self._record.inputs.datasets:
            with suppress(OSError):  # a resume then compares sizes only
                write_digest(spec["path"], self._is_urgent)

    def _record_side_versions(self) -> None:
        """Record the versions of the side inputs, before workers read them, for later updates."""
        specs = self._record.inputs.side_inputs
        path = self._plan.with_name("side_versions")
        if not specs:
            return
        try:
            digest = digest_of(specs)
        except (ParallelRunError, OSError):  # its workers report the error, if they need it
            digest = ""
        if path.exists() and path.read_text(encoding="ascii") != digest:
            digest = ""  # an earlier driver had others
        write_atomically(path, digest)

    def _is_left_alone(self, mini_batch: int, position: int) -> bool:
        assert self._fate_of is not None
        return self._fate_of(mini_batch, position) is Fate.LEFT_ALONE

    def _listen(self, child: ChildProcess) -> None:
        """Post the messages of the process as signals; an end without a result is a failure."""
        is_over = False
        while (messages := child.receive()) is not None:
            for message in messages:
                signal = _signal_of(message)
                self._post(signal)
                is_over |= isinstance(signal, PlanFailed)
                self._is_planned |= isinstance(signal, PlanAdvanced) and signal.is_end
                if isinstance(signal, TypesChange):
                    self._is_open = isinstance(signal, TypesAssumed)
        end = child.died()
        if self._is_stopped:
            return
        lacks_types = self._is_open and not self._is_urgent()
        if not is_over and (lacks_types or not self._is_planned):
            what, again = "the inputs could not be listed", "list them again"
            if self._is_planned:
                what, again = "the column types could not be decided", "decide them"
            text = f"{what}: {end.sentence} Fix this and resume the run to {again}"
            self._post(PlanFailed(text, end.traceback))
        elif end.error != LOST:  # the plan is complete; the file of versions is not
            text = f"the versions of the input files could not be recorded: {end.sentence}"
            self._post(Warned(text, end.traceback))


def _signal_of(message: Message) -> Signal:
    match message:
        case ["planned", mini_batches, items, is_end]:
            return PlanAdvanced(mini_batches, items, is_end)
        case ["withheld", items]:
            return ItemsWithheld(
                tuple((k, of, tuple(map(tuple, ranges))) for k, of, ranges in items)
            )
        case ["taken", whole, ranges]:
            return RowsTaken(taken_results(whole, ranges))
        case ["updated", *counts]:
            return UpdatePlanned(*counts)
        case ["assumed"]:
            return TypesAssumed()
        case ["confirmed"]:
            return TypesConfirmed()
        case ["decided", first, end, text]:
            return TypesDecided(first, end, text)
        case ["failed", reason]:
            return PlanFailed(reason)
        case _:
            return Warned(message[1])
