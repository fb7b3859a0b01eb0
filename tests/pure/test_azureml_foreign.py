"""Reading the log files of jobs of others, and folding them into events."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parallelrun_jupyter.backends.azureml.foreign.fold import Fold, Reading
from parallelrun_jupyter.backends.azureml.foreign.job_facts import (
    Facts,
    facts_of,
    is_parallel,
    outputs_of,
    rows_output_in,
    step_named,
    tries_in,
)
from parallelrun_jupyter.backends.azureml.foreign.log_files import (
    LogFiles,
    Process,
    logs_of_processes,
    process_of,
)
from parallelrun_jupyter.backends.azureml.foreign.log_shapes import (
    Overview,
    Processed,
    Scheduled,
    Table,
    TableRow,
    overview_line,
)
from parallelrun_jupyter.backends.azureml.foreign.numbers import Numbers
from parallelrun_jupyter.backends.azureml.foreign.tracebacks import tracebacks_in
from parallelrun_jupyter.runs.journal.events import (
    AttemptFailed,
    AttemptSucceeded,
    Event,
    RunStarted,
    WarningRaised,
)
from parallelrun_jupyter.runs.journal.lines import decode, encode
from parallelrun_jupyter.runs.journal.state import RunState

OVERVIEW = "logs/job_progress_overview.2026112919.txt"
TABLE = "logs/sys/job_report/processed_mini-batches.csv"
ERRORS = "logs/user/error/10.0.0.4/process000.txt"
HEADER = (
    "Mini-batch Id,Picked Count,Process,Process Start Time,Total,Succeeded,Failed,Elapsed Seconds,"
    "Process Seconds,Run Method Seconds,Status,Error Category,Error Message,Mini-batch Detail\r\n"
)
TRACE = """2026-11-29T19:38:35.057615 ERROR Traceback (most recent call last):
  File "/mnt/azureml/cr/j/1/exe/wd/driver/azureml_sys/parallel_run/entry.py", line 90, in call
    return run(batch)
  File "/mnt/azureml/cr/j/1/exe/wd/score.py", line 18, in run
    raise ValueError(f"number {n} is bad")
  File "/opt/conda/lib/python3.10/site-packages/pandas/frame.py", line 7, in get
    raise x
ValueError: number 7 is bad
"""
RUNNING = Facts("Running", tries=2)


def row(number: Any, picked: int = 1, status: str = "RUN_DONE", **more: Any) -> str:
    """Return a line of the table."""
    total, succeeded = more.get("total", 5), more.get("succeeded", 5 if status == "RUN_DONE" else 0)
    text = io.StringIO(newline="")
    csv.writer(text).writerow([
        number, picked, more.get("process", "10.0.0.4/process000"), "2026-11-29T19:38:34.413615", total,
        succeeded, total - succeeded, "3", "2", "1.5", status, more.get("error", ""), more.get("message", ""),
        f"mini-batch {number}",
    ])  # fmt: skip
    return text.getvalue()


def read(files: LogFiles, texts: dict[str, bytes], *, is_last: bool = False) -> None:
    """Let files be read as far as they are there, from the offsets that are asked for."""
    for path in files.list(texts):
        while not files.add(path, texts[path][files.offset_of(path) :], is_last=is_last):
            pass


class Job:
    """A job whose files are texts: they are read and folded as the driver does."""

    def __init__(self, fold: Fold | None = None, files: LogFiles | None = None) -> None:
        self.fold = fold or Fold(Numbers())
        self.files = files or LogFiles()
        self.events: list[Event] = []

    def look(self, texts: dict[str, str | bytes], facts: Facts = RUNNING) -> list[Event]:
        content = {p: t.encode() if isinstance(t, str) else t for p, t in texts.items()}
        if facts.has_ended:
            self.files.read_again()
        read(self.files, content, is_last=facts.has_ended)
        news = self.files.take(is_last=facts.has_ended)
        new = self.fold.fold(Reading(facts, news, "", "a_job"), len(self.events))
        self.events += new
        return new

    @property
    def state(self) -> RunState:
        return folded(self.events)

    @property
    def warnings(self) -> list[str]:
        return [event.text for event in self.events if isinstance(event, WarningRaised)]


def folded(events: Iterable[Event]) -> RunState:
    """Return the state of events as they come back from a journal."""
    state = RunState()
    state.apply_all(decode(encode(event)) for event in events)
    return state


# Shapes


@pytest.mark.parametrize(
    ("line", "value"),
    [
        (
            "2023-05-16T22:20:53.233813 Scheduling finished. Scheduled 276 mini batches in 22 seconds. "
            "There are 276 tasks with 551 items.",
            Scheduled(276, 551, is_finished=True),
        ),
        (
            "Scheduling finished. Scheduled 3 mini batches with 9 items in 2 seconds.",
            Scheduled(3, 9, is_finished=True),
        ),
        ("x Scheduled 40 mini batches.", Scheduled(40, -1, is_finished=False)),
        (
            "2023-05-16T22:20:53.233813 Processed 4117 of 20000 mini batches in 5:02:14. Estimated remaining "
            "time 19:25:59.",
            Processed(4117, 20000),
        ),
        ("2023-05-16T22:20:53 The overviewer on 7 stopped.", None),
        ("No task has been processed yet.", None),
        ("Processed some of many mini batches.", None),
        ("", None),
    ],
)
def test_lines_that_users_have_quoted_are_read(line: str, value: object) -> None:
    assert overview_line(line) == value


def test_columns_are_found_by_name_in_any_order_and_missing_ones_are_tolerated() -> None:
    text = 'Status,Extra,Mini-batch Id,Total,Succeeded\nRUN_DONE,x,4,3,2\n,x,5,3,3\nRUN_DONE,"a\nb",6,1,1\n'
    rows = Table().feed(text.encode())
    assert [(r.mini_batch, r.picked, r.total, r.succeeded, r.seconds) for r in rows] == [
        ("4", 1, 3, 2, 0.0),
        ("6", 1, 1, 1, 0.0),
    ]


def test_a_stray_quotation_mark_costs_its_own_line_only() -> None:
    rows = Table().feed((HEADER + '0,1,"p,x\r\n' + row(1) * 3000).encode(), is_last=True)
    assert len(rows) >= 2999
    assert {r.mini_batch for r in rows} <= {"0", "1"}


def test_the_line_of_the_user_is_found_between_those_of_libraries() -> None:
    [trace] = tracebacks_in(TRACE)
    assert (trace.error, trace.message, trace.place) == (
        "ValueError", "number 7 is bad", "score.py:18 in run",
    )  # fmt: skip
    assert trace.group == "ValueError at score.py:18 in run"
    assert trace.text.startswith("Traceback")
    assert trace.text.endswith("ValueError: number 7 is bad")


def test_causes_belong_to_their_error() -> None:
    cause = TRACE + "\nThe above exception was the direct cause of the following exception:\n\n"
    second = TRACE.partition("ERROR ")[2].replace("ValueError: number", "my.errors.Wrong: number")
    traces = tracebacks_in(cause + second + "2026-11-29T19:38:36 INFO on\n" + TRACE)
    assert [trace.error for trace in traces] == ["Wrong", "ValueError"]
    assert traces[0].text.count("Traceback") == 2


ANY_LINE = st.one_of(
    st.sampled_from([
        "Scheduling finished. Scheduled 9 mini batches in 1 seconds. There are 9 tasks with 40 items.",
        "2026 Processed 3 of 9 mini batches in 0:00:01.", "Traceback (most recent call last):",
        '  File "/x/score.py", line 3, in run', "ValueError: no", HEADER.strip(), row(3).strip(),
        row(3, 2, "RUN_EXCEPTION", error="ValueError", message='a "b"\nc').strip(), '0,1,"',
        "During handling of the above exception, another exception occurred:", "",
    ]),
    st.text(max_size=30),
)  # fmt: skip
ANY_FILE = st.lists(ANY_LINE, max_size=12).map(
    lambda lines: "\n".join(lines).encode("utf-8", "replace")
)


@given(ANY_FILE, st.lists(st.integers(0, 600), max_size=4))
def test_a_file_in_pieces_is_the_file(data: bytes, cuts: list[int]) -> None:
    ends = [*sorted(min(cut, len(data)) for cut in cuts), len(data)]
    kinds: tuple[type[Overview | Table], ...] = (Overview, Table)
    for make in kinds:
        whole = make().feed(data, is_last=True)
        reader, start = make(), 0
        found: list[object] = []
        for end in ends:
            found += reader.feed(data[start:end])
            start = end
        assert [*found, *reader.feed(b"", is_last=True)] == whole


@given(ANY_FILE, ANY_FILE, ANY_FILE, st.integers(0, 600))
def test_every_prefix_of_every_file_is_tolerated(
    overview: bytes, table: bytes, errors: bytes, end: int
) -> None:
    job = Job()
    texts = {OVERVIEW: overview, TABLE: HEADER.encode() + table, ERRORS: errors}
    job.look({path: data[:end] for path, data in texts.items()})
    job.look(dict(texts), Facts("Completed"))
    state = job.state
    assert state.done <= state.planned
    assert state.items_done <= state.planned_items


# Folding

LINES = [
    row(0), row(1, 1, "RUN_EXCEPTION", error="ValueError", message="number 7 is bad"), row(2),
    row(1, 2, "RUN_EXCEPTION", error="ValueError", message="number 7 is bad"),
    row(3, 1, "RUN_TIMEOUT"), row(4, succeeded=3), row(3, 2),
]  # fmt: skip
START = (
    "2026-11-29T19:38:34 Scheduling finished. Scheduled 6 mini batches in 1 seconds. There are 6 tasks with "
    "29 items.\n"
)


def counted(state: RunState) -> tuple[Any, ...]:
    return (
        state.planned, state.planned_items, state.succeeded, state.failed, state.items_succeeded,
        state.items_failed, state.attempts_failed, sorted(state.groups), sorted(state.tries.items()),
    )  # fmt: skip


def test_rows_become_attempts_with_counts_times_and_tracebacks() -> None:
    job = Job()
    job.look({OVERVIEW: START, TABLE: HEADER + "".join(LINES), ERRORS: TRACE + TRACE})
    state = job.state
    assert (state.planned, state.planned_items, state.plan_finished) == (6, 29, True)
    assert (state.succeeded, state.failed, state.left) == (4, 1, 1)
    assert (state.items_succeeded, state.items_failed) == (18, 2 + 5)
    assert state.attempts_failed == 3
    assert sorted(state.groups) == [
        "ShortResult at run()", "Timeout at run()", "ValueError at score.py:18 in run",
    ]  # fmt: skip
    assert state.groups["ValueError at score.py:18 in run"].items_lost == 5
    [first] = [e for e in job.events if isinstance(e, AttemptSucceeded) and e.mini_batch == 0]
    assert (first.worker, first.duration_us) == ("10.0.0.4-process000", 1_500_000)
    assert state.workers["10.0.0.4-process000"].node == "10.0.0.4"


@given(st.lists(st.integers(0, len(LINES)), max_size=4), st.booleans())
def test_folding_in_pieces_equals_folding_at_once(cuts: list[int], is_killed: bool) -> None:
    whole = Job()
    texts = {OVERVIEW: START, TABLE: HEADER + "".join(LINES), ERRORS: TRACE + TRACE}
    ended = Facts("Completed", tries=2)
    whole.look(dict(texts), ended)
    job = Job()
    for cut in sorted(cuts):
        job.look({**texts, TABLE: HEADER + "".join(LINES[:cut])})
        if is_killed:
            job = restarted(job)
    job.look(dict(texts), ended)
    assert counted(job.state) == counted(whole.state)
    assert job.look(dict(texts), ended) == []


def restarted(job: Job) -> Job:
    """Return the job as the driver after a killed one sees it: it has the journal only."""
    new = Job(Fold(Numbers(job.fold.numbers.given)))
    new.events = [decode(encode(event)) for event in [*job.events, RunStarted(0, 1, 1, "here")]]
    for event in new.events:
        new.fold.note(event)
    return new


def test_counts_show_progress_until_the_table_comes_and_never_go_back() -> None:
    job = Job()
    job.look({OVERVIEW: START})
    seen = []
    for done in (1, 3, 4):
        text = f"{START}2026 Processed {done} of 6 mini batches in 0:00:02.\n"
        job.look({OVERVIEW: text})
        state = job.state
        seen.append((state.done, state.left, state.items_done))
    assert seen == [(1, 5, 4), (3, 3, 14), (4, 2, 19)]
    assert job.state.succeeded == 0
    assert sum("has not written its table" in text for text in job.warnings) == 1
    job.look({OVERVIEW: text, TABLE: HEADER + "".join(LINES[:3])})
    assert (job.state.done, job.state.succeeded) == (4, 2)
    job.look({OVERVIEW: text, TABLE: HEADER + "".join(LINES), ERRORS: TRACE + TRACE})
    assert (job.state.done, job.state.succeeded, job.state.failed) == (5, 4, 1)
    job.look(
        {OVERVIEW: text, TABLE: HEADER + "".join(LINES) + row(5, total=4, succeeded=4)},
        Facts("Completed"),
    )
    assert (job.state.done, job.state.items_done, job.state.planned_items) == (6, 29, 29)


def test_a_job_without_a_table_is_counted_and_says_so() -> None:
    job = Job()
    text = f"{START}2026 Processed 6 of 6 mini batches in 0:00:02.\n"
    job.look({OVERVIEW: text, ERRORS: TRACE}, Facts("Completed"))
    assert (job.state.done, job.state.left, job.state.items_done) == (6, 0, 29)
    assert any("only counts are known" in text for text in job.warnings)
    assert any("ValueError: number 7 is bad at score.py:18 in run" in text for text in job.warnings)


def test_an_overview_that_stops_is_told_once() -> None:
    job = Job()
    for count in range(2, 40):
        job.look({OVERVIEW: START, TABLE: HEADER + "".join(row(k) for k in range(min(count, 30)))})
    assert sum("has stopped" in text for text in job.warnings) == 1


def test_a_failure_waits_for_its_traceback_which_is_in_another_file() -> None:
    job = Job()
    table = HEADER + LINES[0] + LINES[1]
    assert not any(isinstance(e, AttemptFailed) for e in job.look({OVERVIEW: START, TABLE: table}))
    [event] = [
        e
        for e in job.look({OVERVIEW: START, TABLE: table, ERRORS: TRACE})
        if isinstance(e, AttemptFailed)
    ]
    assert event.group == "ValueError at score.py:18 in run"
    other = Job()
    events = [e for _ in range(4) for e in other.look({OVERVIEW: START, TABLE: table})]
    [event] = [e for e in events if isinstance(e, AttemptFailed)]
    assert (event.group, event.traceback) == ("ValueError at run()", "")


def test_a_table_with_one_row_for_each_mini_batch_shows_the_tries_before() -> None:
    job = Job()
    job.look({TABLE: HEADER + row(0, 3)})
    assert (job.state.succeeded, job.state.attempts_failed, job.state.tries) == (1, 2, {0: 2})
    replaced = Job()
    replaced.look({TABLE: HEADER + row(0, 1, "RUN_TIMEOUT") + row(1)}, Facts("Running"))
    replaced.look({TABLE: HEADER + row(0, 2) + row(1)}, Facts("Completed"))
    assert (replaced.state.succeeded, replaced.state.attempts_failed) == (2, 1)


def test_what_failed_last_has_failed_for_good_when_the_job_ends() -> None:
    job = Job()
    table = HEADER + row(0) + row(1, 1, "RUN_TIMEOUT")
    job.look({TABLE: table}, Facts("Running"))
    assert (job.state.failed, job.state.retrying) == (0, 1)
    job.look({TABLE: table}, Facts("Completed"))
    state = job.state
    assert (state.failed, state.retrying, state.items_failed, state.attempts_failed) == (1, 0, 5, 1)
    assert state.groups["Timeout at run()"].items_lost == 5


def test_files_that_rotate_shrink_or_go_lose_nothing() -> None:
    job = Job()
    job.look(
        {
            OVERVIEW: START + "2026 Processed 1 of 6 mini batches in 0:00:02.\n",
            TABLE: HEADER + LINES[0],
        }
    )
    later = OVERVIEW.replace("19.txt", "20.txt")
    job.look(
        {OVERVIEW: "", later: "2026 Processed 2 of 6 mini batches in 0:00:02.\n", TABLE: HEADER}
    )
    job.look(
        {
            later: "2026 Processed 3 of 6 mini batches in 0:00:03.\n",
            TABLE: HEADER + LINES[2] + LINES[0],
        }
    )
    assert (job.state.done, job.state.succeeded, job.state.planned) == (3, 2, 6)


def test_names_of_mini_batches_need_not_be_numbers() -> None:
    job = Job()
    table = HEADER + row("a-1") + row("b-2") + row("6")
    job.look({OVERVIEW: START, TABLE: table})
    again = restarted(job)
    again.look({OVERVIEW: START, TABLE: table + row("c-3")})
    assert again.state.succeeded == 4
    assert again.fold.numbers.given == {"a-1": 0, "b-2": 1, "6": 2, "c-3": 3}


# Paths and facts


def test_processes_are_named_after_their_nodes() -> None:
    assert process_of("10.0.0.4/process000").worker == "10.0.0.4-process000"
    assert process_of("process000") == Process("", "process000")
    logs = logs_of_processes([
        "logs/user/stdout/10.0.0.4/process000.stdout.txt", "logs/sys/node/10.0.0.4/process000.txt",
        "logs/user/entry_script_log/10.0.0.4/process000.log.txt", "user_logs/std_log_0.txt",
    ])  # fmt: skip
    assert {process.worker for process in logs.values()} == {"10.0.0.4-process000"}
    assert len(logs) == 2


def test_settings_are_found_in_definitions_of_several_shapes() -> None:
    wire = {
        "node": {
            "retry_settings": {"max_retries": 1},
            "task": {"append_row_to": "${{outputs.rows}}"},
        }
    }
    assert (tries_in(wire), rows_output_in(wire), is_parallel(wire)) == (2, "rows", True)
    assert tries_in({"a": [{"retrySettings": {"maxRetries": "3"}}]}) == 4
    assert (tries_in(None), rows_output_in([]), is_parallel({"command": "x"})) == (0, "", False)


def test_the_state_is_that_of_the_step_unless_its_job_has_ended() -> None:
    step = {"runId": "s", "status": "Running", "parentRunId": "j"}
    assert facts_of({"runId": "j", "status": "Running"}, step, {}).state == "Running"
    assert facts_of({"runId": "j", "status": "Canceled"}, step, {}).state == "Canceled"
    failed = {**step, "status": "Failed", "error": {"error": {"message": "no quota"}}}
    facts = facts_of({"runId": "j", "status": "Running"}, failed, {})
    assert (facts.state, facts.step, facts.error) == ("Failed", "s", "no quota")
    assert facts_of({"status": "Queued", "error": None}, None, {}) == Facts("Queued")
    assert step_named([step], "") is step
    assert step_named([step, {"runId": "t", "displayName": "b"}], "") is None
    assert outputs_of({"outputs": {"rows": {"type": "uri_file"}, "default": {}}}) == {
        "rows": "uri_file"
    }


def test_numbers_are_tolerant_of_anything() -> None:
    text = HEADER + "0,x,p,t,five,5.0,-3,nan,,1e99,run_done,,,\n"
    assert Table().feed(text.encode()) == [TableRow("0", 1, "p", 5, 5, 0.0, "RUN_DONE", "", "")]
