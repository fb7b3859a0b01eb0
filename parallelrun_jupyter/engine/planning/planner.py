"""The planner: a process that lists the inputs, so that a stalled store does not stall the driver."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

from ...data.local.file_versions import FileVersions
from ...data.tables.table_files import input_warnings_to
from ...errors import ParallelRunError
from ...runs.run_record import RunRecord
from ..child_process import LOST, ChildProcess, Message
from ..scheduling.signals import PlanAdvanced, PlanFailed, Signal, Warned
from .fates import Fate, Fates
from .plan_file import write_plan


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
    """

    def __init__(
        self,
        record: RunRecord,
        plan: Path,
        post: Callable[[Signal], None],
        fate_of: Fates | None = None,
    ) -> None:
        self._record = record
        self._plan = plan
        self._post = post
        self._fate_of = fate_of
        self._child: ChildProcess | None = None
        self._is_stopped = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Fork the process that lists the inputs; call this before other threads are started."""
        self._child = ChildProcess.fork(self._list)
        self._thread = threading.Thread(target=self._listen, args=(self._child,), name="planner")
        self._thread.start()

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
        gc.disable()  # the objects made here have no reference cycles
        try:
            with input_warnings_to(lambda text: send(["warned", text])):
                write_plan(
                    self._record,
                    self._plan,
                    lambda *counts: send(["planned", *counts]),
                    self._fate_of,
                    lambda text: send(["warned", text]),
                )
        except (ParallelRunError, OSError) as error:
            send(["failed", str(error)])
            return
        with suppress(OSError), closing(FileVersions(self._plan)) as versions:
            # For an input without a recorded version, a resume compares its time with the plan's.
            versions.record(self._is_left_alone if self._fate_of else None)

    def _is_left_alone(self, mini_batch: int, position: int) -> bool:
        assert self._fate_of is not None
        return self._fate_of(mini_batch, position) is Fate.LEFT_ALONE

    def _listen(self, child: ChildProcess) -> None:
        """Post the messages of the process as signals; an end without a result is a failure."""
        is_over = False
        while (messages := child.receive()) is not None:
            for message in messages:
                match message:
                    case ["planned", mini_batches, items, is_end]:
                        is_over = is_end
                        self._post(PlanAdvanced(mini_batches, items, is_end))
                    case ["warned", text]:
                        self._post(Warned(text))
                    case ["failed", reason]:
                        is_over = True
                        self._post(PlanFailed(reason))
        end = child.died()
        if self._is_stopped:
            return
        if not is_over:
            text = f"the inputs could not be listed: {end.sentence} Fix this and resume the run"
            self._post(PlanFailed(f"{text} to list them again", end.traceback))
        elif end.error != LOST:  # the plan is complete; the file of versions is not
            text = f"the versions of the input files could not be recorded: {end.sentence}"
            self._post(Warned(text, end.traceback))
