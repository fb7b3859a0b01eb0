"""The job of a run in another service: its state, its age, and its words in the views."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from parallelrun_jupyter.backends.azureml.job_workers import JobWorkers
from parallelrun_jupyter.engine.scheduling import signals
from parallelrun_jupyter.engine.scheduling.limits import Limits, stalled
from parallelrun_jupyter.engine.scheduling.outside_events import outside_event
from parallelrun_jupyter.runs.journal import events as ev
from parallelrun_jupyter.runs.journal.files import read_state, write_state
from parallelrun_jupyter.runs.journal.job_events import JobReported
from parallelrun_jupyter.runs.journal.state import RunState
from parallelrun_jupyter.runs.run_folder import RunFolder
from parallelrun_jupyter.runs.snapshot.snapshot import Snapshot, take_snapshot
from parallelrun_jupyter.views import html, text
from tests.journals import CREATED, record

URL = "https://ml.azure.com/runs/digits-1"
COURSE: list[ev.Event] = [
    ev.RunStarted(0, 1, 1, "host"),
    ev.PlanFinished(1000, 4, 20),
    JobReported(1000, "", "Uploading", "2 of 4 plan files"),
    JobReported(3000, "digits-1", "Queued", "", URL),
    JobReported(63_000, "digits-1", "Queued", "0 of 2 nodes", URL),
    JobReported(123_000, "digits-1", "Running", "2 of 2 nodes", URL),
]


def state_at(at_s: float) -> RunState:
    state = RunState()
    state.apply_all(event for event in COURSE if event.at_ms <= at_s * 1000)
    return state


@pytest.fixture(autouse=True)
def _alive(monkeypatch: pytest.MonkeyPatch) -> None:
    alive = "parallelrun_jupyter.runs.snapshot.snapshot.driver_is_alive"
    monkeypatch.setattr(alive, lambda *_: True)


def shown_at(at_s: float, folder: Path) -> Snapshot:
    return take_snapshot(RunFolder(folder), record(), state_at(at_s), CREATED + at_s)


@pytest.mark.parametrize(
    ("at_s", "line"),
    [
        (2, "Azure ML: Uploading for 1.0 s (2 of 4 plan files)"),
        (13, "Azure ML job digits-1: Queued for 10 s"),
        (93, "Azure ML job digits-1: Queued for 1:30 (0 of 2 nodes)"),
        (133, "Azure ML job digits-1: Running for 10 s (2 of 2 nodes)"),
    ],
)
def test_the_age_is_that_of_the_state_not_of_the_last_report(
    at_s: float, line: str, tmp_path: Path
) -> None:
    snapshot = shown_at(at_s, tmp_path)
    assert line in text.note_lines(snapshot)
    assert line in html.html_view(snapshot, CREATED + at_s)


def test_a_run_that_has_ended_shows_the_last_state_without_an_age(tmp_path: Path) -> None:
    state = state_at(133)
    state.apply(JobReported(200_000, "digits-1", "Completed", "", URL))
    state.apply(ev.RunFinished(201_000, "Completed", "", "", 0))
    snapshot = take_snapshot(RunFolder(tmp_path), record(), state, CREATED + 900)
    assert "Azure ML job digits-1: Completed" in text.note_lines(snapshot)


def test_a_job_that_has_ended_has_no_age(tmp_path: Path) -> None:
    state = state_at(133)
    state.apply(JobReported(200_000, "digits-1", "Canceled", "", URL))
    snapshot = take_snapshot(RunFolder(tmp_path), record(), state, CREATED + 210)
    assert "Azure ML job digits-1: Canceled" in text.note_lines(snapshot)


def test_lines_of_a_stream_tell_each_state_once(tmp_path: Path) -> None:
    printer = text.LinePrinter()
    lines = [line for at_s in range(1, 140) for line in printer.lines(shown_at(at_s, tmp_path))]
    assert [line for line in lines if line.startswith("Azure ML")] == [
        "Azure ML: Uploading (2 of 4 plan files)",
        "Azure ML job digits-1: Queued",
        "Azure ML job digits-1: Queued (0 of 2 nodes)",
        "Azure ML job digits-1: Running (2 of 2 nodes)",
    ]


def test_a_status_that_is_older_than_the_result_is_no_slow_mini_batch() -> None:
    times = iter((9000, 9500, 12_000, 14_000, 20_000))
    workers = JobWorkers(lambda: next(times))
    started = {"worker": "vm-1", "node": "vm", "pid": 1, "init_ms": 5, "run_line": ""}
    workers.started("workers/vm-1.json", json.dumps(started).encode(), is_final=False)

    def shown(mini_batch: int) -> list[Any]:
        status = json.dumps({"phase": "running", "mini_batch": mini_batch, "since_s": 1}).encode()
        emitted = workers.sampled("status/vm-1.json", status)
        return [sample for one in emitted for sample in one.workers]  # type: ignore[union-attr]

    assert shown(3) == [("vm-1", "running", 3, 8000)]
    workers.done("vm-1", 4)
    assert shown(4) == [("vm-1", "running", 4, 9500)]  # since its end: it is in the next one
    assert shown(5) == [("vm-1", "running", 5, 13_000)]
    assert workers.idle() == [signals.WorkersSampled("vm", (("vm-1", "waiting", -1, 20_000),))]
    assert workers.idle() == []


def test_a_run_whose_job_waits_is_queued(tmp_path: Path) -> None:
    state = state_at(133)
    state.apply(ev.StateEntered(124_000, "Running"))
    states = {}
    for at_s, job in ((3, "Queued"), (63, "Preparing"), (123, "Running")):
        state.apply(JobReported(at_s * 1000, "digits-1", job))
        shown = take_snapshot(RunFolder(tmp_path), record(), state, CREATED + at_s)
        states[job] = shown["state"]
    assert states == {"Queued": "Queued", "Preparing": "Queued", "Running": "Running"}


def test_a_queue_is_no_stall(tmp_path: Path) -> None:
    assert shown_at(120, tmp_path)["quiet_s"] == 0
    assert shown_at(163, tmp_path)["quiet_s"] > 0
    a_day_ms = 86_400_000
    assert stalled(state_at(60), Limits(is_queued=True), a_day_ms, 0, 1000) == ""
    assert "progress_update_timeout" in stalled(state_at(60), Limits(), a_day_ms, 0, 1000)


def test_the_cache_of_the_fold_keeps_the_job(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.journal.write_bytes(b"x" * 10)
    write_state(folder, state_at(133), 10)
    assert read_state(folder)[0].job == state_at(133).job


def test_a_signal_becomes_the_event() -> None:
    signal = signals.JobChanged("digits-1", "Queued", "0 of 2 nodes", URL)
    assert outside_event(signal, 63_000) == COURSE[4]


def test_outputs_of_earlier_versions_have_no_job(tmp_path: Path) -> None:
    old = shown_at(13, tmp_path)
    del old["job"]  # type: ignore[misc]
    assert text.note_lines(old) == []
