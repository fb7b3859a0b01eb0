"""The reports of a run that had some of everything."""

from __future__ import annotations

import csv
import re
import time
from collections.abc import Callable
from pathlib import Path

from parallelrun_jupyter import Run
from tests.real.conftest import end_of


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_reports_add_up_and_have_azures_shapes(start: Callable[..., Run], tmp_path: Path) -> None:
    faults = ["raise=5", "hang=6", "exit=7", "short=8"]
    run = start(
        "faults.py", arguments=[tmp_path, *faults], run_max_try=2, error_threshold=9,
        run_invocation_timeout=1,
    )  # fmt: skip
    assert end_of(run) == "Completed"
    reports = run.folder.reports
    until = time.monotonic() + 30
    while not (reports / "job_error.txt").exists():
        assert time.monotonic() < until
    rows = read(reports / "processed_mini-batches.csv")
    assert len(rows) == 57 + 3 * 2
    statuses = {(int(row["Mini-batch Id"]), row["Status"]) for row in rows}
    assert {
        (5, "RUN_EXCEPTION"),
        (6, "RUN_TIMEOUT"),
        (7, "PROCESS_LOST"),
        (8, "RUN_DONE"),
    } < statuses
    done = [row for row in rows if row["Status"] == "RUN_DONE"]
    assert sum(int(row["Succeeded"]) for row in done) == run.snapshot()["items_succeeded"] == 56
    assert [row["Picked Count"] for row in rows if row["Mini-batch Id"] == "5"] == ["1", "2"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+Z", rows[0]["Process Start Time (UTC)"])
    for name in ("process_summary.csv", "node_summary.csv"):
        assert sum(int(row["Mini-batches"]) for row in read(reports / name)) == len(rows)
    [overview] = reports.glob("job_progress_overview.*.txt")
    lines = [line.split(" ", 1)[1] for line in overview.read_text().splitlines()]
    assert lines[0] == "Start the run."
    assert re.fullmatch(
        r"Scheduling finished. Scheduled 60 mini batches in 0 seconds. "
        r"There are 60 tasks with 60 items.", lines[1],
    )  # fmt: skip
    assert re.fullmatch(
        r"Processed 60 of 60 mini batches in 0:00:0\d. Estimated remaining time 0:00:00.", lines[-2]
    )
    assert lines[-1] == "The run is Completed."
    assert "60 in, 56 succeeded, 4 failed" in (reports / "job_result.txt").read_text()
    assert "number 5 is bad" in (reports / "job_error.txt").read_text()
