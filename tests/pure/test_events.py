from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parallelrun_jupyter.errors import RunFolderError
from parallelrun_jupyter.runs.journal import call_events, job_events
from parallelrun_jupyter.runs.journal import events as ev
from parallelrun_jupyter.runs.journal.files import JournalReader, JournalWriter
from parallelrun_jupyter.runs.journal.lines import decode, encode

COUNT = st.integers(0, 2**53)
TEXT = st.text(max_size=30)
KINDS = {
    ev.RunStarted: (COUNT, COUNT, COUNT, TEXT),
    ev.RunResumed: (COUNT, st.booleans(), COUNT, TEXT, TEXT),
    ev.MiniBatchesPlanned: (COUNT, COUNT, COUNT),
    ev.PlanFinished: (COUNT, COUNT, COUNT),
    ev.StateEntered: (COUNT, TEXT),
    ev.WorkerStarted: (COUNT, TEXT, TEXT, COUNT),
    ev.WorkerReady: (COUNT, TEXT, COUNT),
    ev.InitFailed: (COUNT, *[TEXT] * 6),
    ev.WorkerLost: (COUNT, TEXT, TEXT),
    ev.AttemptSucceeded: (COUNT, COUNT, st.just("n0w1"), *[COUNT] * 9),
    # a part without attempts: with a count, a reader expects that many attempts before it
    ev.PartStored: (COUNT, TEXT, COUNT, st.just(0), COUNT, COUNT),
    ev.AttemptFailed: (COUNT, COUNT, TEXT, COUNT, COUNT, COUNT, st.booleans(), *[TEXT] * 5),
    ev.ItemsFailed: (COUNT, COUNT, TEXT, COUNT, COUNT, *[TEXT] * 5),
    ev.RowsDropped: (*[COUNT] * 7, TEXT),
    ev.CallLimited: (COUNT, COUNT),
    ev.TypesChanged: (COUNT, TEXT),
    ev.ResultsReused: (COUNT, TEXT, *[COUNT] * 4),
    ev.DuplicatesCopied: (COUNT, COUNT),
    call_events.CallsLimited: (COUNT, COUNT, st.floats(0, 1e6), st.floats(0, 1e6), COUNT),
    call_events.CallsSpent: (COUNT, st.lists(st.tuples(*[COUNT] * 4), max_size=3).map(tuple)),
    call_events.CallsHeld: (COUNT, TEXT, COUNT, COUNT, COUNT),
    job_events.JobReported: (COUNT, *[TEXT] * 4),
    ev.ItemsSucceeded: (COUNT, COUNT, st.just("n0w1"), *[COUNT] * 10),
    ev.NodeSampled: (
        COUNT,
        TEXT,
        st.lists(st.tuples(TEXT, TEXT, COUNT, COUNT), max_size=3).map(tuple),
    ),
    ev.NodeJoined: (COUNT, TEXT, TEXT),
    ev.NodeLost: (COUNT, TEXT, TEXT),
    ev.WarningRaised: (COUNT, TEXT, TEXT),
    ev.CancelRequested: (COUNT, st.booleans()),
    ev.RunFinished: (COUNT, TEXT, TEXT, TEXT, COUNT, TEXT),
}
EVENTS = st.one_of(*(st.builds(kind, *fields) for kind, fields in KINDS.items()))


@given(EVENTS)
def test_every_event_survives_the_journal(event: ev.Event) -> None:
    line = encode(event)
    assert "\n" not in line
    assert line.isascii()
    assert decode(line) == event


def test_every_kind_of_event_is_tried_above() -> None:
    assert set(KINDS) == set(ev.Event.__args__)


def test_ends_and_warnings_of_older_journals_have_no_traceback() -> None:
    finished = '{"event":"RunFinished","at_ms":5,"state":"Failed","reason":"r","output":"","output_bytes":0}'
    assert decode(finished) == ev.RunFinished(5, "Failed", "r", "", 0, "")
    assert decode('{"event":"WarningRaised","at_ms":1,"text":"t"}') == ev.WarningRaised(1, "t")


def test_text_that_is_no_unicode_is_read_with_escapes_from_an_old_journal_too() -> None:
    name = os.fsdecode(b"caf\xe9.txt")
    line = json.dumps(["f", 1, 1, "n0w0", 5, 9, 1, True, "exception", "E", name, "E at x", name])
    event = decode(line)
    assert isinstance(event, ev.AttemptFailed)
    assert event.message == event.traceback == "caf\\udce9.txt"
    line = json.dumps(
        {"event": "WarningRaised", "at_ms": 5, "text": f"{name} \N{WHITE SMILING FACE}"}
    )
    assert decode(line) == ev.WarningRaised(5, "caf\\udce9.txt \N{WHITE SMILING FACE}")
    end = ev.RunFinished(5, "Completed", "", name, 1)
    assert decode(encode(end)) == end, "a path that is opened stays as it is"


def test_an_attempt_costs_less_than_150_bytes() -> None:
    event = ev.AttemptSucceeded(
        999_999, 3, "n199w63", 86_400_000, 60_000_000, 1000, 1000, 1000, 9, 10**12, 10**9, 2**32 - 1
    )
    assert len(encode(event)) < 120


@pytest.mark.parametrize(
    "line",
    ["", "x", "[]", '["z",1]', '["s",1]', "{}", '{"event":"Nothing"}', '{"event":"RunStarted"}'],
)
def test_a_line_that_is_no_event_is_a_clear_error(line: str) -> None:
    with pytest.raises(RunFolderError, match="is not an event of schema 1"):
        decode(line)


def test_a_field_of_a_newer_version_is_ignored() -> None:
    line = '{"event":"StateEntered","at_ms":5,"state":"Running","mood":"good"}'
    assert decode(line) == ev.StateEntered(5, "Running")


def test_a_resume_of_before_there_were_groups_is_one_of_all_that_failed() -> None:
    line = '{"event":"RunResumed","at_ms":5,"failed_only":true,"mini_batches":2,"script":""}'
    assert decode(line) == ev.RunResumed(5, True, 2, "", "")


@given(st.lists(EVENTS, max_size=8), st.integers(0, 200))
def test_a_torn_last_line_waits_for_its_end(
    tmp_path_factory: pytest.TempPathFactory, written: list[ev.Event], cut: int
) -> None:
    path = tmp_path_factory.mktemp("journal") / "events.jsonl"
    writer = JournalWriter(path)
    writer.append(written)
    writer.close()
    data = path.read_bytes()
    path.write_bytes(data[:cut])
    reader = JournalReader(path)
    first = list(reader.read())
    path.write_bytes(data)
    assert first + list(reader.read()) == written
    assert list(reader.read()) == []


@given(st.integers(0, 120))
def test_a_new_writer_cuts_off_a_torn_line(
    tmp_path_factory: pytest.TempPathFactory, cut: int
) -> None:
    path = tmp_path_factory.mktemp("journal") / "events.jsonl"
    events = [ev.StateEntered(k, "Running") for k in range(3)]
    writer = JournalWriter(path)
    writer.append(events)
    writer.close()
    whole = path.read_bytes()
    path.write_bytes(whole[:cut])
    kept = whole[:cut].count(b"\n")
    writer = JournalWriter(path)
    writer.append([ev.StateEntered(9, "Finalizing")])
    writer.close()
    assert list(JournalReader(path).read()) == [*events[:kept], ev.StateEntered(9, "Finalizing")]


def test_a_journal_that_is_not_there_yet_is_empty(tmp_path: Path) -> None:
    assert list(JournalReader(tmp_path / "none").read()) == []
