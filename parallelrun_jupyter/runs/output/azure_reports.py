"""``reports/``: the course of a run in the formats of Azure's logs, derived from the journal.

Azure's runtime writes these files under ``logs/``. Tools that read Azure's files find the same
names, columns and sentences here.
"""

from __future__ import annotations

import csv
import time
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..journal.events import (
    AttemptFailed,
    AttemptSucceeded,
    Event,
    PlanFinished,
    RunFinished,
    RunStarted,
    WorkerStarted,
)
from ..journal.state import RunState
from ..run_folder import RunFolder
from ..run_record import RunRecord

_ESCAPED = "backslashreplace"
"""Lone surrogates, as in file names, are written as escapes."""

HEARTBEAT_MS = 10_000
"""Time between two lines of progress in the overview, as in Azure's."""

MINI_BATCH_COLUMNS = (
    "Mini-batch Id",
    "Picked Count",
    "Node Id",
    "Process",
    "Process Start Time (UTC)",
    "Total",
    "Succeeded",
    "Failed",
    "Elapsed Seconds",
    "Process Seconds",
    "Run Method Seconds",
    "Status",
    "Error Category",
    "Error Message",
    "Mini-batch Detail",
)
SUMMARY_COLUMNS = ("Mini-batches", "Total", "Succeeded", "Failed", "Run Method Seconds")
_STATUSES = {
    "timeout": "RUN_TIMEOUT",
    "load_timeout": "LOAD_TIMEOUT",
    "worker_lost": "PROCESS_LOST",
}


@dataclass(slots=True)
class _Sum:
    """Totals of one process or node."""

    mini_batches: int = 0
    total: int = 0
    succeeded: int = 0
    failed: int = 0
    run_us: int = 0

    def add(self, event: AttemptSucceeded | AttemptFailed) -> None:
        done = event.items_succeeded if isinstance(event, AttemptSucceeded) else 0
        self.mini_batches += 1
        self.total += event.items
        self.succeeded += done
        self.failed += event.items - done
        self.run_us += event.duration_us

    def row(self) -> list[Any]:
        seconds = f"{self.run_us / 1e6:.3f}"
        return [self.mini_batches, self.total, self.succeeded, self.failed, seconds]


@dataclass(slots=True)
class _Reporter:
    """Writes all reports in one pass over the journal."""

    record: RunRecord
    table: Any
    overview: Any
    state: RunState = field(default_factory=RunState)
    #: node of each worker, and when it started
    started: dict[str, tuple[str, str]] = field(default_factory=dict)
    processes: defaultdict[str, _Sum] = field(default_factory=lambda: defaultdict(_Sum))
    nodes: defaultdict[str, _Sum] = field(default_factory=lambda: defaultdict(_Sum))
    last_line_ms: int = 0

    def apply(self, event: Event) -> None:
        self.state.apply(event)
        match event:
            case AttemptSucceeded() | AttemptFailed():
                self._add_attempt(event)
            case WorkerStarted():
                self.started[event.worker] = event.node, _iso(self.record, event.at_ms)
            case RunStarted():
                self._write_line(event.at_ms, "Start the run.")
            case PlanFinished():
                seconds = event.at_ms // 1000
                self._write_line(
                    event.at_ms,
                    f"Scheduling finished. Scheduled {event.mini_batches} mini batches in {seconds} "
                    f"seconds. There are {event.mini_batches} tasks with {event.items} items.",
                )
            case RunFinished():
                self._write_progress(event.at_ms)
                reason = f" {event.reason}." if event.reason else ""
                self._write_line(event.at_ms, f"The run is {event.state}.{reason}")
        if event.at_ms - self.last_line_ms >= HEARTBEAT_MS:
            self._write_progress(event.at_ms)

    def _write_progress(self, at_ms: int) -> None:
        done, planned = self.state.done, self.state.planned
        if not done:
            self._write_line(at_ms, "No task has been processed yet.")
            return
        left = f"{_clock(at_ms * (planned - done) / done)}" if self.state.plan_finished else "N/A"
        self._write_line(
            at_ms,
            f"Processed {done} of {planned} mini batches in {_clock(at_ms)}. "
            f"Estimated remaining time {left}.",
        )

    def _write_line(self, at_ms: int, text: str) -> None:
        self.last_line_ms = at_ms
        self.overview.write(f"{_iso(self.record, at_ms)} {text}\n")

    def _add_attempt(self, event: AttemptSucceeded | AttemptFailed) -> None:
        node, started = self.started.get(event.worker, ("", ""))
        self.processes[event.worker].add(event)
        self.nodes[node].add(event)
        seconds = f"{event.duration_us / 1e6:.6f}"
        if isinstance(event, AttemptSucceeded):
            succeeded, ending = event.items_succeeded, ("RUN_DONE", "", "")
        else:
            status = _STATUSES.get(event.kind, "RUN_EXCEPTION")
            succeeded, ending = 0, (status, event.error, event.message)
        self.table.writerow(
            (
                event.mini_batch,
                event.attempt,
                node,
                event.worker,
                started,
                event.items,
                succeeded,
                event.items - succeeded,
                seconds,
                "",  # CPU seconds of an attempt are not measured
                seconds,
                *ending,
                f'{{"mini_batch": {event.mini_batch}}}',
            )
        )


def write_reports(folder: RunFolder, record: RunRecord, events: Iterable[Event]) -> None:
    """Write all reports of a run that has ended.

    Raises
    ------
    OSError
        The reports cannot be written; the run itself is not affected.
    """
    folder.reports.mkdir(mode=0o700, exist_ok=True)
    day = time.strftime("%Y%m%d", time.gmtime(record.created_at))
    overview_path = folder.reports / f"job_progress_overview.{day}.txt"
    table_path = folder.reports / "processed_mini-batches.csv"
    with (
        open(overview_path, "w", encoding="utf-8", errors=_ESCAPED) as overview,
        open(table_path, "w", encoding="utf-8", errors=_ESCAPED, newline="") as file,
    ):
        table = csv.writer(file)
        table.writerow(MINI_BATCH_COLUMNS)
        reporter = _Reporter(record, table, overview)
        for event in events:
            reporter.apply(event)
    _write_sums(folder.reports / "process_summary.csv", "Process", reporter.processes)
    _write_sums(folder.reports / "node_summary.csv", "Node Id", reporter.nodes)
    _write_result(folder, reporter.state)


def _write_sums(path: Path, head: str, sums: dict[str, _Sum]) -> None:
    with open(path, "w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow((head, *SUMMARY_COLUMNS))
        table.writerows([name, *total.row()] for name, total in sums.items())


def _write_result(folder: RunFolder, state: RunState) -> None:
    lines = [
        f"Run {folder.run_id}: {state.state}",
        f"Mini batches: {state.planned} planned, {state.succeeded} succeeded, {state.failed} failed",
        f"Items: {state.planned_items} in, {state.items_succeeded} succeeded, {state.items_failed} failed",
    ]
    if state.reason:
        lines.append(f"Reason: {state.reason}")
    if state.output:
        lines.append(f"Output: {state.output}")
    if state.groups:
        lines.append("Where to start: job_error.txt, then logs/user")
    path = folder.reports / "job_result.txt"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8", errors=_ESCAPED)
    errors = [
        f"{group.group}\n{group.attempts} failed, {group.mini_batches_lost} mini batches lost, "
        f"{group.items_missing} items without a result, first in mini batch {group.first_mini_batch}\n{group.traceback or group.message}\n"
        for group in state.groups.values()
    ]
    path = folder.reports / "job_error.txt"
    path.write_text("\n".join(errors), encoding="utf-8", errors=_ESCAPED)


def _iso(record: RunRecord, at_ms: int) -> str:
    at = record.created_at + at_ms / 1000
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(at))}.{int(at * 1000) % 1000:03d}Z"


def _clock(ms: float) -> str:
    """Return a duration in Azure's format, such as ``5:02:14``."""
    seconds = round(ms / 1000)
    return f"{seconds // 3600}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
