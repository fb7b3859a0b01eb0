"""Folding: every order in which the files of results appear gives the same answers, each once."""

from __future__ import annotations

import json
from zlib import crc32

from hypothesis import given
from hypothesis import strategies as st

from parallelrun_jupyter.backends.azureml.folding import Assigned, Folding
from parallelrun_jupyter.backends.azureml.job_end import read_table
from parallelrun_jupyter.backends.azureml.job_file import JobNote, spans_of
from parallelrun_jupyter.backends.azureml.result_reader import Result, mini_batch_of, read_result
from parallelrun_jupyter.worker.plan_line import PlanLine

ITEMS = 3
FAILURE = {"kind": "exception", "error": "E", "message": "", "group": "E at f", "traceback": ""}


def line_of(mini_batch: int) -> PlanLine:
    return PlanLine(0, [f"{mini_batch}-{item}" for item in range(ITEMS)], [], [])


def file_of(mini_batch: int, worker: str, number: int, reply: list[object], rows: bytes) -> bytes:
    head = {
        "mini_batch": mini_batch, "worker": worker, "duration_us": 5, "length": len(rows),
        "crc": crc32(rows), "reply": reply,
    }  # fmt: skip
    return json.dumps(head).encode() + b"\n" + rows


def files_of(mini_batch: int, failures: int, *, ends: bool) -> dict[str, bytes]:
    """Return the files of a mini-batch that fails some times in workers of its own, then succeeds."""
    files = {}
    for number in range(failures):
        reply: list[object] = ["failed", mini_batch, 1, ITEMS, 5, FAILURE]
        path = f"done/{mini_batch:08d}.f{number}.1"
        files[path] = file_of(mini_batch, f"f{number}", 1, reply, b"")
    if ends:
        rows = b"a\nb\nc\n"
        row = [mini_batch, 1, ITEMS, 3, 5, len(rows), crc32(rows)]
        path = f"done/{mini_batch:08d}.a.1"
        files[path] = file_of(mini_batch, "a", 1, ["done", 5, len(rows), [row]], rows)
    return files


courses = st.lists(st.tuples(st.integers(0, 3), st.booleans()), min_size=1, max_size=6)


@given(courses, st.data())
def test_answers_are_the_same_in_each_order_of_the_files(  # noqa: C901, PLR0912 - one course
    course: list[tuple[int, bool]], data: st.DataObject
) -> None:
    """The scheduler assigns the next attempt after a failure; a driver may die between any two files."""
    files: dict[str, bytes] = {}
    for mini_batch, (failures, ends) in enumerate(course):
        files.update(files_of(mini_batch, failures, ends=ends))
    paths = data.draw(st.permutations(sorted(files)))
    first = dict.fromkeys(range(len(course)), 1)
    folding = Folding(first)
    attempts = dict(first)
    seen: dict[int, list[str]] = {k: [] for k in first}
    for mini_batch in first:
        folding.assign(Assigned(mini_batch, 1, line_of(mini_batch).encode()))
    listed: list[str] = []
    while len(listed) < len(paths):
        listed += paths[len(listed) : len(listed) + data.draw(st.integers(1, 4))]
        folding.list_files(listed)
        while True:
            for path in folding.wanted():
                result = read_result(path, files[path])
                assert result is not None
                folding.add(result)
            answered = folding.answered()
            for assigned, result in answered:
                k = assigned.mini_batch
                assert assigned.attempt == attempts[k]
                seen[k].append(result.path)
                attempts[k] += 1
                if result.kind == "failed":
                    folding.assign(Assigned(k, attempts[k], line_of(k).encode()))
            if not answered:
                break
        if data.draw(st.booleans()):  # the driver dies: its successor is told what is left
            left = [k for k, paths_ in seen.items() if not any(".a." in path for path in paths_)]
            folding = Folding(first)
            for k in left:
                folding.assign(Assigned(k, attempts[k], line_of(k).encode()))
            folding.list_files(listed)
    for mini_batch, (failures, ends) in enumerate(course):
        if ends:
            assert seen[mini_batch][-1] == f"done/{mini_batch:08d}.a.1"
            assert len(seen[mini_batch]) <= failures + 1
        else:
            assert len(seen[mini_batch]) == failures
        assert len(seen[mini_batch]) == attempts[mini_batch] - 1


@given(st.binary(max_size=30), st.data())
def test_a_file_that_is_not_whole_is_no_result(rows: bytes, data: st.DataObject) -> None:
    content = file_of(7, "w", 1, ["failed", 7, 1, 3, 5, FAILURE], rows)
    assert isinstance(read_result("done/00000007.w.1", content), Result)
    cut = data.draw(st.integers(0, len(content) - 1))
    assert read_result("done/00000007.w.1", content[:cut]) is None


def test_a_second_run_of_a_mini_batch_that_is_answered_answers_nothing() -> None:
    """Azure runs a mini-batch again whose node was lost after it had written its result."""
    folding = Folding({7: 1})
    folding.assign(Assigned(7, 1, line_of(7).encode()))
    results = [[0, 1, 1, 2, 0], [2, 1, 1, 2, 0]]
    reply = ["answered", 7, 4, 1, 3, 5, results, [[[[1, 1]], ["bad"], FAILURE]]]
    for worker in ("a", "b"):
        result = read_result(f"done/00000007.{worker}.1", file_of(7, worker, 1, reply, b"x\ny\n"))
        assert result is not None
        assert result.ranges == ((0, 3),)
        folding.add(result)
    assert len(folding.answered()) == 1
    part = line_of(7).only(((1, 1),)).encode()
    folding.assign(Assigned(7, 2, part))
    assert folding.answered() == []
    assert not folding.is_sent(7)
    again = ["failed", 7, 2, 1, 5, FAILURE]
    result = read_result("done/00000007.a.2", file_of(7, "a", 2, again, b""))
    assert result is not None
    folding.add(result)
    assert [(a.attempt, r.path) for a, r in folding.answered()] == [(2, "done/00000007.a.2")]


@given(st.dictionaries(st.integers(0, 40), st.integers(1, 3)))
def test_spans_have_all_attempts(attempts: dict[int, int]) -> None:
    spans = spans_of(sorted(attempts.items()))
    assert JobNote("j", "c", spans).first_attempts() == attempts


def test_rows_of_the_table_are_found_by_the_name_of_the_plan_file_or_by_its_place() -> None:
    head = "Mini-batch Id,Picked Count,Status,Error Message,Mini-batch Detail\n"
    text = (
        head
        + "0,1,RUN_DONE,,\n1,3,RUN_TIMEOUT,late,\n9,1,RUN_EXCEPTION,x,plan/00000012.json\n8,1,RUN"
    )
    rows = read_table(text.encode(), [12, 4, 6])
    assert {k: row.status for k, row in rows.items()} == {
        4: "RUN_DONE",
        6: "RUN_TIMEOUT",
        12: "RUN_EXCEPTION",
    }


def test_other_files_are_no_results() -> None:
    assert mini_batch_of("done/00000017.node-1-ab.2") == 17
    assert mini_batch_of("workers/node-1.json") == -1
    assert mini_batch_of("done/.00000017.tmp") == -1
