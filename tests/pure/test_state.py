from __future__ import annotations

import json
import os
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from parallelrun_jupyter.commands.terminal import replaced_lines
from parallelrun_jupyter.errors import RunFolderError
from parallelrun_jupyter.runs import driver_lock
from parallelrun_jupyter.runs.journal import events as ev
from parallelrun_jupyter.runs.journal.files import (
    JournalReader,
    JournalWriter,
    read_state,
    write_state,
)
from parallelrun_jupyter.runs.journal.lines import encode
from parallelrun_jupyter.runs.journal.state import RunState
from parallelrun_jupyter.runs.run_folder import RunFolder
from parallelrun_jupyter.runs.run_record import RunRecord
from parallelrun_jupyter.runs.snapshot.snapshot import Snapshot, take_snapshot
from parallelrun_jupyter.views.html import html_view
from parallelrun_jupyter.views.queries import failures
from parallelrun_jupyter.views.text import LinePrinter, bar, plain, text_view
from tests import journals

CREATED = 1_000_000.0


def record(**changed: Any) -> RunRecord:
    values = {"created_at": CREATED, "limits": {"error_threshold": 0}, **changed}
    return journals.record("r", **values)


def succeeded(mini_batch: int, at_ms: int, items: int = 5) -> ev.AttemptSucceeded:
    return ev.AttemptSucceeded(mini_batch, 1, "n0w0", at_ms, 9, items, items, items, 0, 0, 1, 0)


def failed(mini_batch: int, at_ms: int, *, is_last: bool, group: str = "E at s.py:1") -> ev.Event:
    return ev.AttemptFailed(
        mini_batch, 1, "n0w0", at_ms, 9, 5, is_last, "exception", "E", "bad", group, "Trace"
    )


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """Return a run whose driver is this very process."""
    path = tmp_path / "r"
    path.mkdir()
    (path / "driver.json").write_text(json.dumps(driver_lock.identity(os.getpid())))
    return RunFolder(path)


def snapshot_of(folder: RunFolder, *events: ev.Event, at_s: float = 10.0) -> Snapshot:
    state = RunState()
    state.apply_all(events)
    return take_snapshot(folder, record(), state, CREATED + at_s)


STARTED = (ev.RunStarted(0, 1, 1, "h"), ev.WorkerStarted(1, "n0w0", "n0", 7))
PLANNED = (*STARTED, ev.PlanFinished(5, 100, 500), ev.StateEntered(6, "Running"))


def test_the_snapshot_adds_up(folder: RunFolder) -> None:
    shown = snapshot_of(
        folder,
        *PLANNED,
        ev.NodeSampled(7, "n0", (("n0w0", "running", 3, 5000),), (("n0w0", 3, 10, 1),)),
        succeeded(0, 1000),
        failed(1, 2000, is_last=False),
        failed(2, 3000, is_last=True),
    )
    assert (shown["succeeded"], shown["failed"], shown["retrying"], shown["left"]) == (1, 1, 1, 98)
    assert shown["items"] == shown["items_succeeded"] + shown["items_failed"] + shown["items_left"]
    assert shown["running"] == 1
    assert shown["workers"][0]["since_s"] == 5.0
    assert shown["groups"][0]["attempts"] == 2
    assert shown["groups"][0]["mini_batches_lost"] == 1


def short(mini_batch: int, at_ms: int, rows: int) -> tuple[ev.Event, ev.Event]:
    where = "score.py:12 in run"
    said = f"run() returned {rows} results for 5 items at score.py:12"
    return (
        ev.AttemptSucceeded(mini_batch, 1, "n0w0", at_ms, 9, 5, rows, rows, 0, 0, 1, 0),
        ev.ItemsFailed(mini_batch, 1, "n0w0", at_ms, 5 - rows, "short_result", "ShortResult", said,
                       f"ShortResult at {where}", ""),
    )  # fmt: skip


def test_short_results_are_a_group_and_stay_failed_in_a_resume(folder: RunFolder) -> None:
    begun = (*PLANNED, *short(0, 10, 2), *short(1, 20, 0), failed(2, 30, is_last=True))
    shown = snapshot_of(folder, *begun)
    rows = [
        (r["group"], r["attempts"], r["mini_batches_lost"], r["items_missing"])
        for r in shown["groups"]
    ]
    assert rows == [("ShortResult at score.py:12 in run", 2, 0, 8), ("E at s.py:1", 1, 1, 0)]
    assert (shown["succeeded"], shown["failed"], shown["attempts_failed"]) == (2, 1, 1)
    assert (shown["items_succeeded"], shown["items_failed"], shown["items_left"]) == (2, 13, 485)
    line = (
        "✗ ShortResult at score.py:12 in run: run() returned 2 results for 5 items at score.py:12  "
        "(2 attempts, 8 items without a result, first in mini-batch 0)"
    )
    assert line in text_view(shown).splitlines()
    again = (ev.RunStarted(50, 1, 1, "h"), ev.RunResumed(50, False, 98, ""))
    assert snapshot_of(folder, *begun, *again)["items_failed"] == 8


def test_names_that_are_no_unicode_are_shown_with_escapes(folder: RunFolder) -> None:
    odd = os.fsdecode(b"caf\xe9")
    end = ev.RunFinished(7000, "Failed", f"no {odd}", f"/{odd}/rows.txt", 5)
    state = RunState()
    state.apply_all([*PLANNED, failed(1, 5, is_last=True, group=f"E at {odd}.py:1"), end])
    shown = take_snapshot(folder, record(name=odd), state, CREATED + 10)
    text = json.dumps(shown, ensure_ascii=False)
    assert text.encode("utf-8").count(b"\\udce9") == 4
    assert plain(odd) == "caf\\udce9"
    assert str(RunFolderError(odd)) == "caf\\udce9"


def test_a_retry_that_succeeds_is_no_longer_to_be_retried(folder: RunFolder) -> None:
    shown = snapshot_of(folder, *PLANNED, failed(1, 10, is_last=False), succeeded(1, 20))
    assert (shown["retrying"], shown["items_failed"], shown["attempts_failed"]) == (0, 0, 1)


def test_a_resume_of_one_group_leaves_the_others_failed(folder: RunFolder) -> None:
    other = "F at s.py:2"
    lost = (
        failed(1, 10, is_last=True),
        failed(2, 20, is_last=True, group=other),
        failed(3, 30, is_last=True, group=other),
        failed(4, 40, is_last=False),
    )
    taken = (ev.RunStarted(50, 1, 1, "h"), ev.RunResumed(50, True, 2, "", other))
    shown = snapshot_of(folder, *PLANNED, succeeded(0, 5), *lost, *taken)
    assert (shown["succeeded"], shown["failed"], shown["retrying"], shown["left"]) == (1, 1, 3, 98)
    assert (shown["items_failed"], shown["items_left"]) == (5, 490)
    assert [(row["group"], row["mini_batches_lost"]) for row in shown["groups"]] == [
        ("E at s.py:1", 1),
        (other, 0),
    ]
    before = ev.RunResumed(50, True, 4, "")
    shown = snapshot_of(folder, *PLANNED, succeeded(0, 5), *lost, taken[0], before)
    assert (shown["failed"], shown["retrying"], shown["items_failed"]) == (0, 4, 0)


def test_the_rate_is_that_of_the_last_ten_seconds(folder: RunFolder) -> None:
    events = [succeeded(k, 100 * k) for k in range(50)]  # ten a second for five seconds
    shown = snapshot_of(folder, *PLANNED, *events, at_s=5.0)
    assert shown["items_per_s"] == pytest.approx(50, rel=0.1)
    assert shown["eta_s"] == pytest.approx(5, rel=0.1)
    stalled = snapshot_of(folder, *PLANNED, *events, at_s=30.0)
    assert stalled["items_per_s"] == 0
    assert stalled["eta_s"] is None


def test_no_end_is_promised_before_it_means_something(folder: RunFolder) -> None:
    assert snapshot_of(folder, *PLANNED, succeeded(0, 100))["eta_s"] is None
    listing: list[ev.Event] = [
        *STARTED,
        ev.MiniBatchesPlanned(5, 100, 500),
        *(succeeded(k, k) for k in range(50)),
    ]
    assert snapshot_of(folder, *listing)["eta_s"] is None


def test_a_snapshot_is_bounded(folder: RunFolder) -> None:
    long = "\\x00é" * 5000
    many: list[ev.Event] = list(PLANNED)
    many += [ev.WorkerStarted(1, f"n{k}w{k}", "n0", k) for k in range(5000)]
    many += [
        ev.AttemptFailed(k, 1, "n0w0", 5, 9, 5, True, "exception", "E", long, f"{k}{long}", long)
        for k in range(500)
    ]
    many += [ev.WarningRaised(1, long)] * 50
    busy = tuple((f"n{k}w{k}", "running", 10**6, 4) for k in range(5000))
    many.append(ev.NodeSampled(6, "n0", busy, tuple((row[0], 10**15, 10**16, 1) for row in busy)))
    shown = snapshot_of(folder, *many)
    assert len(json.dumps(shown)) < 20_000
    assert (len(shown["workers"]), shown["workers_hidden"]) == (50, 4950)
    assert shown["groups_hidden"] == 500 - len(shown["groups"])


def test_a_final_run_no_longer_moves(folder: RunFolder) -> None:
    end = ev.RunFinished(7000, "Completed", "", "/out", 5)
    shown = snapshot_of(folder, *PLANNED, succeeded(0, 1000), end, at_s=5000)
    assert shown["elapsed_s"] == 7.0
    assert shown["workers"] == []
    assert shown["is_final"]


def test_the_cached_state_is_the_fold_and_may_be_lost(folder: RunFolder) -> None:
    events = [
        *PLANNED,
        ev.NodeSampled(7, "n0", (("n0w0", "running", 3, 5000),), (("n0w0", 3, 10, 1),)),
        succeeded(0, 1000),
        failed(1, 2000, is_last=False),
        failed(2, 3000, is_last=True),
        ev.WarningRaised(4000, "careful"),
        *short(5, 4500, 3),
        succeeded(3, 5000),
        failed(4, 5500, is_last=True, group="F at s.py:2"),
        ev.RunStarted(6000, 1, 1, "h"),
        ev.RunResumed(6000, True, 1, "", "F at s.py:2"),
        succeeded(4, 7000),
    ]
    writer = JournalWriter(folder.journal)
    for cut in range(len(events) + 1):
        folder.journal.write_bytes(b"")
        state = RunState()
        state.apply_all(events[:cut])
        writer.append(events[:cut])
        write_state(folder, state, writer.size_bytes())
        writer.append(events[cut:])
        cached, offset = read_state(folder)
        assert cached == state
        cached.apply_all(JournalReader(folder.journal, offset).read())
        state.apply_all(events[cut:])
        assert cached == state
    for damage in (b"{", b"{}", b'{"schema":99}', folder.state.read_bytes()[:-9]):
        folder.state.write_bytes(damage)
        assert read_state(folder) == (RunState(), 0)
    write_state(folder, state, 10**9)
    assert read_state(folder) == (RunState(), 0), "ahead of its journal"
    writer.close()


# Drivers that are gone


def test_a_dead_driver_makes_the_run_interrupted(folder: RunFolder) -> None:
    identity = json.loads(folder.driver.read_text())
    for change in ({"process_start": "1"}, {"boot_id": "other"}, {"pid": 2**22 + 1}):
        folder.driver.write_text(json.dumps({**identity, **change}))
        shown = snapshot_of(folder, *PLANNED)
        assert shown["state"] == "Interrupted", change
        assert shown["reason"] == "driver lost: its process has ended"
        assert shown["is_final"]


def test_another_hosts_driver_is_judged_by_its_heartbeat(folder: RunFolder) -> None:
    identity = {**json.loads(folder.driver.read_text()), "host": f"not-{socket.gethostname()}"}
    folder.driver.write_text(json.dumps(identity))
    os.utime(folder.driver, (CREATED, CREATED))
    assert snapshot_of(folder, *PLANNED, at_s=10)["state"] == "Running"
    assert snapshot_of(folder, *PLANNED, at_s=100)["state"] == "Interrupted"


def test_a_driver_that_never_started_is_seen_after_a_while(folder: RunFolder) -> None:
    folder.driver.unlink()
    assert snapshot_of(folder, at_s=1)["state"] == "Queued"
    late = snapshot_of(folder, at_s=60)
    assert late["state"] == "Interrupted"
    assert "its driver did not start" in late["reason"]


def test_a_zombie_is_dead(folder: RunFolder) -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    try:
        folder.driver.write_text(json.dumps({**driver_lock.identity(os.getpid()), "pid": pid}))
        assert snapshot_of(folder, *PLANNED)["state"] == "Interrupted"
    finally:
        os.waitpid(pid, 0)


def test_only_one_driver_can_hold_a_run(folder: RunFolder) -> None:
    claim = driver_lock.DriverLock(folder)
    with pytest.raises(RunFolderError, match="run r already has a driver; watch it with"):
        driver_lock.DriverLock(folder)
    claim.release()
    driver_lock.DriverLock(folder).release()


# Text


def test_the_text_view_of_a_failing_run(folder: RunFolder) -> None:
    shown = snapshot_of(folder, *PLANNED, succeeded(0, 1000), failed(1, 2000, is_last=True))
    assert text_view(shown).splitlines() == [
        "digits  Running  [r]",
        "▌" + "░" * 23 + "   2%  10 of 500 items · 2 of 100 mini-batches · 5 items failed · "
        "1.2 items/s · 10 s",
        "✗ E at s.py:1: bad  (1 attempt, 5 items failed, 1 mini-batch lost, first in mini-batch 1)",
        "  n0w0         1 done, 1 failed  starting",
    ]


def partly(mini_batch: int, of: int, bad: dict[int, str], group: str) -> list[ev.Event]:
    """Return the events of an attempt in which some items failed by their answers."""
    good = [k for k in range(of) if k not in bad]
    made: list[ev.Event] = [
        ev.ItemsSucceeded(mini_batch, 1, "n0w0", 9, 9000 * (k == good[0]), k, 1, of, 1, 0, 0, 1, 0)
        for k in good
    ]
    ranges = tuple((k, 1) for k in bad)
    made.append(
        ev.ItemsFailed(mini_batch, 1, "n0w0", 9, len(bad), "exception", "E", "bad", group, "", ranges,
                       tuple(bad.values()), of)
    )  # fmt: skip
    return made


def test_items_that_failed_alone_are_counted_as_items(folder: RunFolder) -> None:
    events = partly(0, 5, {1: "no color", 3: "no size"}, "E at s.py:1")
    end = ev.RunFinished(7000, "Completed", "", "/out", 5)
    shown = snapshot_of(folder, *PLANNED, *events, end)
    assert (shown["succeeded"], shown["failed"]) == (1, 0)
    assert (shown["items_failed"], shown["items_lost"]) == (2, 2)
    [group] = shown["groups"]
    assert (group["mini_batches_lost"], group["items_failed"], group["items_missing"]) == (0, 2, 0)
    lines = text_view(shown).splitlines()
    assert "✗ E at s.py:1: bad  (1 attempt, 2 items failed, first in mini-batch 0)" in lines
    assert lines[-2:] == [
        "to list the 2 failed items: run.failed_items(), parallelrun failures r --items",
        "to run the 2 failed items again: run.resume(failed_only=True), "
        "parallelrun resume r --failed-only",
    ]
    assert "2 items failed, first in mini-batch 0" in html_view(shown, 0.0)
    assert ord(shown["grid"]["cells"][0]) - 35 == 8 + 9  # done, and some of it failed
    assert ord(shown["grid"]["cells"][1]) - 35 == 0


def test_the_attempts_of_a_group_are_those_that_ran(folder: RunFolder) -> None:
    group = "E at s.py:1"
    last = ev.ItemsFailed(0, 2, "n0w0", 6, 1, "exception", "E", "bad", group, "", ((3, 1),), (), 5)
    events = [
        replace(last, attempt=1, is_last=False),
        last,
        replace(last, mini_batch=1, worker=""),
    ]
    folder.journal.write_text("".join(encode(event) + "\n" for event in events))
    shown = failures(folder, group)
    assert [(row["attempt"], row["is_last"]) for row in shown["rows"]] == [(1, False), (2, True)]
    assert shown["attempts"] == snapshot_of(folder, *PLANNED, *events)["groups"][0]["attempts"] == 2


def test_reused_results_and_a_limit_of_calls_are_shown_once(folder: RunFolder) -> None:
    events = (
        ev.ResultsReused(7, "20260101-abc", 999_990, 2, 8, 3),
        ev.CallLimited(8, 100),
        ev.CallLimited(9, 25),
    )
    shown = snapshot_of(folder, *PLANNED, *events)
    notes = [
        "999,990 items taken from run 20260101-abc, 10 run: 8 new, 2 changed; 3 gone",
        "run() receives at most 25 items: more do not fit into memory",
    ]
    assert text_view(shown).splitlines()[2:4] == notes
    assert all(f"<div>{note}</div>" in html_view(shown, 0.0) for note in notes)
    printer = LinePrinter()
    assert printer.lines(shown)[:2] == notes
    assert printer.lines(shown) == []
    same = snapshot_of(folder, *PLANNED, ev.ResultsReused(7, "r0", 1, 0, 0, 0))
    without = same["items"] - 1
    shown_line = f"1 item taken from run r0, {without} run: {without} without a row there"
    assert text_view(same).splitlines()[2] == shown_line


def test_copied_duplicates_are_counted_and_shown(folder: RunFolder) -> None:
    line = "duplicates have the rows of items with the same content"
    copied = [ev.DuplicatesCopied(at_ms, 600) for at_ms in (8, 9)]
    shown = snapshot_of(folder, *PLANNED, *copied)
    assert f"1,200 {line}" in text_view(shown).splitlines()
    assert f"<div>1,200 {line}</div>" in html_view(shown, 0.0)
    printer = LinePrinter()
    assert not any(line in printed for printed in printer.lines(shown)), "it would be printed often"
    ended = snapshot_of(folder, *PLANNED, *copied, ev.RunFinished(10, "Completed", "", "/out", 5))
    assert f"1,200 {line}" in printer.lines(ended)
    one = snapshot_of(folder, *PLANNED, ev.DuplicatesCopied(8, 1))
    assert "1 duplicate has the rows of items with the same content" in text_view(one)
    assert "duplicate" not in text_view(snapshot_of(folder, *PLANNED))


def test_a_state_of_a_version_without_duplicates_is_read(folder: RunFolder) -> None:
    state = RunState()
    state.apply_all([*PLANNED, ev.DuplicatesCopied(8, 5)])
    folder.journal.write_text("x" * 100)
    write_state(folder, state, 100)
    assert read_state(folder)[0].duplicates_copied == 5
    record = json.loads(folder.state.read_text())
    del record["duplicates_copied"]
    folder.state.write_text(json.dumps(record))
    read, size = read_state(folder)
    assert (read.planned, read.duplicates_copied, size) == (state.planned, 0, 100)


def test_a_completed_run_with_failed_items_says_so(folder: RunFolder) -> None:
    end = ev.RunFinished(7000, "Completed", "", "/out", 5)
    shown = snapshot_of(folder, *PLANNED, succeeded(0, 1), failed(1, 2, is_last=True), end)
    assert text_view(shown).startswith("digits  Completed, 5 items failed  [r]")
    assert LinePrinter().lines(shown)[1].startswith("Completed, 5 items failed: 2 %")


def test_a_resume_is_proposed_only_where_it_can_help(folder: RunFolder) -> None:
    end = ev.RunFinished(9, "Failed", "too many", "", 0)
    lost = snapshot_of(folder, *PLANNED, failed(1, 2, is_last=True), end)
    assert text_view(lost).endswith("to resume: run.resume(), parallelrun resume r")
    where = "ShortResult at s.py:1 in run"
    short = ev.ItemsFailed(0, 1, "n0w0", 4, 9, "short_result", "ShortResult", "short", where, "")
    too_short = succeeded(0, 2)._replace(items_succeeded=0)
    kept = snapshot_of(folder, *PLANNED, too_short, short, end)
    assert kept["groups"][0]["items_missing"] > kept["error_threshold"] >= 0
    assert "to resume" not in text_view(kept)
    unplanned = snapshot_of(folder, *STARTED, ev.RunFinished(9, "Failed", "bad header.", "", 0))
    assert "to resume" not in text_view(unplanned)
    lines = LinePrinter().lines(unplanned)
    assert [line[:27] for line in lines] == ["Failed: bad header: nothing"]


def test_what_a_user_wrote_cannot_command_a_terminal(folder: RunFolder) -> None:
    evil = "\x1b[2J\x1b]0;title\x07 <b>bold</b>\r\n\u202ereversed"
    shown = snapshot_of(folder, *PLANNED, failed(1, 2, is_last=True, group=evil))
    text = text_view(shown)
    assert "\x1b" not in text
    assert "\r" not in text
    assert "\u202e" not in plain(evil)
    assert "<b>bold</b>" in text


def test_a_warning_is_printed_once(folder: RunFolder) -> None:
    events: list[ev.Event] = [
        *PLANNED,
        ev.WarningRaised(5, "one"),
        ev.WarningRaised(6, "two\x1b[2J"),
    ]
    printer = LinePrinter()
    assert printer.lines(snapshot_of(folder, *events))[:2] == ["! one", "! two [2J"]
    events.append(ev.WarningRaised(7, "three"))
    assert printer.lines(snapshot_of(folder, *events)) == ["! three"]
    assert printer.lines(snapshot_of(folder, *events)) == []


def test_nothing_is_to_be_retried_after_the_end(folder: RunFolder) -> None:
    events = [*PLANNED, failed(1, 2, is_last=False)]
    assert " · 1 to run again · " in text_view(snapshot_of(folder, *events))
    end = ev.RunFinished(9, "Failed", "too many", "", 0)
    assert "to run again" not in text_view(snapshot_of(folder, *events, end))


def test_lines_are_said_once_per_step(folder: RunFolder) -> None:
    printer = LinePrinter(step_percent=10)
    said = []
    for done in range(101):
        events: list[ev.Event] = [*PLANNED, *(succeeded(k, k) for k in range(done))]
        said += printer.lines(snapshot_of(folder, *events))
    assert len(said) == 11
    dropped = [ev.RowsDropped(101, k, 0, 5, 5, 5, 5, "") for k in range(100)]
    fewer = printer.lines(snapshot_of(folder, *events, *dropped))
    assert [line[:12] for line in fewer] == ["Running: 0 %"]


def test_reading_all_rows_of_tables_is_said_once(folder: RunFolder) -> None:
    printer = LinePrinter()
    begun = (*STARTED, ev.StateEntered(2, "Planning"))
    said = [
        printer.lines(
            snapshot_of(folder, *begun, *(ev.MiniBatchesPlanned(5, 0, rows),) * (rows > 0))
        )
        for rows in (0, 0, 2000, 3000)
    ]
    assert [len(lines) for lines in said] == [1, 0, 1, 0]
    assert said[2][0].startswith("Planning: reading the inputs, 2,000 rows so far")


def test_mini_batches_whose_rows_were_dropped_run_again(folder: RunFolder) -> None:
    dropped = (succeeded(0, 7), ev.TypesChanged(8, "n"), ev.RowsDropped(8, 0, 0, 5, 5, 5, 5, ""))
    text = text_view(snapshot_of(folder, *PLANNED, *dropped))
    assert " · 1 to run again · " in text
    assert "retr" not in text, "nothing has failed"


def test_a_file_of_an_earlier_run_that_will_be_replaced_is_noted(
    folder: RunFolder, tmp_path: Path
) -> None:
    output = {"destination": str(tmp_path / "out"), "file_name": "rows.txt"}
    one = record(output=output)
    path = folder.final_file(one)
    assert replaced_lines(folder, one) == []
    path.parent.mkdir()
    path.write_text("1\n")
    os.utime(path, (CREATED + 1, CREATED + 1))
    assert replaced_lines(folder, one) == [], "the run itself wrote it"
    os.utime(path, (CREATED - 9, CREATED - 9))
    [line] = replaced_lines(folder, one)
    assert str(path) in line
    assert replaced_lines(folder, record(output={**output, "append_rows": False})) == []


def test_bars_are_as_long_as_they_should_be() -> None:
    assert [len(bar(share / 100)) for share in range(101)] == [24] * 101
    assert bar(0) == "░" * 24
    assert bar(1) == "█" * 24


def test_a_worker_that_is_forked_later_gets_its_process_and_is_no_restart() -> None:
    state = RunState()
    for pid in (0, 41):
        state.apply(ev.WorkerStarted(5, "n0w0", "n0", pid))
    assert (state.workers["n0w0"].pid, state.workers["n0w0"].restarts) == (41, 0)
    assert len(state.workers) == 1


def test_dropped_rows_of_a_partly_answered_mini_batch_let_it_end_later() -> None:
    def answered(first: int, attempt: int) -> ev.ItemsSucceeded:
        return ev.ItemsSucceeded(0, attempt, "n0w0", 10, 9, first, 2, 4, 2, 0, 0, 1, 0)

    state = RunState()
    for event in (
        ev.PlanFinished(1, 1, 4),
        answered(0, 1),
        ev.TypesChanged(11, "other types"),
        ev.RowsDropped(11, 0, 0, 2, 4, 2, 2, ""),
    ):
        state.apply(event)
    assert (state.succeeded, state.left, state.items_succeeded, state.rows) == (0, 1, 0, 0)
    state.apply(answered(0, 2))
    state.apply(answered(2, 3))
    assert (state.succeeded, state.left, state.items_succeeded, state.rows) == (1, 0, 4, 4)
