"""Lists the inputs in a process of its own: a store that stalls stalls nothing else."""

from __future__ import annotations

import gc
import json
import os
import signal
import threading
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

from ..data.sources import input_warnings_to
from ..data.versions import Versions
from ..errors import ParallelRunError
from ..runs.record import RunRecord
from ..worker.parent import die_with_parent
from .plan import write_plan
from .plan_check import Fates
from .signals import Noticed, PlanFailed, Planned, Signal


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
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to list. Call it before other threads are started: it forks."""
        news, pen = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            os.close(news)
            self._be_planner(pen)
        os.close(pen)
        self._thread = threading.Thread(target=self._listen, args=(news,), name="planner")
        self._thread.start()

    def stop(self) -> None:
        """End the listing, and wait for that."""
        if self._thread is None:
            return
        if self._pid:
            os.kill(self._pid, signal.SIGKILL)
        self._thread.join()
        self._thread = None

    def _be_planner(self, pen: int) -> None:
        """Run in the forked process, to its end."""
        status = 1
        try:
            os.setsid()
            die_with_parent(os.getppid())
            gc.disable()  # what is made here has no circles
            with input_warnings_to(lambda text: _send(pen, ["noticed", text])):
                write_plan(
                    self._record,
                    self._plan,
                    lambda *counts: _send(pen, ["planned", *counts]),
                    self._fate_of,
                    lambda text: _send(pen, ["noticed", text]),
                )
            with suppress(OSError), closing(Versions(self._plan)) as versions:
                versions.note()  # of what is not noted, a resume looks at the time
            status = 0
        except (ParallelRunError, OSError) as error:
            _send(pen, ["failed", str(error)])
            status = 0
        finally:
            os._exit(status)

    def _listen(self, news: int) -> None:
        """Pass on what the process says; its silence counts as a failure."""
        is_over = False
        with open(news, encoding="ascii") as lines:
            for line in lines:
                match json.loads(line):
                    case ["planned", mini_batches, items, is_end]:
                        is_over = is_end
                        self._tell(Planned(mini_batches, items, is_end))
                    case ["noticed", text]:
                        self._tell(Noticed(text))
                    case ["failed", reason]:
                        is_over = True
                        self._tell(PlanFailed(reason))
        os.waitid(os.P_PID, self._pid, os.WEXITED | os.WNOWAIT)
        pid, self._pid = self._pid, 0  # not to be killed any more: the number may be another's
        os.waitpid(pid, 0)
        if not is_over:
            self._tell(PlanFailed("the process that lists the inputs died; resume or start anew"))


def _send(pen: int, message: list[object]) -> None:
    os.write(pen, json.dumps(message).encode("ascii") + b"\n")
