"""Lists the inputs in a process of its own: a store that stalls stalls nothing else."""

from __future__ import annotations

import faulthandler
import gc
import json
import os
import signal
import threading
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

from ...data.local.file_versions import FileVersions
from ...data.tables.table_files import input_warnings_to
from ...errors import ParallelRunError
from ...runs.run_record import RunRecord
from ...worker.helper import run_and_exit, send
from ...worker.parent import die_with_parent
from ..child_process import LastLines, helper_end
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
        self._pid = 0
        self._is_stopped = False
        self._last_lines = LastLines()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to list. Call it before other threads are started: it forks."""
        replies, replies_in = os.pipe()
        parent = os.getpid()
        self._pid = os.fork()
        if self._pid == 0:
            os.close(replies)
            run_and_exit(lambda: self._list(parent, replies_in), replies_in)
        os.close(replies_in)
        self._thread = threading.Thread(target=self._listen, args=(replies,), name="planner")
        self._thread.start()

    def stop(self) -> None:
        """End the listing, and wait for that: a listing that is stopped has not failed."""
        self._is_stopped = True
        if self._thread is None:
            return
        if self._pid:
            os.kill(self._pid, signal.SIGKILL)
        self._thread.join()
        self._thread = None

    def close(self) -> None:
        """End the listing, and forget what the process wrote."""
        self.stop()
        self._last_lines.close()

    def _list(self, parent: int, replies: int) -> None:
        """List the inputs, in the forked process."""
        os.setsid()
        os.dup2(self._last_lines.fileno(), 2)
        faulthandler.enable(2)
        die_with_parent(parent)
        gc.disable()  # the objects made here have no circles
        try:
            with input_warnings_to(lambda text: send(replies, ["noticed", text])):
                write_plan(
                    self._record,
                    self._plan,
                    lambda *counts: send(replies, ["planned", *counts]),
                    self._fate_of,
                    lambda text: send(replies, ["noticed", text]),
                )
        except (ParallelRunError, OSError) as error:
            send(replies, ["failed", str(error)])
            return
        with suppress(OSError), closing(FileVersions(self._plan)) as versions:
            versions.record(self._waits)  # of what is not noted, a resume looks at the time

    def _waits(self, mini_batch: int) -> bool:
        """Return whether a mini-batch waits for a later resume."""
        return self._fate_of is not None and self._fate_of(mini_batch) is Fate.LEFT_ALONE

    def _listen(self, replies: int) -> None:
        """Pass on what the process reports; an end without a report counts as a failure."""
        is_over = False
        crash: list[str] | None = None
        with open(replies, encoding="ascii") as lines:
            for line in lines:
                match json.loads(line):
                    case ["planned", mini_batches, items, is_end]:
                        is_over = is_end
                        self._tell(PlanAdvanced(mini_batches, items, is_end))
                    case ["noticed", text]:
                        self._tell(Warned(text))
                    case ["failed", reason]:
                        is_over = True
                        self._tell(PlanFailed(reason))
                    case ["crashed", *words]:
                        crash = words
        os.waitid(os.P_PID, self._pid, os.WEXITED | os.WNOWAIT)
        pid, self._pid = self._pid, 0  # not to be killed any more: the number may be another's
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        self._last_lines.pass_on()
        if self._is_stopped:
            return
        end = helper_end(crash, status, self._last_lines.tail())
        if not is_over:
            text = (
                f"the inputs could not be listed: {end.sentence} Put that right, and run.resume()"
            )
            self._tell(PlanFailed(f"{text} lists them again", end.traceback))
        elif crash is not None:  # the plan is whole; the file beside it is not
            text = f"the versions of the input files could not be noted: {end.sentence}"
            self._tell(Warned(text, end.traceback))
