"""How long a worker may take for what it is doing."""

from __future__ import annotations

from ...worker.status_page import LOADING, RUNNING
from ..scheduling.limits import NodeLimits
from .worker_process import LOADING_TOOK, WorkerProcess

_TERM_PATIENCE_S = 0.5
_STOP_PATIENCE_S = 10.0


def deadline_of(worker: WorkerProcess, limits: NodeLimits) -> tuple[float, str]:
    """Return when the worker's time is over, and what to say of it then.

    The time is that of ``time.monotonic()``; nothing is said where it was asked to end before.
    """
    ending = worker.kill_at(_TERM_PATIENCE_S)
    if ending is not None:
        return ending, ""
    phase, _, since = worker.page.read()
    if not worker.is_ready:
        text = f"it was not ready after first_task_creation_timeout = {limits.init_s:g} s"
        return worker.started_at + limits.init_s, text
    if phase == RUNNING:
        text = f"run() took longer than run_invocation_timeout = {limits.run_s:g} s"
        return since + limits.run_s, text
    if phase == LOADING:
        text = f"{LOADING_TOOK} task_overhead_timeout = {limits.overhead_s:g} s"
        return since + limits.overhead_s, text
    if worker.stop_asked_at:
        begun = max(since, worker.stop_asked_at)
        return begun + _STOP_PATIENCE_S, "it did not stop when asked to"
    if worker.given:
        text = f"it did not begin a mini-batch within {limits.overhead_s:g} s"
        return max(since, worker.given_at) + limits.overhead_s, text
    return float("inf"), ""
