"""The log files of a step, in the shapes that Azure's documentation and its users have shown.

They are derived from the journal and the logs of a run of this package while it runs.
"""

from __future__ import annotations

import csv
import datetime as dt
import io
import re
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from parallelrun_jupyter.runs.journal.events import (
    AttemptFailed,
    AttemptSucceeded,
    Event,
    InitFailed,
    NodeSampled,
    PlanFinished,
    RunFinished,
    WorkerStarted,
)
from parallelrun_jupyter.runs.journal.state import RunState
from parallelrun_jupyter.runs.run_folder import RunFolder
from tests.azureml_service.script import Script

COLUMNS = (
    "Mini-batch Id", "Picked Count", "Process", "Process Start Time", "Total", "Succeeded", "Failed",
    "Elapsed Seconds", "Process Seconds", "Run Method Seconds", "Status", "Error Category",
    "Error Message", "Mini-batch Detail",
)  # fmt: skip
_SUM_COLUMNS = ("Mini-batches", "Total", "Succeeded", "Failed", "Run Method Seconds")
WORK = "/mnt/azureml/cr/j"
"""The folder of a node of Azure in which jobs run."""

_UNKNOWN = "{0} Heartbeat 17 of 23.\n\nProcessed some of many mini batches.\n{0} Scheduled \u00e9"
"""Lines that no reader knows."""

_STATUSES = {"timeout": "RUN_TIMEOUT", "load_timeout": "LOAD_TIMEOUT"}
_LINE = re.compile(r"(\S+Z) (\S+) #(?:\d+|-) (.*)")
_FOLDERS = {"STDOUT": ("stdout", ".stdout.txt"), "STDERR": ("stderr", ".stderr.txt")}
_README = (
    "job_progress_overview.*.txt: progress of the job. job_result.txt: its result. job_error.*.txt: "
    "errors. user/: the output of the entry script. sys/: the system's own.\n"
)


class StepLogs:
    """The files of one step, by path.

    Parameters
    ----------
    folder
        The folder of the run.
    created_at
        When the run was created.
    script
        The faults.
    shown
        Replacements of paths, longest first: the nodes of Azure have others.
    """

    def __init__(
        self, folder: RunFolder, created_at: float, script: Script, shown: Mapping[str, str]
    ) -> None:
        self._shown = {str(folder.script): f"{WORK}/{folder.run_id}/exe/wd", **shown}
        self._folder = folder
        self._created_at = created_at
        self.script = script
        self.files: dict[str, str] = {"logs/readme.txt": _README}
        self._rows: list[tuple[Any, ...]] = []
        self._started: dict[str, WorkerStarted] = {}
        self._read: dict[str, int] = defaultdict(int)
        self._state = RunState()
        self._sums: dict[tuple[str, str], list[float]] = {}
        self._last_line = 0.0
        self._overview = ""
        self._rotations = 0
        self._overview_line(0, "Start the simulator.")
        self._overview_line(0, "The overviewer on 0 started.")
        self._write("logs/sys/master_role.txt", f"{self._stamp(0)} The master role is on 0.")

    # Events

    def apply(self, events: Iterable[Event]) -> None:
        """Bring the files up to date with the journal and the workers' logs."""
        for event in events:
            self._apply(event)
        now_ms = int((time.time() - self._created_at) * 1000)
        if self._state.planned and time.time() - self._last_line >= self.script.overview_every_s:
            self._progress_line(now_ms)
        for path in sorted(self._folder.user_logs.glob("*.log")):
            self._copy_user_log(path.stem, path.read_bytes())

    def _apply(self, event: Event) -> None:
        self._state.apply(event)
        match event:
            case PlanFinished():
                planned, items = event.mini_batches, event.items
                self._overview_line(
                    event.at_ms,
                    f"Scheduling finished. Scheduled {planned} mini batches in "
                    f"{event.at_ms // 1000} seconds. There are {planned} tasks with {items} items.",
                )
                if not self._state.done:
                    self._overview_line(event.at_ms, "No task has been processed yet.")
            case WorkerStarted():
                self._started[event.worker] = event
                text = f"{self._stamp(event.at_ms)} Process {_process(event.worker)} started with pid {event.pid}."
                self._write(
                    f"logs/sys/node/{_node(event.worker)}/{_process(event.worker)}.txt", text
                )
            case AttemptSucceeded() | AttemptFailed():
                self._add_attempt(event)
            case InitFailed():
                self._add_error(event.at_ms, event.worker, event.traceback or event.message)
            case NodeSampled():
                self._add_sample(event)
            case RunFinished():
                self._finish(event)

    def _add_attempt(self, event: AttemptSucceeded | AttemptFailed) -> None:
        seconds, start = event.duration_us / 1e6, self._started.get(event.worker)
        if isinstance(event, AttemptSucceeded):
            succeeded, ending = event.items_succeeded, ("RUN_DONE", "", "")
        else:
            status = _STATUSES.get(event.kind, "RUN_EXCEPTION")
            succeeded, ending = 0, (status, event.error, event.message)
            self._add_error(event.at_ms, event.worker, event.traceback or event.message)
        process = f"{_node(event.worker)}/{_process(event.worker)}"
        self._rows.append((
            event.mini_batch, event.attempt, process, self._stamp(start.at_ms if start else 0), event.items,
            succeeded, event.items - succeeded, f"{seconds:.6f}", f"{seconds:.6f}", f"{seconds:.6f}",
            *ending, f"mini-batch {event.mini_batch}",
        ))  # fmt: skip
        for kind, name in (("process", process), ("node", _node(event.worker))):
            total = self._sums.setdefault((kind, name), [0, 0, 0, 0, 0.0])
            added = (1, event.items, succeeded, event.items - succeeded, seconds)
            total[:] = [before + one for before, one in zip(total, added, strict=True)]

    def _add_error(self, at_ms: int, worker: str, text: str) -> None:
        path = f"logs/user/error/{_node(worker)}/{_process(worker)}.txt"
        self._write(path, f"{self._stamp(at_ms)} ERROR {text.rstrip()}")
        self._write("logs/job_error.000.txt", f"{self._stamp(at_ms)} {text.rstrip()}")

    def _add_sample(self, event: NodeSampled) -> None:
        path = f"logs/sys/perf/{_ip(event.node)}/node_resource_usage.csv"
        if path not in self.files:
            self.files[path] = "Time,Processes,CPU Percent,Memory MiB\n"
        cpu = sum(one[4] for one in event.workers if len(one) > 4)
        memory = sum(one[5] for one in event.workers if len(one) > 4)
        if cpu or memory:
            self._write(path, f"{self._stamp(event.at_ms)},{len(event.workers)},{cpu},{memory}")

    def _finish(self, event: RunFinished) -> None:
        self._progress_line(event.at_ms)
        self._overview_line(event.at_ms, "The overviewer on 0 stopped.")
        self.files["logs/job_result.txt"] = (
            f"{self._stamp(event.at_ms)} The job is {event.state}. {self._state.done} of {self._state.planned} mini batches "
            f"processed, {self._state.failed} failed.\n"
        )

    # Files

    def tables(self, *, at_end: bool) -> None:
        """Write the tables of mini-batches, processes and nodes."""
        folder = "logs/sys/job_report"
        if self._rows and (at_end or not self.script.table_at_end):
            more = self.script.unknown_lines
            columns = (*COLUMNS, *(("Region",) if more else ()))
            rows = [(*row, *(("north",) if more else ())) for row in self._rows]
            table = self._as_shown(_table(columns, rows))
            self.files[f"{folder}/processed_mini-batches.csv"] = table
        if at_end:
            for kind in ("process", "node"):
                rows = [(name, *total) for (one, name), total in self._sums.items() if one == kind]
                table = _table((kind.capitalize(), *_SUM_COLUMNS), rows)
                self.files[f"{folder}/{kind}_summary.csv"] = table

    def _progress_line(self, at_ms: int) -> None:
        self._last_line = time.time()
        if not self._state.done:
            return
        left = at_ms * (self._state.planned - self._state.done) / self._state.done
        self._overview_line(
            at_ms,
            f"Processed {self._state.done} of {self._state.planned} mini batches in {_clock(at_ms)}. "
            f"Estimated remaining time {_clock(left)}.",
        )

    def _overview_line(self, at_ms: int, text: str) -> None:
        stops, rotates = self.script.overview_stops_after, self.script.overview_rotates_after
        if stops is not None and self._state.done >= stops:
            return
        if rotates is not None and self._state.done >= rotates and not self._rotations:
            self._rotations = 1
            self._overview = ""
        if not self._overview:
            hour = self._moment(at_ms) + dt.timedelta(hours=self._rotations)
            self._overview = f"logs/job_progress_overview.{hour:%Y%m%d%H}.txt"
        self._write(self._overview, f"{self._stamp(at_ms)} {text}")
        if self.script.unknown_lines:
            self._write(self._overview, _UNKNOWN.format(self._stamp(at_ms)))

    def _copy_user_log(self, worker: str, data: bytes) -> None:
        end = data.rfind(b"\n") + 1
        new = data[self._read[worker] : end].decode(errors="replace")
        self._read[worker] = end
        for line in new.splitlines():
            match = _LINE.fullmatch(line)
            stamp, level, text = match.groups() if match else ("", "STDOUT", line)
            folder, suffix = _FOLDERS.get(level, ("entry_script_log", ".log.txt"))
            path = f"logs/user/{folder}/{_node(worker)}/{_process(worker)}{suffix}"
            self._write(path, text if folder != "entry_script_log" else f"{stamp}|{level}|{text}")

    def _write(self, path: str, line: str) -> None:
        self.files[path] = f"{self.files.get(path, '')}{self._as_shown(line)}\n"

    def _as_shown(self, text: str) -> str:
        for path, shown in self._shown.items():
            text = text.replace(path, shown)
        return text

    def _moment(self, at_ms: int) -> dt.datetime:
        at = self._created_at + at_ms / 1000 + self.script.skew_hours * 3600
        return dt.datetime.fromtimestamp(at, dt.timezone.utc)

    def _stamp(self, at_ms: int) -> str:
        return self._moment(at_ms).strftime("%Y-%m-%dT%H:%M:%S.%f")


def _node(worker: str) -> str:
    return _ip(worker.partition("w")[0])


def _ip(node: str) -> str:
    """Return the address of a node of ours, such as ``n0``."""
    return f"10.0.0.{4 + int(re.sub(r'[^0-9]', '', node) or 0)}"


def _process(worker: str) -> str:
    return f"process{int(re.sub(r'[^0-9]', '', worker.rpartition('w')[2]) or 0):03d}"


def _table(columns: tuple[str, ...], rows: Iterable[tuple[Any, ...]]) -> str:
    text = io.StringIO(newline="")
    table = csv.writer(text)
    table.writerow(columns)
    table.writerows(rows)
    return text.getvalue()


def _clock(ms: float) -> str:
    seconds = round(ms / 1000)
    return f"{seconds // 3600}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
