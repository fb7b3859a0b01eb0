"""The planner: a process that lists the inputs, so that a stalled store does not stall the driver."""

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
from ...runs.journal.state import LEFT, SUCCEEDED, RunState
from ...runs.resume_request import ResumeRequest
from ...runs.run_record import RunRecord
from ...worker.helper import run_and_exit, send
from ...worker.parent import die_with_parent
from ..child_process import LastLines, helper_end
from ..scheduling.signals import PlanAdvanced, PlanFailed, Signal, Warned
from .plan_file import Fate, Fates, write_plan


class Planner:
    """Writes the plan file in a forked process, and reports its progress as signals.

    Listing a hundred thousand files takes a second of CPU, which the scheduler would lose if the
    driver listed them in a thread.

    Parameters
    ----------
    record
        The run.
    plan
        The plan file.
    post
        Called with each signal, from another thread.
    fate_of
        For a resume: returns the treatment of an earlier plan's mini-batch.
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
        self._pid = 0
        self._is_stopped = False
        self._last_lines = LastLines()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Fork the process that lists; call it before other threads are started."""
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
        """End the process and wait for it, without reporting a failure."""
        self._is_stopped = True
        if self._thread is None:
            return
        if self._pid:
            os.kill(self._pid, signal.SIGKILL)
        self._thread.join()
        self._thread = None

    def close(self) -> None:
        """End the process, and discard its standard error."""
        self.stop()
        self._last_lines.close()

    def _list(self, parent: int, replies: int) -> None:
        """List the inputs, in the forked process."""
        os.setsid()
        os.dup2(self._last_lines.fileno(), 2)
        faulthandler.enable(2)
        die_with_parent(parent)
        gc.disable()  # the objects made here have no reference cycles
        try:
            with input_warnings_to(lambda text: send(replies, ["warned", text])):
                write_plan(
                    self._record,
                    self._plan,
                    lambda *counts: send(replies, ["planned", *counts]),
                    self._fate_of,
                    lambda text: send(replies, ["warned", text]),
                )
        except (ParallelRunError, OSError) as error:
            send(replies, ["failed", str(error)])
            return
        with suppress(OSError), closing(FileVersions(self._plan)) as versions:
            # For an input without a recorded version, a resume compares its time with the plan's.
            versions.note(self._is_left_alone)

    def _is_left_alone(self, mini_batch: int) -> bool:
        return self._fate_of is not None and self._fate_of(mini_batch) is Fate.LEFT_ALONE

    def _listen(self, replies: int) -> None:
        """Post the messages of the process as signals; an end without a result is a failure."""
        is_over = False
        crash: list[str] | None = None
        with open(replies, encoding="ascii") as lines:
            for line in lines:
                match json.loads(line):
                    case ["planned", mini_batches, items, is_end]:
                        is_over = is_end
                        self._post(PlanAdvanced(mini_batches, items, is_end))
                    case ["warned", text]:
                        self._post(Warned(text))
                    case ["failed", reason]:
                        is_over = True
                        self._post(PlanFailed(reason))
                    case ["crashed", *words]:
                        crash = words
        os.waitid(os.P_PID, self._pid, os.WEXITED | os.WNOWAIT)
        pid, self._pid = self._pid, 0  # not to be killed: another process may have this number
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        self._last_lines.pass_on()
        if self._is_stopped:
            return
        end = helper_end(crash, status, self._last_lines.tail())
        if not is_over:
            text = f"the inputs could not be listed: {end.sentence} Correct that; run.resume()"
            self._post(PlanFailed(f"{text} lists them again", end.traceback))
        elif crash is not None:  # the plan is complete; the file of versions is not
            text = f"the versions of the input files could not be recorded: {end.sentence}"
            self._post(Warned(text, end.traceback))


def resume_fates(state: RunState, request: ResumeRequest) -> Fates:
    """Return the function that gives the treatment of an earlier plan's mini-batch."""
    retried = frozenset(state.failed_mini_batches(request.group))
    only_retried = request.failed_only or bool(request.group)
    statuses = bytes(state.statuses)

    def fate_of(mini_batch: int) -> Fate:
        status = statuses[mini_batch] if mini_batch < len(statuses) else LEFT
        if status == SUCCEEDED:
            return Fate.KEPT
        if mini_batch in retried:
            return Fate.RETRIED
        return Fate.LEFT_ALONE if only_retried else Fate.FIRST

    return fate_of
