"""Lists the inputs in a process of its own: a store that stalls stalls nothing else."""

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
from .plan_check import Fate, Fates
from .plan_file import write_plan


class Planner:
    """Writes the plan from a forked process, and tells the driver how far it is.

    Listing a hundred thousand files takes a second of one core; in a thread of the driver it would
    take that second from the scheduler as well.
    """

    def __init__(
        self,
        record: RunRecord,
        plan: Path,
        tell: Callable[[Signal], None],
        fate_of: Fates | None = None,
    ) -> None:
        self._record = record
        self._plan = plan
        self._tell = tell
        self._fate_of = fate_of
        self._child: ChildProcess | None = None
        self._is_stopped = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to list. Call it before other threads are started: it forks."""
        self._child = ChildProcess.fork(self._list)
        self._thread = threading.Thread(target=self._listen, args=(self._child,), name="planner")
        self._thread.start()

    def stop(self) -> None:
        """End the listing, and wait for that: a listing that is stopped has not failed."""
        self._is_stopped = True
        if self._child is not None:
            self._child.kill()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _list(self, send: Callable[[Message], None]) -> None:
        """List the inputs, in the forked process."""
        gc.disable()  # the objects made here have no circles
        try:
            with input_warnings_to(lambda text: send(["noticed", text])):
                write_plan(
                    self._record,
                    self._plan,
                    lambda *counts: send(["planned", *counts]),
                    self._fate_of,
                    lambda text: send(["noticed", text]),
                )
        except (ParallelRunError, OSError) as error:
            send(["failed", str(error)])
            return
        with suppress(OSError), closing(FileVersions(self._plan)) as versions:
            versions.note(self._waits)  # of what is not noted, a resume looks at the time

    def _waits(self, mini_batch: int) -> bool:
        """Return whether a mini-batch waits for a later resume."""
        return self._fate_of is not None and self._fate_of(mini_batch) is Fate.LEFT_ALONE

    def _listen(self, child: ChildProcess) -> None:
        """Pass on what the process reports; an end without a report counts as a failure."""
        is_over = False
        while (messages := child.receive()) is not None:
            for message in messages:
                match message:
                    case ["planned", mini_batches, items, is_end]:
                        is_over = is_end
                        self._tell(PlanAdvanced(mini_batches, items, is_end))
                    case ["noticed", text]:
                        self._tell(Warned(text))
                    case ["failed", reason]:
                        is_over = True
                        self._tell(PlanFailed(reason))
        end = child.died()
        if self._is_stopped:
            return
        if not is_over:
            text = (
                f"the inputs could not be listed: {end.sentence} Put that right, and run.resume()"
            )
            self._tell(PlanFailed(f"{text} lists them again", end.traceback))
        elif end.error != LOST:  # the plan is whole; the file beside it is not
            text = f"the versions of the input files could not be noted: {end.sentence}"
            self._tell(Warned(text, end.traceback))
