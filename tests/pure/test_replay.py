"""The past of a run: each moment is what the journal up to then says, and what a page unpacks."""

from __future__ import annotations

import base64
import gzip
import json
import os
import tempfile
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parallelrun_jupyter.runs import driver_lock
from parallelrun_jupyter.runs.journal import events as ev
from parallelrun_jupyter.runs.journal.files import JournalReader
from parallelrun_jupyter.runs.journal.lines import encode
from parallelrun_jupyter.runs.journal.state import RunState
from parallelrun_jupyter.runs.run_folder import RunFolder
from parallelrun_jupyter.runs.run_record import RunRecord
from parallelrun_jupyter.runs.snapshot.replay import Replay
from parallelrun_jupyter.runs.snapshot.snapshot import Snapshot, take_snapshot
from parallelrun_jupyter.views import frames as frames_module
from parallelrun_jupyter.views.frames import frames
from parallelrun_jupyter.views.recording import take_recording, to_json
from tests.journals import CREATED, Course, events_of, record, write_run


def as_then(folder: RunFolder, events: list[ev.Event], at_ms: int) -> Snapshot:
    """Return what a view showed at a moment, when the journal had no later events."""
    state = RunState()
    state.apply_all(event for event in events if event.at_ms <= at_ms)
    return take_snapshot(folder, record(), state, CREATED + (at_ms + 0.5) / 1000)


def unpacked(packed: str) -> list[dict[str, Any]]:
    """Return the whole output of each frame, in the way that the page does."""
    output: dict[str, Any] = {"snapshot": {}}
    whole = []
    for position, changes, snapshot in json.loads(gzip.decompress(base64.b64decode(packed))):
        output = {**output, **changes, "snapshot": {**output["snapshot"], **snapshot}}
        whole.append({"position": position, **output})
    return whole


def living(folder: RunFolder) -> RunFolder:
    """Return the folder, whose driver is this very process."""
    (folder.path / "driver.json").write_text(json.dumps(driver_lock.identity(os.getpid())))
    return folder


courses = st.builds(
    Course,
    mini_batches=st.integers(1, 40),
    workers=st.integers(1, 6),
    seed=st.integers(0, 1000),
    fails=st.sampled_from([lambda *_: False, lambda k, a: k % 7 == 3, lambda k, a: a < k % 3]),
    start_s=st.floats(0.05, 3),
)


@settings(max_examples=25, deadline=None)
@given(course=courses, step_ms=st.integers(300, 5000))
def test_each_step_is_what_a_view_showed_then(course: Course, step_ms: int) -> None:
    events = list(events_of(course))
    with tempfile.TemporaryDirectory() as home:
        folder = living(write_run(Path(home), course))
        replay = Replay(folder.run_id, (record(), record()), step_ms)
        moments = list(replay.moments(events))
        for moment in moments:
            at_ms = round(moment.snapshot["at_s"] * 1000)
            assert moment.position_ms == at_ms, "one driver, so no pauses"
            if not moment.is_turn:
                assert moment.snapshot == as_then(folder, events, at_ms)
        steps = [moment.position_ms for moment in moments if not moment.is_turn]
        assert steps == list(range(0, events[-1].at_ms, step_ms))
        states = [moment.snapshot["state"] for moment in moments]
        kept = [state for k, state in enumerate(states) if [state] != states[k - 1 : k]]
        assert kept == ["Planning", "Running", "Finalizing", "Completed"]
        positions = [moment.position_ms for moment in moments]
        assert positions == sorted(positions)


def test_the_first_failure_of_each_kind_has_a_moment(home: Path) -> None:
    course = Course(mini_batches=400, workers=2, fails=lambda k, _a: k in {11, 200})
    replay = Replay("r", (record(), record()), 10**9)
    list(JournalReader(write_run(home, course).journal).read())
    moments = [m for m in replay.moments(events_of(course)) if m.is_turn]
    first = [m.snapshot["attempts_failed"] for m in moments if m.snapshot["state"] == "Running"]
    assert first == [0, 1, 4]  # the start, the first attempt of mini-batch 11, then that of 200


def test_attempts_end_when_the_journal_says(home: Path) -> None:
    course = Course(mini_batches=30, workers=2, fails=lambda k, a: k == 4 and a < 3)
    replay = Replay("r", (record(), record()), 1000, noted={4, 9})
    list(replay.moments(events_of(course)))
    attempts = (ev.AttemptSucceeded, ev.AttemptFailed)
    told = {
        (e.mini_batch, e.attempt): e.at_ms
        for e in events_of(course)
        if isinstance(e, attempts) and e.mini_batch in {4, 9}
    }
    assert replay.ends == told
    assert sorted(told) == [(4, 1), (4, 2), (4, 3), (9, 1)]


def resumed() -> list[ev.Event]:
    """Return the events of a run whose driver was killed after 20 s, and that was resumed a day later."""
    events = [e for e in events_of(Course(mini_batches=100, workers=2)) if e.at_ms <= 20_000]
    rest = [k for k in range(100) if k not in {getattr(e, "mini_batch", -1) for e in events}]
    day = 86_400_000
    later: list[ev.Event] = [
        ev.RunStarted(day, 1, 1, "here"),
        ev.RunResumed(day, False, len(rest), ""),
        ev.StateEntered(day + 100, "Running"),
    ]
    later += [
        ev.AttemptSucceeded(k, 1, "n1w0", day + 200 * n, 9, 5, 5, 5, 1, 0, 10, 0)
        for n, k in enumerate(rest, 1)
    ]
    end = later[-1].at_ms + 10
    return [*events, *later, ev.RunFinished(end, "Completed", "", "/out/rows.txt", 10)]


def test_the_pause_before_a_resume_takes_no_time(home: Path) -> None:
    folder = write_run(home, Course(mini_batches=100, workers=2))
    folder.journal.write_text("".join(encode(event) + "\n" for event in resumed()))
    state = RunState()
    state.apply_all(resumed())
    snapshot = take_snapshot(folder, record(), state)
    shown = unpacked(frames(folder, state, snapshot, ())["packed"])
    positions = [frame["position"] for frame in shown]
    assert positions == sorted(set(positions))
    assert positions[-1] < 60_000
    assert max(later - earlier for earlier, later in pairwise(positions)) < 2000
    states = [frame["snapshot"]["state"] for frame in shown]
    interrupted = states.index("Interrupted")
    assert shown[interrupted]["snapshot"]["reason"] == "driver lost: its process has ended"
    assert "Planning" in states[:interrupted]
    assert set(states[interrupted + 1 :]) <= {"Planning", "Running", "Completed"}
    done = [frame["snapshot"]["succeeded"] for frame in shown]
    assert done == sorted(done)
    assert done[-1] == 100


@pytest.mark.parametrize("step_ms", [70, 300, 7000, 30_000])
def test_no_moment_is_between_two_drivers(step_ms: int) -> None:
    replay = Replay("r", (record(), record()), step_ms)
    moments = list(replay.moments(resumed()))
    lost = next(k for k, m in enumerate(moments) if m.snapshot["state"] == "Interrupted")
    assert moments[lost].snapshot["at_s"] <= 20
    later = [moment.snapshot["at_s"] for moment in moments[lost + 1 :]]
    assert later[0] == 86_400
    assert later == sorted(later)


def test_a_clock_that_was_a_month_ahead_for_a_while_adds_a_bounded_number_of_moments() -> None:
    month = 30 * 86_400_000
    ahead = [ev.NodeSampled(month + k, "n0", ()) for k in range(3)]
    events: list[ev.Event] = [*events_of(Course(mini_batches=20, workers=2))]
    events[30:30] = ahead
    moments = list(islice(Replay("r", (record(), record()), 50).moments(events), 10_000))
    assert len(moments) < 2100
    assert moments[-1].snapshot["state"] == "Completed"


def test_limits_that_are_not_known_are_not_shown() -> None:
    week = 7 * 86_400_000
    events = [*resumed(), ev.RunStarted(week, 1, 1, "here"), ev.StateEntered(week + 5, "Running")]
    raised = (record(), record(limits={"error_threshold": 50}))

    def allowed(records: tuple[RunRecord, RunRecord]) -> list[list[int]]:
        moments = list(Replay("r", records, 10_000, drivers=3).moments(events))
        shown = [[row["allowed"] for row in m.snapshot["budgets"]] for m in moments]
        return [limits for k, limits in enumerate(shown) if [limits] != shown[k - 1 : k]]

    assert allowed(raised) == [[20], [], [50]]
    assert allowed((record(), record())) == [[20]]


def test_the_last_frame_is_the_report_itself(home: Path) -> None:
    folder = write_run(home, Course(mini_batches=300, workers=3, fails=lambda k, _a: k == 40))
    state = RunState()
    state.apply_all(JournalReader(folder.journal).read())
    recording = take_recording(folder, state, take_snapshot(folder, record(), state))
    assert recording["frames"] is not None
    last = unpacked(recording["frames"]["packed"])[-1]
    assert last["snapshot"] == recording["output"]["snapshot"]
    assert last["at"] == pytest.approx(CREATED + state.at_ms / 1000, abs=0.01)
    ends = {(mini_batch, attempt): ms for mini_batch, attempt, ms in recording["frames"]["ends"]}
    for group in recording["failures"]:
        for row in group["rows"]:
            assert (row["mini_batch"], row["attempt"]) in ends
    assert json.loads(to_json(recording)) == recording


def test_frames_are_left_out_until_they_fit_and_turns_last(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    course = Course(mini_batches=3000, workers=8, fails=lambda k, _a: k == 1500)
    folder = write_run(home, course)
    state = RunState()
    state.apply_all(JournalReader(folder.journal).read())
    snapshot = take_snapshot(folder, record(), state)
    whole = frames(folder, state, snapshot, ())["packed"]
    monkeypatch.setattr(frames_module, "FRAMES_LIMIT_BYTES", 40_000)
    fewer = frames(folder, state, snapshot, ())["packed"]
    assert len(fewer) <= 40_000 < len(whole) <= 400_000
    states = {frame["snapshot"]["state"] for frame in unpacked(fewer)}
    assert {"Planning", "Running", "Completed"} <= states
    assert 10 < len(unpacked(fewer)) < len(unpacked(whole)) < 260


def test_a_turn_that_falls_on_a_step_is_kept(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    course = Course(mini_batches=3000, workers=8, start_s=0.4)
    folder = write_run(home, course)
    events = list(events_of(course))
    lines = [encode(event) + "\n" for event in events]
    state = RunState()
    state.apply_all(events)
    step_ms = state.at_ms // 180
    turn = ev.StateEntered(step_ms * 91, "Running")  # as after a pause of a job's service
    middle = next(k for k, event in enumerate(events) if event.at_ms > turn.at_ms)
    folder.journal.write_text("".join([*lines[:middle], encode(turn) + "\n", *lines[middle:]]))
    monkeypatch.setattr(frames_module, "FRAMES_LIMIT_BYTES", 20_000)
    snapshot = take_snapshot(folder, record(), state)
    shown = unpacked(frames(folder, state, snapshot, ())["packed"])
    assert len(shown) < 100
    assert turn.at_ms in [frame["position"] for frame in shown]


def test_a_live_run_is_recorded_up_to_now(home: Path) -> None:
    course = Course(mini_batches=100, workers=2)
    folder = living(write_run(home, course, until_s=10))
    state = RunState()
    state.apply_all(JournalReader(folder.journal).read())
    snapshot = take_snapshot(folder, record(), state, CREATED + 12)
    shown = unpacked(frames(folder, state, snapshot, ())["packed"])
    assert shown[-1]["position"] == 12_000
    assert {frame["snapshot"]["state"] for frame in shown[-20:]} == {"Running"}
