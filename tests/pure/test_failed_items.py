"""The list of failed items agrees with the counts of the run, at every prefix of its journal."""

from __future__ import annotations

import json
import random
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parallelrun_jupyter.runs.failed_items import FailedItem, failed_items
from parallelrun_jupyter.runs.journal import events as ev
from parallelrun_jupyter.runs.journal.lines import encode
from parallelrun_jupyter.runs.journal.state import RunState
from parallelrun_jupyter.runs.run_folder import RunFolder
from tests import journals

OF = 6
"""Items in each mini-batch of the random journals."""

GROUPS = ("ValueError at score.py:9 in run", "OSError at score.py:4 in load")


def plan_of(mini_batches: int, of: int = OF) -> list[list[Any]]:
    """Return the plan of mini-batches of files, ``/in/0000.png`` and so on."""
    lines: list[list[Any]] = []
    for k in range(mini_batches):
        paths = [f"/in/{k * of + n:04d}.png" for n in range(of)]
        lines.append(["f", 0, paths, [], [], {"first": k * of}])
    return [*lines, ["end", mini_batches, mini_batches * of]]


def write_run(path: Path, plan: list[list[Any]], events: Iterable[ev.Event]) -> RunFolder:
    """Write the folder of a run."""
    folder = RunFolder(path)
    for place in (folder.path, folder.user_logs, folder.output):
        place.mkdir(parents=True, exist_ok=True)
    folder.record.write_text(journals.record().to_json())
    folder.plan.write_text("".join(json.dumps(line) + "\n" for line in plan))
    folder.journal.write_text("".join(encode(event) + "\n" for event in events))
    return folder


def listed(path: Path, plan: list[list[Any]], events: Iterable[ev.Event]) -> list[FailedItem]:
    """Return the failed items of a run with these events."""
    return list(failed_items(write_run(path, plan, events)))


def failed(
    mini_batch: int,
    attempt: int = 1,
    *,
    ranges: ev.ItemRanges = (),
    is_last: bool = True,
    group: str = GROUPS[0],
    traceback: str = "",
    of: int = OF,
) -> ev.AttemptFailed:
    items = sum(count for _, count in ranges) if ranges else of
    error = group.partition(" ")[0]
    return ev.AttemptFailed(
        mini_batch, attempt, "n0w0", 100 * attempt, 9, items, is_last, "exception", error,
        f"bad {attempt}", group, traceback, ranges, of if ranges else 0,
    )  # fmt: skip


def items_failed(
    mini_batch: int,
    attempt: int,
    ranges: ev.ItemRanges,
    messages: tuple[str, ...] = (),
    **fields: Any,
) -> ev.ItemsFailed:
    values = {
        "worker": "n0w0", "at_ms": 100 * attempt, "kind": "exception", "error": "ValueError",
        "message": "bad", "group": GROUPS[0], "traceback": "", "of": OF, **fields,
    }  # fmt: skip
    return ev.ItemsFailed(
        mini_batch, attempt, items=sum(count for _, count in ranges), ranges=ranges,
        messages=messages, **values,
    )  # fmt: skip


def succeeded(mini_batch: int, attempt: int = 1, rows: int = OF, of: int = OF) -> ev.Event:
    return ev.AttemptSucceeded(
        mini_batch, attempt, "n0w0", 100 * attempt, 9, of, min(rows, of), rows, 0, 0, 1, 0
    )


def short(mini_batch: int, attempt: int, missing: int) -> ev.ItemsFailed:
    return ev.ItemsFailed(
        mini_batch, attempt, "n0w0", 100 * attempt, missing, "short_result", "ShortResult",
        "run() returned too few results", "ShortResult at score.py:3 in run", "",
    )  # fmt: skip


def test_an_item_has_its_own_message_and_the_first_traceback_of_its_group(tmp_path: Path) -> None:
    events: list[ev.Event] = [
        failed(1, is_last=False, traceback="Traceback: first"),
        failed(1, 2, is_last=False),
        ev.ItemsSucceeded(1, 3, "n0w0", 300, 9, 0, 2, OF, 2, 0, 0, 1, 0),
        items_failed(1, 3, ((2, 2), (5, 1)), ("no header", "cut in half")),
        ev.ItemsSucceeded(1, 3, "n0w0", 300, 0, 4, 1, OF, 1, 0, 0, 1, 0),
    ]
    rows = listed(tmp_path, plan_of(3), events)
    assert [(row.item, row.mini_batch, row.position, row.number) for row in rows] == [
        ("/in/0008.png", 1, 2, 8),
        ("/in/0009.png", 1, 3, 9),
        ("/in/0011.png", 1, 5, 11),
    ]
    assert [row.message for row in rows] == ["no header", "no header", "cut in half"]
    assert {row.tries for row in rows} == {3}
    assert {row.traceback for row in rows} == {"Traceback: first"}
    assert {(row.error, row.place, row.kind, row.group) for row in rows} == {
        ("ValueError", "score.py:9 in run", "exception", GROUPS[0])
    }


def test_tries_count_the_attempts_of_the_item_only(tmp_path: Path) -> None:
    events: list[ev.Event] = [
        failed(0, 1, is_last=False),
        failed(0, 2, ranges=((0, 3),), is_last=False),
        failed(0, 3, ranges=((0, 1),)),
        ev.ItemsSucceeded(0, 4, "n0w0", 400, 9, 1, 2, OF, 2, 0, 0, 1, 0),
        # a failure of all items: the rest fails without an attempt of its own
        items_failed(0, 5, ((3, 3),), worker=""),
    ]
    rows = listed(tmp_path, plan_of(1), events)
    assert [(row.position, row.tries) for row in rows] == [(0, 3), (3, 1), (4, 1), (5, 1)]


def test_a_failed_mini_batch_is_all_of_its_items(tmp_path: Path) -> None:
    events = [failed(2, 1, is_last=False), failed(2, 2), succeeded(0), failed(1, is_last=False)]
    rows = listed(tmp_path, plan_of(3), events)
    assert [row.item for row in rows] == [f"/in/{n:04d}.png" for n in range(12, 18)]
    assert {(row.message, row.tries) for row in rows} == {("bad 2", 2)}


def test_the_items_of_a_short_result_are_unknown_unless_all_are_missing(tmp_path: Path) -> None:
    events = [succeeded(0, rows=4), short(0, 1, 2), succeeded(1, rows=0), short(1, 1, 6)]
    rows = listed(tmp_path, plan_of(2), events)
    assert [(row.item, row.position, row.number) for row in rows[:2]] == [(None, None, None)] * 2
    assert [row.position for row in rows[2:]] == list(range(OF))
    assert {(row.kind, row.message, row.tries, row.place) for row in rows} == {
        ("short_result", "run() returned too few results", 1, "score.py:3 in run")
    }


@pytest.mark.parametrize(
    ("lines", "names"),
    [
        # text: the rows before it in the same file are counted
        ([["t", 0, ["a.csv"], [], [], [[4, 40]], {"by": "bytes"}, 3],
          ["t", 0, ["a.csv"], [], [], [[40, 80]], {"by": "bytes"}, 2],
          ["t", 0, ["b.csv"], [], [], [[4, 40]], {"by": "bytes"}, 1]],
         ["a.csv: row 0", "a.csv: row 1", "a.csv: row 2", "a.csv: row 3", "a.csv: row 4", "b.csv: row 0"]),
        # Parquet: the plan has the rows of each file
        ([["t", 0, ["a.parquet", "b.parquet"], [], [], [[7, 9], [0, 1]], {"by": "rows"}, 3]],
         ["a.parquet: row 7", "a.parquet: row 8", "b.parquet: row 0"]),
        ([["t", 0, ["a.csv", "b.csv"], [], [], [[4, 9], [4, 9]], {}, 2]],
         ["a.csv and 1 other file: row 0", "a.csv and 1 other file: row 1"]),
        # keys: the partition follows
        ([["t", 0, ["x/data.parquet"], [], [], [[0, 2]], {"by": "rows"}, 2, {"keys": {"store": 1001, "brand": "b/c"}}],
          ["t", 0, ["y/data.csv"], [], [], [[4, 9]], {"by": "bytes"}, 1, {"keys": {"store": 7}}]],
         ["x/data.parquet: row 0 (store=1001, brand=b/c)", "x/data.parquet: row 1 (store=1001, brand=b/c)",
          "y/data.csv: row 0 (store=7)"]),
        ([["t", 0, ["bad.csv"], [], [], [[0, 0]], {"format": "unreadable"}, 1]], ["bad.csv"]),
        ([["f", 0, ["https://a.blob/x.png", "caf\udce9"], [], []]], ["https://a.blob/x.png", "caf\\udce9"]),
    ],
)  # fmt: skip
def test_the_name_of_an_item(tmp_path: Path, lines: list[Any], names: list[str]) -> None:
    counts = [line[7] if line[0] == "t" else len(line[2]) for line in lines]
    events = [failed(k, of=count) for k, count in enumerate(counts)]
    assert [row.item for row in listed(tmp_path, lines, events)] == names


def test_items_without_a_plan_have_no_name(tmp_path: Path) -> None:
    rows = listed(tmp_path, plan_of(3)[:1], [failed(0), failed(2)])
    assert [row.item is None for row in rows] == [False] * OF + [True] * OF
    (tmp_path / "plan.jsonl").unlink()
    assert len(list(failed_items(RunFolder(tmp_path)))) == 2 * OF


def test_the_log_is_that_of_the_failing_attempt(tmp_path: Path) -> None:
    events = [
        failed(0, 1, is_last=False),
        failed(0, 20, ranges=((0, 1),)),
        failed(0, 40, ranges=((1, 5),)),
    ]
    folder = write_run(tmp_path, plan_of(1), events)
    from parallelrun_jupyter.runs.failed_items import _Logs

    logs = _Logs(folder)
    lines = [(0, "whole"), (150, "of item 0"), *((2100 + n, f"line {n}") for n in range(8))]
    with open(folder.user_logs / "n0w0.log", "w") as file:
        file.writelines(f"{logs._stamp(at_ms)} INFO #0 {text}\n" for at_ms, text in lines)
        file.write(f"{logs._stamp(3000)} INFO #7 of another mini-batch\n")
    rows = list(failed_items(folder, logs=True))
    assert rows[0].log.endswith("INFO #0 of item 0")
    assert rows[0].log.count("\n") == 0
    assert [line.split(" ", 3)[3] for line in rows[1].log.splitlines()] == [
        f"#0 line {n}" for n in range(3, 8)
    ]
    assert not next(failed_items(folder)).log


class Journals:
    """Makes random journals in which mini-batches fail as a whole, in parts, and short, with resumes."""

    def __init__(self, seed: int, mini_batches: int) -> None:
        self.rng = random.Random(seed)
        self.state = RunState()
        self.events: list[ev.Event] = []
        self.attempts = [0] * mini_batches
        self.short: dict[int, list[tuple[int, int, int]]] = {}
        self._add(ev.PlanFinished(0, mini_batches, mini_batches * OF))

    def _add(self, event: ev.Event) -> None:
        self.events.append(event)
        self.state.apply(event)

    def step(self) -> None:
        """Let an attempt of a random mini-batch end, or resume the run."""
        k = self.rng.randrange(len(self.attempts))
        answers = self.state.answers.get(k)
        left = answers.left if answers is not None else ((0, OF),)
        is_done = self.state.status_of(k) not in {0, 3}
        if self.rng.random() < 0.08:
            self._resume()
        elif not is_done and left:
            self.attempts[k] += 1
            is_fresh = left == ((0, OF),)
            self._whole(k) if is_fresh and self.rng.random() < 0.5 else self._parts(k, left)

    def _whole(self, k: int) -> None:
        attempt = self.attempts[k]
        if self.rng.random() < 0.6:
            is_last = self.rng.random() < 0.5
            self._add(failed(k, attempt, is_last=is_last, group=self.rng.choice(GROUPS)))
            return
        rows = self.rng.choice([OF, OF, 4, 0])
        self._add(succeeded(k, attempt, rows))
        if rows < OF:
            self.short.setdefault(k, []).append((0, OF, rows))
            self._add(short(k, attempt, OF - rows))

    def _parts(self, k: int, left: ev.ItemRanges) -> None:
        attempt = self.attempts[k]
        first, count = self.rng.choice(left)
        count = self.rng.randint(1, count)
        middle = self.rng.randint(0, count)
        if middle:
            rows = self.rng.choice([middle, middle, 0, middle // 2])
            fields = (k, attempt, "n0w0", 100 * attempt, 9, first, middle, OF, rows, 0, 0, 1, 0)
            self._add(ev.ItemsSucceeded(*fields))
            if rows < middle:
                self.short.setdefault(k, []).append((first, middle, rows))
                self._add(short(k, attempt, middle - rows))
        rest = tuple((first + n, 1) for n in range(middle, count))
        if not rest:
            return
        group, is_last = self.rng.choice(GROUPS), self.rng.random() < 0.7
        if middle or self.rng.random() < 0.5:
            messages = tuple(str(at) for at, _ in rest)
            self._add(items_failed(k, attempt, rest, messages, group=group, is_last=is_last))
        else:
            self._add(failed(k, attempt, ranges=rest, group=group, is_last=is_last))

    def _resume(self) -> None:
        group = self.rng.choice(["", *GROUPS])
        self._add(ev.RunResumed(9, bool(group), 1, "", group))
        for k in [k for k in self.short if self.rng.random() < 0.5]:
            for first, items, rows in self.short.pop(k):
                short_group = "ShortResult at score.py:3 in run"
                self._add(ev.RowsDropped(9, k, first, items, OF, rows, rows, short_group))


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 1 << 30), st.integers(1, 4))
def test_there_are_as_many_as_the_run_has_failed_items(seed: int, mini_batches: int) -> None:
    course = Journals(seed, mini_batches)
    for _ in range(30):
        course.step()
    state = RunState()
    with tempfile.TemporaryDirectory() as home:
        for length, event in enumerate(course.events, start=1):
            state.apply(event)
            rows = listed(Path(home), plan_of(mini_batches), course.events[:length])
            assert len(rows) == state.items_failed
            named = [(row.mini_batch, row.position) for row in rows if row.position is not None]
            assert len(set(named)) == len(named)
            assert [row.mini_batch for row in rows] == sorted(row.mini_batch for row in rows)
            for k, answers in state.answers.items():
                if answers.failed:
                    expected = {
                        first + n: group
                        for first, count, group in answers.failed
                        for n in range(count)
                    }
                    shown = {row.position: row for row in rows if row.mini_batch == k}
                    assert all(shown[at].group == group for at, group in expected.items())
                    own = [row for row in shown.values() if row.message.isdecimal()]
                    assert all(int(row.message) == row.position for row in own)
            assert all(row.tries >= 1 for row in rows if row.kind != "short_result")
