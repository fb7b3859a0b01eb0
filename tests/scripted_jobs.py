"""Jobs of Azure ML that are only in memory: a test says what each mini-batch answers, at once."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zlib import crc32

from parallelrun_jupyter.backends.azureml.service import JobNotFoundError, JobStatus, TransientError
from parallelrun_jupyter.worker.plan_line import PlanLine

FAILURE: dict[str, Any] = {
    "kind": "exception", "error": "ValueError", "bases": ["ValueError", "Exception", "object"],
    "message": "odd", "group": "ValueError at f", "traceback": "",
}  # fmt: skip


def done(mini_batch: int, line: PlanLine) -> tuple[list[Any], bytes]:
    """Return the answer of a mini-batch whose rows are the names of its items."""
    if "items" in line.extra:
        return _part_done(mini_batch, line)
    rows = _rows_of(line.paths)
    size, crc, items = len(rows), crc32(rows), len(line.paths)
    return ["done", 5, size, [[mini_batch, 1, items, items, 5, size, crc]]], rows


def _rows_of(paths: list[str]) -> bytes:
    return "".join(f"{Path(path).name}\n" for path in paths).encode()


def _part_done(mini_batch: int, line: PlanLine) -> tuple[list[Any], bytes]:
    paths, results, rows = list(line.paths), [], b""
    for first, count in line.ranges_of_items:
        text = _rows_of(paths[:count])
        del paths[:count]
        results.append([first, count, count, len(text), crc32(text)])
        rows += text
    items = len(line.paths)
    return ["answered", mini_batch, 1, items, items, 5, results, []], rows


def failed(mini_batch: int, line: PlanLine) -> tuple[list[Any], bytes]:
    """Return the answer of a mini-batch that has raised a ValueError."""
    return ["failed", mini_batch, 1, line.item_count, 5, FAILURE], b""


Answer = Callable[[int, PlanLine], "tuple[list[Any], bytes] | None"]


@dataclass
class Job:
    """A job: the mini-batches that it was sent, its files, and its state."""

    sent: list[int]
    state: str
    files: dict[str, bytes]
    table: str = "Mini-batch Id,Mini-batch Detail,Status,Error Message\n"


@dataclass
class ScriptedJobs:
    """A `JobService` whose jobs have written all their results when they are submitted.

    Parameters
    ----------
    answers
        What each mini-batch answers; None for no result.
    state
        The state of each next job.
    """

    answers: Answer = done
    state: str = "Completed"
    jobs: dict[str, Job] = field(default_factory=dict)
    canceled: list[str] = field(default_factory=list)
    #: the requests that are not answered
    silent: set[str] = field(default_factory=set)

    def _heard(self, verb: str) -> None:
        if verb in self.silent:
            msg = f"{verb}: no answer"
            raise TransientError(msg, 0.05)

    def _job(self, name: str) -> Job:
        if name not in self.jobs:
            raise JobNotFoundError(name)
        return self.jobs[name]

    def submit(self, job: Path, name: str) -> None:
        self._heard("submit")
        lines = {int(p.stem): PlanLine.decode(p.read_bytes()) for p in (job / "plan").iterdir()}
        made = self.jobs[name] = Job(sorted(lines), self.state, {})
        for mini_batch, line in sorted(lines.items()):
            answer = self.answers(mini_batch, line)
            if answer is None:
                continue
            reply, rows = answer
            head = {
                "mini_batch": mini_batch, "worker": "w", "duration_us": 5, "length": len(rows),
                "crc": crc32(rows), "reply": reply,
            }  # fmt: skip
            made.files[f"done/{mini_batch:08d}.w.1"] = json.dumps(head).encode() + b"\n" + rows
            made.table += f"{mini_batch},{mini_batch:08d}.json,RUN_DONE,\n"

    def status(self, name: str) -> JobStatus:
        return JobStatus(self._job(name).state, "run")

    def list_results(self, name: str) -> Mapping[str, int]:
        return {path: len(content) for path, content in self._job(name).files.items()}

    def read_result(self, name: str, path: str) -> bytes:
        return self._job(name).files[path]

    def list_logs(self, name: str) -> Mapping[str, str]:
        return {"logs/sys/job_report/processed_mini-batches.csv": name}

    def read_log(self, address: str, offset: int) -> bytes:
        return self._job(address).table.encode()[offset:]

    def cancel(self, name: str) -> None:
        self._heard("cancel")
        self.canceled.append(name)
        if not re.fullmatch("Completed|Failed", self._job(name).state):
            self.jobs[name].state = "Canceled"

    def download_files(self, name: str, target: Path) -> None:
        self._heard("download_files")
        target.mkdir(parents=True, exist_ok=True)
        for path in self._job(name).files:
            number = path[5:13]
            (target / f"own-{number}.txt").write_text(name)
