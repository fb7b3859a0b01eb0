"""Pages of rows: the first, the latest, and those of items, from parts and from the output file."""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parallelrun_jupyter.errors import OutputError
from parallelrun_jupyter.runs.journal import events as ev
from parallelrun_jupyter.runs.journal import lines as journal_lines
from parallelrun_jupyter.runs.journal.lines import encode
from parallelrun_jupyter.runs.journal.state import RunState
from parallelrun_jupyter.runs.output import shown_rows
from parallelrun_jupyter.runs.output.committed_rows import (
    committed_rows,
    part_path,
    publish,
    published_notes,
    read_rows,
    remove_parts,
)
from parallelrun_jupyter.runs.output.row_places import PlaceWriter, read_place
from parallelrun_jupyter.runs.output.row_texts import CELL_CHARS, COLUMNS, row_texts, table_texts
from parallelrun_jupyter.runs.run_folder import RunFolder
from parallelrun_jupyter.runs.run_record import RunRecord
from parallelrun_jupyter.runs.snapshot import committed_results
from parallelrun_jupyter.runs.snapshot.committed_results import ResultStates
from parallelrun_jupyter.runs.snapshot.result_pages import (
    BEFORE_FIRST,
    LATEST_ROWS,
    PAGE_ROWS,
    ResultRow,
    ResultRows,
    RowQuery,
    result_page,
)
from parallelrun_jupyter.worker.output.formats import PARQUET, TEXT, encode_table, text_rows
from parallelrun_jupyter.worker.output.results import CSV_OPTIONS
from parallelrun_jupyter.worker.plan_line import PlanLine
from tests.journals import record

FORMS = ["text", "csv", "jsonl", "parquet"]
ODD = 'a "quoted, text"\nand <b>two</b> lines'


@dataclass
class Made:
    """A run that is written event by event, with rows whose texts say where they belong."""

    path: Path
    form: str = TEXT
    sizes: list[int] = field(default_factory=lambda: [4] * 10)
    events: list[ev.Event] = field(default_factory=lambda: [ev.RunStarted(0, 1, 1, "h")])
    counter: int = 0

    def __post_init__(self) -> None:
        self.folder = RunFolder(self.path)
        self.folder.output.mkdir(parents=True, exist_ok=True)
        self.record: RunRecord = record(output={"format": self.form, "file_name": "rows.out"})
        first = 0
        with open(self.folder.plan, "wb") as plan:
            for k, size in enumerate(self.sizes):
                paths = [f"/data/{'cat' if n % 2 else 'Dog'}/{k}-{n}.png" for n in range(size)]
                line = PlanLine(0, paths, [], [], extra={"first": first})
                plan.write(line.encode() + b"\n")
                first += size

    def rows(self, values: list[str]) -> bytes:
        if self.form == TEXT:
            return text_rows(values)
        frame = pd.DataFrame({"text": values, "size": [len(value) for value in values]})
        return encode_table(frame.astype({"text": "str"}), self.form, CSV_OPTIONS)

    def commit(self, k: int, first: int, items: int, rows: int | None = None) -> None:
        """Commit a result for some items, with one row each unless ``rows`` says otherwise."""
        self.counter += 1
        count = items if rows is None else rows
        values = [f"{ODD if self.counter % 3 == 0 else ''}{k}:{first + n} #{self.counter}" for n in range(count)]  # fmt: skip
        data = self.rows(values) if values else b""
        with open(part_path(self.folder, self.counter % 2), "ab") as file:
            offset = file.tell()
            file.write(data)
        place = (self.counter % 2, offset, len(data), zlib.crc32(data))
        of = self.sizes[k]
        event: ev.Event = ev.ItemsSucceeded(k, 1, "w", 5, 0, first, items, of, count, *place)
        if items == of:
            event = ev.AttemptSucceeded(k, 1, "w", 5, 0, of, min(of, count), count, *place)
        self.events.append(event)

    def fail(self, k: int, first: int, count: int) -> None:
        of = self.sizes[k]
        ranges = ((first, count),)
        self.events.append(
            ev.ItemsFailed(
                k, 1, "w", 5, count, "exception", "E", "bad", "E at a", "", ranges, (), of
            )
        )

    def drop(self, k: int, first: int, items: int) -> None:
        of = self.sizes[k]
        self.events.append(ev.RowsDropped(5, k, first, items, of, items, items, "E at a"))

    def write(self) -> ResultStates:
        state = RunState()
        state.apply_all(self.events)
        text = "".join(encode(event) + "\n" for event in self.events)
        self.folder.journal.write_text(text)
        return ResultStates.of(state)

    def publish(self) -> None:
        rows = committed_rows(self.events)
        publish(self.folder, rows, self.folder.final_file(self.record), self.form)
        remove_parts(self.folder)

    def page(self, **query: Any) -> ResultRows:
        return result_page(self.folder, self.record, self.write(), RowQuery(**query))

    def pages(self, **query: Any) -> list[ResultRow]:
        """Return the rows of all pages, one after another."""
        rows: list[ResultRow] = []
        after = BEFORE_FIRST
        while True:
            page = self.page(**query, after=after)
            assert len(page["rows"]) <= PAGE_ROWS
            assert page["note"] == ""
            rows += page["rows"]
            if not page["has_more"]:
                return rows
            assert tuple(page["after"]) > after
            after = (page["after"][0], page["after"][1])

    def table(self) -> list[str]:
        """Return the texts of all rows as the product reads the published file."""
        data = self.folder.final_file(self.record).read_bytes()
        frame = read_rows(data, self.form, published_notes(self.folder))
        return [str(value) for value in frame.iloc[:, 0]] if len(frame) else []


steps = st.lists(
    st.tuples(
        st.sampled_from(["whole", "part", "part", "fail", "none", "more", "drop"]),
        st.integers(0, 7),
        st.integers(0, 5),
        st.integers(1, 6),
    ),
    max_size=25,
)


def made_by(
    path: Path, form: str, sizes: list[int], moves: list[tuple[str, int, int, int]]
) -> Made:
    """Make a run by moves that are allowed: each item is answered once, unless it was dropped."""
    run = Made(path, form, sizes)
    open_items = [set(range(size)) for size in sizes]
    results: dict[tuple[int, int], int] = {}
    for move, number, start, length in moves:
        k = number % len(sizes)
        first = start % sizes[k]
        items = min(length, sizes[k] - first)
        if move in {"whole", "more", "none"}:
            first, items = 0, sizes[k]
        if move == "drop" and (k, first) in results:
            count = results.pop((k, first))
            if len(run.events) and not any(isinstance(e, ev.RunResumed) for e in run.events):
                run.events += [ev.RunStarted(5, 1, 1, "h"), ev.RunResumed(5, False, 1, "")]
            run.drop(k, first, count)
            open_items[k].update(range(first, first + count))
        elif move != "drop" and set(range(first, first + items)) <= open_items[k]:
            open_items[k] -= set(range(first, first + items))
            if move == "fail":
                run.fail(k, first, items)
                continue
            results[k, first] = items
            run.commit(k, first, items, {"more": items + 2, "none": 0}.get(move))
    return run


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=40, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 6), min_size=1, max_size=8), moves=steps, batch=st.integers(1, 3)
)
def test_the_pages_of_first_rows_are_the_output(
    tmp_path_factory: pytest.TempPathFactory,
    form: str,
    sizes: list[int],
    moves: list[tuple[str, int, int, int]],
    batch: int,
) -> None:
    run = made_by(tmp_path_factory.mktemp("run"), form, sizes * batch, moves)
    of_parts = run.pages(order="first")
    run.publish()
    of_file = run.pages(order="first")
    assert of_file == of_parts
    assert [row["cells"][0] for row in of_file] == run.table()
    for row in of_file:
        if row["position"] >= 0:
            text = row["cells"][0].removeprefix(ODD)
            assert text.startswith(f"{row['mini_batch']}:{row['position']} ")
            assert row["name"].endswith(f"/{row['mini_batch']}-{row['position']}.png")
            before = sum(run.sizes[: row["mini_batch"]])
            assert row["number"] == before + row["position"]


@settings(max_examples=40, deadline=None)
@given(sizes=st.lists(st.integers(1, 6), min_size=1, max_size=8), moves=steps)
def test_the_latest_rows_are_those_of_the_last_results(
    tmp_path_factory: pytest.TempPathFactory,
    sizes: list[int],
    moves: list[tuple[str, int, int, int]],
) -> None:
    run = made_by(tmp_path_factory.mktemp("run"), TEXT, sizes, moves)
    valid = {row["cells"][0] for row in run.pages(order="first")}
    page = run.page(order="latest")
    assert len(page["rows"]) == min(LATEST_ROWS, len(valid))
    shown = [row["cells"][0] for row in page["rows"]]
    assert set(shown) <= valid
    commits = [int(text.rpartition("#")[2]) for text in shown]
    assert commits == sorted(commits, reverse=True)
    if len(valid) > LATEST_ROWS:
        newest = max(int(text.rpartition("#")[2]) for text in valid)
        assert commits[0] == newest


@settings(max_examples=40, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 6), min_size=1, max_size=8),
    moves=steps,
    text=st.sampled_from(["dog", "CAT*1.png", "-2", "/data/", "5", "0", "13", "nothing", "3-*g"]),
)
def test_a_search_finds_each_item_with_its_rows_or_the_reason(
    tmp_path_factory: pytest.TempPathFactory,
    sizes: list[int],
    moves: list[tuple[str, int, int, int]],
    text: str,
) -> None:
    run = made_by(tmp_path_factory.mktemp("run"), TEXT, sizes, moves)
    states = run.write()
    by_item = {
        (row["mini_batch"], row["position"]): row["cells"] for row in run.pages(order="first")
    }
    found = run.pages(text=text)
    wanted = []
    for k, size in enumerate(sizes):
        for n in range(size):
            name = f"/data/{'cat' if n % 2 else 'dog'}/{k}-{n}.png"
            at = 0
            for piece in text.lower().split("*"):
                at = name.find(piece, at) + 1 if at >= 0 and piece in name[at:] else -1
            if at > 0 or str(sum(sizes[:k]) + n) == text:
                wanted.append((k, n))
    for row in found:
        place = row["mini_batch"], row["position"]
        if row["position"] < 0:
            continue
        assert place in wanted
        assert row["cells"] == by_item.get(place, [])
        assert (row["row"] < 0) == (place not in by_item) == (row["status"] != "")
        failed = [a for a in states.answers.values() if a is states.answers.get(place[0])]
        is_failed = any(f <= place[1] < f + c for a in failed for f, c, _ in a.failed)
        assert (row["status"] == "failed") == is_failed
    shown = {(row["mini_batch"], row["position"]) for row in found}
    of_many = {row["mini_batch"] for row in found if row["position"] < 0}
    assert all(place in shown or place[0] in of_many for place in wanted)


def test_a_page_of_a_long_run_reads_few_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Made(tmp_path / "run", sizes=[1] * 3000)
    for k in range(3000):
        run.commit(k, 0, 1)
    states = run.write()
    decoded = 0

    def decode(line: bytes) -> ev.Event:
        nonlocal decoded
        decoded += 1
        return journal_lines.decode(line)

    monkeypatch.setattr(committed_results, "decode", decode)
    for query in (RowQuery("first"), RowQuery("latest"), RowQuery(text="2999-0")):
        decoded = 0
        page = result_page(run.folder, run.record, states, query)
        assert page["rows"]
        assert decoded <= 2 * PAGE_ROWS + 2
        assert run.folder.journal.stat().st_size > 100_000


@pytest.mark.parametrize("form", FORMS)
def test_a_page_is_bounded_however_large_the_rows_are(tmp_path: Path, form: str) -> None:
    run = Made(tmp_path / "run", form, [60])
    names = [f"column {number}" for number in range(100)]
    frame = pd.DataFrame([["\u00e9" * 2000] * 100] * 60, columns=names)
    data = (
        encode_table(frame, form, CSV_OPTIONS)
        if form != TEXT
        else text_rows(["\u00e9" * 100_000] * 60)
    )
    part_path(run.folder, 0).write_bytes(data)
    crc = zlib.crc32(data)
    run.events.append(ev.AttemptSucceeded(0, 1, "w", 5, 0, 60, 60, 60, 0, 0, len(data), crc))
    for is_published in (False, True):
        if is_published:
            run.publish()
        page = run.page(order="first")
        assert len(page["rows"]) == PAGE_ROWS
        assert len(json.dumps(page)) < 400_000
        assert len(page["columns"]) == (COLUMNS if form != TEXT else 0)
        assert page["columns_hidden"] == (100 - COLUMNS if form != TEXT else 0)
    texts = row_texts(data, form, 60, 3, 5)
    assert len(texts.rows) == 2
    assert max(len(cell) for row in texts.rows for cell in row) == CELL_CHARS


def note_of(run: Made, **query: Any) -> str:
    page = run.page(**{"order": "first", **query})
    assert page["rows"] == []
    return page["note"]


def test_rows_that_cannot_be_shown_have_a_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Made(tmp_path / "run")
    for k in range(10):
        run.commit(k, 0, 4)
    assert note_of(Made(tmp_path / "none")) == ""
    monkeypatch.setattr(shown_rows, "LARGEST_BYTES", 8)
    assert "the rows of mini-batch 0 have " in note_of(run)
    assert "too many to be shown here; run.to_pandas() reads them" in note_of(run)
    monkeypatch.undo()
    part = part_path(run.folder, 1)
    data = part.read_bytes()
    part.write_bytes(data.replace(b"0:0", b"9:9"))
    assert "are not the committed rows: the file was changed, or the disk is failing" in note_of(
        run
    )
    part.write_bytes(data)
    run.publish()
    assert len(run.page(order="first")["rows"]) == PAGE_ROWS
    final = run.folder.final_file(run.record)
    whole = final.read_bytes()
    final.write_bytes(whole.replace(b"0:0", b"9:9"))
    assert "was changed after the run wrote it, so its rows cannot be shown" in note_of(run)
    final.write_bytes(whole + b"more\n")
    assert "was changed after the run wrote it" in note_of(run, order="latest")
    final.rename(tmp_path / "elsewhere")
    assert f"the output file {final} was moved or deleted" in note_of(run, text="1-2")
    run.folder.row_places.unlink()
    assert "an earlier version of parallelrun-jupyter wrote this output" in note_of(run)
    own = replace(run.record, output=replace(run.record.output, append_rows=False))
    page = result_page(run.folder, own, run.write(), RowQuery())
    assert "The script writes its own output (output_action is summary_only)" in page["note"]
    stored = replace(run.record.output, in_parts=True, destination="az://c/out", file_name="rows")
    page = result_page(run.folder, replace(run.record, output=stored), run.write(), RowQuery())
    assert page["note"] == "The rows are in parts in az://c/out/rows; run.to_pandas() reads them."


def test_without_pyarrow_parquet_has_a_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Made(tmp_path / "run", PARQUET)
    run.commit(0, 0, 4)
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    assert "shown with pyarrow, which is not installed here" in note_of(run)
    with pytest.raises(OutputError, match=r"pip install .parallelrun-jupyter\[parquet\]"):
        row_texts(b"", PARQUET, 1, 0, 1)


def test_a_parquet_file_that_was_changed_and_odd_values_have_a_reason(tmp_path: Path) -> None:
    run = Made(tmp_path / "run", PARQUET)
    for k in range(10):
        run.commit(k, 0, 4)
    run.publish()
    final = run.folder.final_file(run.record)
    final.write_bytes(bytes(final.stat().st_size))
    assert "was changed after the run wrote it, so its rows cannot be shown" in note_of(run)
    seconds = pa.array([1 << 60, 0], pa.timestamp("s"))
    table = pa.table({"when": seconds, "bytes": [b"x" * 5000, None], "list": [[1] * 99, []]})
    texts = table_texts(table)
    assert [row[0] for row in texts.rows] == ["?", "?"]
    assert [row[1] for row in texts.rows] == [f"b'{'x' * (CELL_CHARS - 5)}...", ""]
    assert [row[2] for row in texts.rows] == [str([*[1] * 20, "..."]), "[]"]


def test_rows_with_different_columns_are_below_their_names(tmp_path: Path) -> None:
    run = Made(tmp_path / "run", "jsonl", [2, 1])
    for k, frame in enumerate(
        [pd.DataFrame([{"a": 1}, {"b": [1.5] * 40}]), pd.DataFrame([{"c": None}])]
    ):
        data = encode_table(frame.to_dict("records"), "jsonl", CSV_OPTIONS)
        with open(part_path(run.folder, 0), "ab") as file:
            place = (0, file.tell(), len(data), zlib.crc32(data))
            file.write(data)
        rows = len(frame)
        run.events.append(ev.AttemptSucceeded(k, 1, "w", 5, 0, rows, rows, rows, *place))
    page = run.page(order="first")
    assert page["columns"] == ["a", "b", "c"]
    few = json.dumps([1.5] * 20 + ["..."])
    assert [row["cells"][1:] for row in page["rows"]] == [["null", ""], [few, ""], ["", "null"]]


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 1 << 40)), max_size=20))
def test_places_are_those_that_were_written(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[int, int]]
) -> None:
    path = tmp_path_factory.mktemp("places") / "row_places.bin"
    written: list[bytes] = []
    places = PlaceWriter(written.append)
    end, ends = 0, {}
    for mini_batch, length in sorted(steps):
        end += length
        places.add(mini_batch, end)
        ends[mini_batch] = end
    places.end()
    assert read_place(path, 0) is None
    path.write_bytes(b"".join(written))
    start = 0
    for mini_batch in range(max(ends, default=-1) + 1):
        end = ends.get(mini_batch, start)
        assert read_place(path, mini_batch) == (start, end)
        start = end
    assert read_place(path, max(ends, default=-1) + 1) is None
