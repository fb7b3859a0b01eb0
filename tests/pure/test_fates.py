"""A resume decides by item: whose rows are kept, what runs again, and which inputs may have changed."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parallelrun_jupyter.client.resume import _check_kept_rows, _check_resumable, _failed_group
from parallelrun_jupyter.data.local.file_versions import FileVersions
from parallelrun_jupyter.engine.driver import Driver
from parallelrun_jupyter.engine.planning.fates import WHOLE, Fate, resume_fates
from parallelrun_jupyter.engine.planning.plan_file import write_plan
from parallelrun_jupyter.errors import ConfigError, InputError, RunFolderError
from parallelrun_jupyter.runs.journal.events import (
    AttemptFailed,
    AttemptSucceeded,
    Event,
    ItemsFailed,
    ItemsSucceeded,
    PlanFinished,
    RowsDropped,
    RunFinished,
    RunResumed,
    RunStarted,
)
from parallelrun_jupyter.runs.journal.files import JournalWriter
from parallelrun_jupyter.runs.journal.short_results import ShortResults
from parallelrun_jupyter.runs.journal.state import RunState
from parallelrun_jupyter.runs.resume_request import ResumeRequest, write_resume
from parallelrun_jupyter.runs.run_folder import RunFolder
from parallelrun_jupyter.runs.snapshot.snapshot import (
    is_resumable,
    short_results_exceed,
    take_snapshot,
)
from tests import journals

OF = 5
GROUPS = ("A at s.py:1", "B at s.py:2")
SHORT = "ShortResult at s.py:3"


def attempt_failed(k: int, group: str, *, is_last: bool) -> AttemptFailed:
    return AttemptFailed(k, 1, "w", 1, 9, OF, is_last, "exception", "E", "bad", group, "")


def items_failed(k: int, ranges: tuple[tuple[int, int], ...], group: str) -> ItemsFailed:
    count = sum(n for _, n in ranges)
    return ItemsFailed(
        k, 2, "w", 1, count, "exception", "E", "bad", group, "", ranges, ("bad",), OF
    )


def short(k: int, attempt: int, missing: int) -> ItemsFailed:
    return ItemsFailed(k, attempt, "w", 1, missing, "short_result", "S", "few", SHORT, "")


def succeeded(k: int, rows: int = OF) -> AttemptSucceeded:
    return AttemptSucceeded(k, 1, "w", 1, 9, OF, min(OF, rows), rows, 1, 0, rows, 0)


def items_succeeded(k: int, first: int, items: int, rows: int, attempt: int = 2) -> ItemsSucceeded:
    return ItemsSucceeded(k, attempt, "w", 1, 9, first, items, OF, rows, 1, 0, rows, 0)


@dataclass
class Model:
    """The items of a mini-batch one by one, as a reader of the journal would tell them."""

    #: "kept", "short", a failure group, or "" without an answer
    items: list[str] = field(default_factory=lambda: [""] * OF)
    events: list[Event] = field(default_factory=list)
    last_group: str = ""

    def is_retried(self, group: str) -> bool:
        groups = {*self.items, self.last_group} & {*GROUPS}
        return bool(groups & {group} if group else groups)

    def fates(self, request: ResumeRequest) -> list[Fate]:
        only = request.failed_only or bool(request.group)
        return [self._fate(item, request.group, only=only) for item in self.items]

    def _fate(self, item: str, group: str, *, only: bool) -> Fate:
        if item == "kept":
            return Fate.KEPT
        if item == "short":
            return Fate.RETRIED if only and group in {"", SHORT} else Fate.KEPT
        if item:
            return Fate.RETRIED if group in {"", item} else Fate.LEFT_ALONE
        if self.last_group and group in {"", self.last_group}:
            return Fate.RETRIED
        return Fate.LEFT_ALONE if only and not self.is_retried(group) else Fate.FIRST


@st.composite
def models(draw: Callable[..., Any], k: int) -> Model:
    model = Model()
    course = draw(st.sampled_from(["nothing", "whole", "fails", "retries", "items"]))
    group = draw(st.sampled_from(GROUPS))
    if course == "whole":
        rows = draw(st.sampled_from([OF, OF, OF + 1, 2]))
        model.items = ["short" if rows < OF else "kept"] * OF
        model.events = [succeeded(k, rows), *([short(k, 1, OF - rows)] if rows < OF else [])]
    elif course == "fails":
        model.items = [group] * OF
        model.events = [attempt_failed(k, group, is_last=True)]
    elif course == "retries" or (course == "items" and draw(st.booleans())):
        model.last_group = group
        model.events = [attempt_failed(k, group, is_last=False)]
    if course == "items":
        draw_answers(draw, k, model)
    return model


def draw_answers(draw: Callable[..., Any], k: int, model: Model) -> None:
    first = 0
    while first < OF:
        items = draw(st.integers(1, OF - first))
        fate = draw(st.sampled_from(["", "kept", "short", *GROUPS]))
        model.items[first : first + items] = [fate] * items
        attempt = 2 + first
        if fate in GROUPS:
            model.last_group = fate
            model.events.append(items_failed(k, ((first, items),), fate))
        elif fate:
            rows = items if fate == "kept" else items - 1
            model.events.append(items_succeeded(k, first, items, rows, attempt))
            if rows < items:
                model.events.append(short(k, attempt, 1))
        first += items
    if all(model.items):
        model.last_group = ""


@given(
    drawn=st.tuples(*(models(k) for k in range(4))),
    failed_only=st.booleans(),
    group=st.sampled_from(["", "", *GROUPS, SHORT]),
)
def test_each_item_has_its_own_fate(
    drawn: tuple[Model, ...], failed_only: bool, group: str
) -> None:
    state, shorts = RunState(), ShortResults()
    for model in drawn:
        for event in model.events:
            state.apply(event)
            shorts.note(event)
    request = ResumeRequest(failed_only=failed_only, group=group)
    dropped = shorts.in_group(group) if failed_only or group else []
    fate_of = resume_fates(state, request, dropped)
    for k, model in enumerate(drawn):
        expected = model.fates(request)
        assert [fate_of(k, position) for position in range(OF)] == expected
        whole = fate_of(k, WHOLE)
        assert (whole is Fate.KEPT) == (Fate.KEPT in expected)
        if len(set(expected)) == 1:
            assert whole is expected[0]
        elif whole is not Fate.KEPT:
            assert whole is Fate.FIRST, "rows of a table may not move under items that stay"
    assert fate_of(9, 0) is (Fate.LEFT_ALONE if failed_only or group else Fate.FIRST)


@given(drawn=st.tuples(*(models(k) for k in range(4))), group=st.sampled_from(["", SHORT]))
def test_dropping_short_results_leaves_the_items_to_run(
    drawn: tuple[Model, ...], group: str
) -> None:
    state, shorts = RunState(), ShortResults()
    events: list[Event] = [event for model in drawn for event in model.events]
    for event in events:
        state.apply(event)
        shorts.note(event)
    dropped = shorts.in_group(group)
    state.apply(RunResumed(2, failed_only=True, mini_batches=1, script="", group=group))
    for drop in dropped:
        state.apply(drop)
        shorts.note(drop)
    assert not shorts.in_group()
    kept = sum(item == "kept" for model in drawn for item in model.items)
    others = sum(item in GROUPS for model in drawn for item in model.items)
    assert state.items_succeeded == kept
    assert state.items_failed == (0 if not group else others)
    for k, model in enumerate(drawn):
        if set(model.items) == {"short"} and k not in state.answers:
            state.apply(succeeded(k))
            kept += OF
    assert state.items_succeeded == kept
    missing = sum(row.items_missing for row in state.groups.values())
    assert missing == 0


# Inputs of items


@pytest.fixture
def planned(tmp_path: Path) -> tuple[Any, Path, list[Path]]:
    """Return the record, the plan and the files of a run with one mini-batch of five files."""
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(OF):
        (folder / f"{number}.txt").write_text(f"{number}")
    datasets = [{"kind": "files", "paths": [str(folder)]}]
    record = journals.record(inputs={"datasets": datasets, "mini_batch_size": OF})
    plan = tmp_path / "plan.jsonl"
    write_plan(record, plan, lambda *_: None)
    with closing(FileVersions(plan)) as versions:
        versions.record()
    return record, plan, sorted(folder.iterdir())


FATES = [Fate.KEPT, Fate.RETRIED, Fate.FIRST, Fate.LEFT_ALONE, Fate.RETRIED]


def fate_of(_: int, position: int) -> Fate:
    return Fate.KEPT if position == WHOLE else FATES[position]


def test_only_inputs_of_failed_items_may_have_changed(
    planned: tuple[Any, Path, list[Path]],
) -> None:
    record, plan, files = planned
    warnings: list[str] = []

    def check() -> None:
        write_plan(record, plan, lambda *_: None, fate_of, warnings.append)

    versions = plan.with_name("versions")
    before = versions.read_bytes()
    files[1].write_text("repaired")
    files[3].write_text("not yet")
    files[4].unlink()
    check()
    assert len(warnings) == 1
    assert warnings[0].startswith("1 input of failed items has changed since the run was planned")
    after = versions.read_bytes()
    assert [after[16 * k : 16 * k + 16] == before[16 * k : 16 * k + 16] for k in range(OF)] == [
        True, False, True, True, True,
    ], "only the repaired file's version is replaced"  # fmt: skip
    check()
    assert len(warnings) == 1
    files[0].unlink()  # a script may delete inputs that it has read
    check()
    files[0].write_text("another")
    with pytest.raises(InputError, match=r"0\.txt' has changed .*rows that mini-batch 0 made"):
        check()
    files[0].unlink()
    files[2].write_text("another")
    with pytest.raises(InputError, match=r"2\.txt' has changed since the run was planned, so that"):
        check()
    files[2].unlink()
    with pytest.raises(InputError, match=r"2\.txt' no longer exists since the run was planned"):
        check()


def test_files_of_items_left_alone_stay_without_a_version(
    planned: tuple[Any, Path, list[Path]],
) -> None:
    _, plan, _ = planned
    plan.with_name("versions").unlink()
    with closing(FileVersions(plan)) as versions:
        versions.record(lambda k, position: fate_of(k, position) is Fate.LEFT_ALONE)
    data = plan.with_name("versions").read_bytes()
    assert [data[16 * k : 16 * k + 16] == bytes(16) for k in range(OF)] == [
        fate is Fate.LEFT_ALONE for fate in FATES
    ]


# The request, its answer, and the driver


def run_of(
    home: Path, *events: Event, end: str = "Completed", **settings: Any
) -> tuple[RunFolder, Any, RunState]:
    """Return a run of two mini-batches that has ended, and its state."""
    record = journals.record(**settings)
    folder = RunFolder(home / "runs" / record.run_id)
    for path in (folder.output, folder.control, folder.user_logs):
        path.mkdir(parents=True)
    folder.record.write_text(record.to_json())
    lines = [
        ["f", 0, [f"/in/{OF * k + n}" for n in range(OF)], [1] * OF, ["e"] * OF] for k in (0, 1)
    ]
    folder.plan.write_text("".join(json.dumps(line) + "\n" for line in [*lines, ["end", 2, 10]]))
    whole = [
        RunStarted(0, 1, os.getpid(), "h"), PlanFinished(1, 2, 2 * OF), *events,
        RunFinished(9, end, "", "/out", 9),
    ]  # fmt: skip
    writer = JournalWriter(folder.journal)
    writer.append(whole)
    writer.close()
    state = RunState()
    state.apply_all(whole)
    return folder, record, state


def refusal(folder: RunFolder, record: Any, state: RunState, *, failed_only: bool) -> str:
    """Return why a resume is refused, or an empty text."""
    snapshot = take_snapshot(folder, record, state, journals.CREATED + 10)
    try:
        _check_resumable(snapshot, state, failed_only=failed_only)
        _check_kept_rows(folder, record, state)
    except RunFolderError as error:
        return str(error)
    return ""


def test_a_completed_run_with_failed_items_goes_on_either_way(tmp_path: Path) -> None:
    failed = items_failed(1, ((4, 1),), GROUPS[0])
    folder, record, state = run_of(tmp_path, succeeded(0), items_succeeded(1, 0, 4, 4), failed)
    (folder.output / "part-1.rows").write_bytes(b"rows")
    assert not state.is_all_done
    assert is_resumable(state, record)
    assert refusal(folder, record, state, failed_only=True) == ""
    assert refusal(folder, record, state, failed_only=False) == ""
    assert _failed_group(state, GROUPS[0], "r") == GROUPS[0]
    with pytest.raises(ConfigError, match=r"no failed item of run r is in the group 'C'"):
        _failed_group(state, "C", "r")


def test_short_results_run_again_only_when_asked_for(tmp_path: Path) -> None:
    folder, record, state = run_of(tmp_path, succeeded(0), succeeded(1, 2), short(1, 1, 3))
    assert state.is_all_done
    plain = refusal(folder, record, state, failed_only=False)
    assert "run() returned nothing for 3 items" in plain
    assert "run.resume(failed_only=True, entry_script=...)" in plain
    assert "runs those mini-batches again" in plain
    assert "Start a new run" in refusal(folder, record, state, failed_only=True), "no part files"
    (folder.output / "part-1.rows").write_bytes(b"rows")
    assert refusal(folder, record, state, failed_only=True) == ""
    assert _failed_group(state, SHORT, "r") == SHORT
    few = journals.record(limits={"error_threshold": 2})
    assert short_results_exceed(state, few) == 3
    assert short_results_exceed(state, few, SHORT) == 0
    folder, record, state = run_of(tmp_path / "b", succeeded(0), succeeded(1))
    assert "nothing in it failed" in refusal(folder, record, state, failed_only=True)


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (ResumeRequest(), []),
        (ResumeRequest(failed_only=True), [(0, 2, 2), (1, 0, OF)]),
        (ResumeRequest(failed_only=True, group=SHORT), [(0, 2, 2), (1, 0, OF)]),
        (ResumeRequest(failed_only=True, group=GROUPS[0]), []),
    ],
)
def test_a_driver_finds_the_short_results_that_a_resume_drops(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request_: ResumeRequest,
    expected: list[tuple[int, int, int]],
) -> None:
    folder, _, state = run_of(
        tmp_path,
        items_succeeded(0, 0, 2, 2), items_failed(0, ((4, 1),), GROUPS[0]),
        items_succeeded(0, 2, 2, 1, 3), short(0, 3, 1),
        succeeded(1, 1), short(1, 1, OF - 1), RunResumed(3, True, 2, ""),
        RowsDropped(3, 1, 0, OF, OF, 1, 1, SHORT), succeeded(1, 3), short(1, 1, OF - 3),
    )  # fmt: skip
    assert state.items_succeeded == 2 + 1 + 3
    write_resume(folder, request_)
    passed: list[Any] = []

    class NoScheduler:
        state = RunState()

        def __init__(self, *_: Any, short_results: list[Any], **__: Any) -> None:
            passed.extend(short_results)

    monkeypatch.setattr("parallelrun_jupyter.engine.driver.Scheduler", NoScheduler)
    driver = Driver(folder, lambda *_: NoPool())  # type: ignore[arg-type]
    driver.close()
    assert [(event.mini_batch, event.first, event.items) for event in passed] == expected
    if expected:
        assert [(e.of, e.items_succeeded, e.rows, e.group) for e in passed] == [
            (OF, 1, 1, SHORT), (OF, 3, 3, SHORT),
        ]  # fmt: skip


class NoPool:
    """A pool of a driver that does not run."""

    nodes = ("n0",)

    def close(self) -> None:
        pass
