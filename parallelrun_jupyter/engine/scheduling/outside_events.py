"""The events about what happens outside the scheduler: to workers, to the job of a service, and warnings."""

from __future__ import annotations

from ...runs.journal.events import (
    InitFailed,
    WarningRaised,
    WorkerLost,
    WorkerReady,
    WorkerStarted,
)
from ...runs.journal.job_events import JobReported
from .assignments import NodeState
from .signals import (
    JobChanged,
    Warned,
    WorkerChange,
    WorkerEnded,
    WorkerInitialized,
    WorkerNotReady,
    WorkerSpawned,
)


def worker_event(
    signal: WorkerChange, node: NodeState, now_ms: int
) -> WorkerStarted | WorkerReady | WorkerLost | InitFailed:
    """Return the event of a worker, and count failed starts of its node."""
    match signal:
        case WorkerSpawned(name, worker, pid):
            return WorkerStarted(now_ms, worker, name, pid)
        case WorkerInitialized(_, worker, init_ms, _):
            node.was_ready, node.failed_starts = True, 0
            return WorkerReady(now_ms, worker, init_ms)
        case WorkerEnded(_, worker, reason):
            return WorkerLost(now_ms, worker, reason)
        case WorkerNotReady(_, worker, f):
            node.failed_starts += 1
            return InitFailed(now_ms, worker, f.kind, f.error, f.message, f.group, f.traceback)


def outside_event(signal: Warned | JobChanged, now_ms: int) -> WarningRaised | JobReported:
    """Return the event of a warning, or of a job that a service runs."""
    if isinstance(signal, Warned):
        return WarningRaised(now_ms, signal.text, signal.traceback)
    return JobReported(now_ms, signal.name, signal.state, signal.detail, signal.url)
