"""The comparison of two runs: items are matched, rows of each format compared, texts bounded."""

from __future__ import annotations

import json
import zlib
from array import array
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parallelrun_jupyter import Run
from parallelrun_jupyter.errors import ConfigError, RunNotFoundError
from parallelrun_jupyter.runs.comparison.items import (
    DIFFERENCES,
    ItemComparison,
    _partners,
)
from parallelrun_jupyter.runs.comparison.row_forms import ROW_FORMS
from parallelrun_jupyter.runs.comparison.settings import differing_settings
from parallelrun_jupyter.runs.journal import events as ev
from parallelrun_jupyter.runs.journal.lines import encode
from parallelrun_jupyter.runs.output.row_slices import Slice
from parallelrun_jupyter.runs.run_folder import RunFolder
from parallelrun_jupyter.views.comparison import cell_text
from tests.journals import record


def write(
    home: Path,
    number: int,
    mini_batches: list[tuple[list[str], list[str] | None]],
    **settings: Any,
) -> Run:
    """Write a run of text rows: the paths of each mini-batch, and its rows, None if it failed."""
    made = record(f"20261118-10000000{number}-test", **settings)
    folder = RunFolder(home / "runs" / made.run_id)
    for place in (folder.script, folder.output, folder.user_logs, folder.control):
        place.mkdir(parents=True)
    folder.record.write_text(made.to_json())
    offset = first = 0
    events: list[ev.Event] = [ev.RunStarted(0, 1, 1, "here"), ev.WorkerReady(5, "n0w0", 40)]
    with open(folder.plan, "w") as plan, open(folder.output / "part-0.rows", "wb") as part:
        for k, (paths, rows) in enumerate(mini_batches):
            plan.write(json.dumps(["f", 0, paths, [], [], {"first": first}]) + "\n")
            first += len(paths)
            if rows is None:
                events.append(
                    ev.AttemptFailed(k, 1, "n0w0", 9, 9, len(paths), True, "exception", "E", "m", "g", "t")
                )  # fmt: skip
                continue
            data = "".join(f"{row}\n" for row in rows).encode()
            part.write(data)
            done = min(len(rows), len(paths))
            crc = zlib.crc32(data)
            events.append(
                ev.AttemptSucceeded(
                    k,
                    1,
                    "n0w0",
                    9,
                    2_000_000,
                    len(paths),
                    done,
                    len(rows),
                    0,
                    offset,
                    len(data),
                    crc,
                )
            )
            offset += len(data)
        plan.write(json.dumps(["end", len(mini_batches), first]) + "\n")
    events += [
        ev.PlanFinished(1, len(mini_batches), first),
        ev.RunFinished(20, "Failed", "x", "", 0),
    ]
    folder.journal.write_text("".join(encode(event) + "\n" for event in events))
    return Run(folder)


def found(comparison: Any) -> dict[str, tuple[str, str | None, str | None]]:
    rows = comparison.items.astype(object).where(comparison.items.notna(), None)
    return {row.item: (row.difference, row.this, row.other) for row in rows.itertuples()}


def test_items_are_matched_whatever_their_mini_batches(home: Path) -> None:
    this = write(home, 1, [(["/a", "/b", "/c"], ["1", "2", "3"]), (["/d"], None), (["/e"], ["5"])])
    other = write(
        home, 2, [(["/b"], ["2"]), (["/c", "/d"], ["4", "4"]), (["/f", "/a"], ["6", "1"])]
    )
    comparison = this.compare(other)
    assert found(comparison) == {
        "/c": ("rows differ", "3", "4"),
        "/d": ("no row in this run", None, "4"),
        "/e": ("only in this run", "5", None),
        "/f": ("only in the other run", None, "6"),
    }
    assert comparison.item_counts["same"] == 2
    turned = other.compare(this.run_id)
    assert found(turned)["/d"] == ("no row in the other run", "4", None)
    assert found(turned)["/e"][0] == "only in the other run"


def test_a_run_is_the_same_as_itself(home: Path) -> None:
    run = write(home, 1, [(["/a", "/a", "/b"], ["1", "2", "3"]), (["/c"], None)])
    comparison = run.compare(run)
    assert comparison.item_counts["same"] == 3
    assert comparison.item_counts["no row in both runs"] == 1
    assert sum(comparison.item_counts.values()) == 4
    assert comparison.items.empty
    assert comparison.settings.empty
    assert (comparison.counts["change"] == 0).all()
    text = repr(comparison)
    assert "settings: the same" in text
    assert "items: 3 same, 1 no row in both runs: all rows are the same" in text


def test_only_runs_are_compared(home: Path) -> None:
    run = write(home, 1, [(["a"], ["1"])])
    with pytest.raises(ConfigError, match=f"given None; .* the id of one, such as '{run.run_id}'"):
        run.compare(None)  # type: ignore[arg-type]


def test_a_run_without_any_row_is_compared_by_its_items(home: Path) -> None:
    this = write(home, 1, [(["/a"], None), (["/b"], [])])
    other = write(home, 2, [(["/a"], ["1"]), (["/b"], ["2"])])
    comparison = this.compare(other)
    assert comparison.notes == []
    assert found(comparison) == {
        "/a": ("no row in this run", None, "1"), "/b": ("no row in this run", None, "2"),
    }  # fmt: skip


def test_rows_of_whole_mini_batches_are_compared_if_their_items_are_the_same(home: Path) -> None:
    shared = (["/a", "/b"], ["1", "2", "3"])
    this = write(
        home, 1, [shared, (["/c", "/d"], ["1", "2", "3"]), (["/e", "/f"], ["1", "2", "3"])]
    )
    other = write(
        home, 2, [shared, (["/c", "/d"], ["1", "9", "3"]), (["/e"], ["1"]), (["/f"], ["2"])]
    )
    comparison = this.compare(other)
    assert {item: row[0] for item, row in found(comparison).items()} == {
        "/c": "rows differ", "/d": "rows differ", "/e": "unclear", "/f": "unclear",
    }  # fmt: skip
    assert found(comparison)["/d"][1:] == ("1\n2\n3", "1\n9\n3")
    assert comparison.item_counts["same"] == 2


def test_counts_and_times_have_both_runs_and_the_change(home: Path) -> None:
    this = write(home, 1, [(["/a", "/b"], ["1", "2"]), (["/c"], None)])
    other = write(home, 2, [(["/a", "/b"], ["1", "2"])])
    comparison = this.compare(other)
    assert list(comparison.counts.loc["items"]) == [3, 2, 1]
    assert list(comparison.counts.loc["items failed"]) == [1, 0, 1]
    assert list(comparison.counts.loc["rows"]) == [2, 2, 0]
    assert comparison.times.loc["init(), median (s)", "this"] == 0.04
    assert comparison.times.loc["mini-batches, total (s)", "other"] == 2.0


def test_the_list_is_bounded_and_the_counts_are_not(home: Path) -> None:
    paths = [f"/{k:03d}" for k in range(50)]
    this = write(home, 1, [(paths, ["1"] * 50)])
    other = write(home, 2, [(paths[:40], ["2"] * 40), (["/x"], ["x" * 5000])])
    comparison = this.compare(other, limit=30)
    assert len(comparison.items) == 30
    assert comparison.item_counts["rows differ"] == 40
    assert comparison.item_counts["only in this run"] == 10
    assert "and 31 more" in repr(comparison)  # 20 of 51 are shown
    everything = this.compare(other).items
    assert len(everything) == 51
    assert len(everything["other"].iloc[-1]) == 1000
    assert this.compare(other, limit=0).items.empty


def test_html_is_escaped(home: Path) -> None:
    this = write(home, 1, [(["/<b>"], ["<script>"])], name="<i>")
    other = write(home, 2, [(["/<b>"], ["&"])])
    page = this.compare(other)._repr_html_()
    assert "&lt;script&gt;" in page
    assert "<script>" not in page
    assert "<i>" not in page
    assert "<b>" not in page.replace("<p><b>", "")


def test_what_cannot_be_compared_is_a_note(home: Path) -> None:
    this = write(home, 1, [(["/a"], ["1"])])
    summary = write(home, 2, [(["/a"], ["1"])], output={"append_rows": False})
    typed = write(home, 3, [(["/a"], ["1"])], output={"format": "csv"})
    lost = write(home, 4, [(["/a"], ["1"])])
    (lost.folder.output / "part-0.rows").unlink()
    for other, why in (
        (summary, "has output_action 'summary_only', and writes no rows"),
        (typed, "the outputs are text and csv"),
        (lost, "could not be read: an older version published it"),
    ):
        comparison = this.compare(other)
        assert why in comparison.notes[0]
        assert f"note: {comparison.notes[0]}" in repr(comparison)
        assert comparison.item_counts == {}
        assert comparison.items.empty
        assert not comparison.counts.empty
    with pytest.raises(ConfigError, match="limit is -1; expected the number of differing items"):
        this.compare(lost, limit=-1)
    with pytest.raises(RunNotFoundError, match="there is no run 'x'"):
        this.compare("x")
    lost.delete()
    with pytest.raises(RunNotFoundError, match="has been removed"):
        this.compare(lost)


def test_where_and_when_a_variable_was_written_is_no_setting() -> None:
    """Two runs of the same line have copies of their own."""

    def of(run: str, written_ns: int, count: int) -> Any:
        made: dict[str, Any] = {"kind": "memory", "name": "texts", "path": f"/runs/{run}/0.data"}
        made |= {"mtime_ns": written_ns, "count": count}
        return record("a", inputs={"datasets": [made]})

    one, two = of("a", 7, 10), of("b", 8, 12)
    assert [each.setting for each in differing_settings(one, two, ({}, {}))] == ["inputs[0].count"]


def test_settings_have_the_names_of_the_configuration() -> None:
    one = record(
        limits={"run_max_try": 1},
        script={"arguments": ["--top", 3], "modules": {"util.py": "a" * 64}},
    )
    two = record(
        "other", name="other", created_at=5.0, inputs={"datasets": [{"paths": ["/a", "/b"]}]},
        script={"environment_variables": {"A": "1"}},
    )  # fmt: skip
    files = (
        {"script score.py": "0123456789abcdef"},
        {"script score.py": "fedcba9876543210", "script x.py": "1"},
    )
    rows = {row.setting: (row.this, row.other) for row in differing_settings(one, two, files)}
    assert rows == {
        "run_max_try": (1, 3),
        "arguments": ("--top 3", ""),
        "module util.py": ("a" * 12, None),
        "environment_variables.A": (None, "1"),
        "inputs": ("", None),
        "inputs[0].paths": (None, "/a /b"),
        "script score.py": ("0123456789ab", "fedcba987654"),
        "script x.py": (None, "1"),
    }


keys = st.lists(st.integers(0, 4), max_size=10)


@given(this=keys, other=keys)
def test_partners_are_the_same_items_in_turn(this: list[int], other: list[int]) -> None:
    def pairs(values: list[int]) -> array[int]:
        return array("Q", [number for value in values for number in (value // 2, value % 2)])

    partner, rest = _partners(pairs(this), pairs(other))
    matched = [(k, int(p)) for k, p in enumerate(partner) if p >= 0]
    assert all(this[k] == other[p] for k, p in matched)
    assert len({p for _, p in matched}) == len(matched)
    assert len(matched) == (Counter(this) & Counter(other)).total()
    assert sorted([*(p for _, p in matched), *map(int, rest)]) == list(range(len(other)))
    for value in set(this):  # in the order of both
        found = [p for k, p in matched if this[k] == value]
        assert found == sorted(found)


@given(data=st.data())
def test_every_item_has_one_difference(data: st.DataObject) -> None:
    def side() -> Any:
        ids = data.draw(st.lists(st.integers(0, 6), max_size=8, unique=True))
        kinds = [data.draw(st.integers(0, 3)) for _ in ids]
        return SimpleNamespace(
            ids=ids,
            keys=array("Q", [n for each in ids for n in (each, 0)]),
            kinds=bytearray(kinds),
            digests=array("Q", [data.draw(st.integers(1, 2)) for _ in ids]),
            groups=array("Q", [7 if kind == 2 else 0 for kind in kinds]),
            __len__=lambda: len(ids),
            described=lambda numbers: {k: (str(ids[k]), "row") for k in numbers},
        )

    class Side(SimpleNamespace):
        def __len__(self) -> int:
            return len(self.kinds)

    this, other = (Side(**vars(side())) for _ in range(2))
    compared = ItemComparison(this, other, 100)  # type: ignore[arg-type]
    assert sum(compared.counts.values()) == len(set(this.ids) | set(other.ids))
    where = {item: k for k, item in enumerate(other.ids)}
    listed = {int(each.item): each.difference for each in compared.differences}
    for k, item in enumerate(this.ids):
        at = where.get(item)
        if at is None:
            assert listed[item] == DIFFERENCES["only_this"]
            continue
        kinds = this.kinds[k], other.kinds[at]
        is_equal = this.digests[k] == other.digests[at]
        if kinds == (0, 0):
            assert item not in listed
        elif 0 in kinds:
            assert "no row" in listed[item]
        elif 3 in kinds or kinds[0] != kinds[1]:
            assert listed[item] == "unclear"
        else:
            assert listed.get(item) == (None if is_equal else "rows differ")


def test_rows_with_line_ends_are_whole() -> None:
    rows = Slice(2, b"a\nb\nc\n", [4, 2])
    assert list(ROW_FORMS["text"].keys(rows)) == [b"a\nb", b"c"]
    assert list(ROW_FORMS["text"].texts(rows)) == ["a\nb", "c"]


def test_rows_of_csv_have_their_columns() -> None:
    one, two = Slice(1, b"1,2\n", header=b"a,b\n"), Slice(1, b"1,2\n", header=b"a,c\n")
    assert list(ROW_FORMS["csv"].keys(one)) != list(ROW_FORMS["csv"].keys(two))
    assert list(ROW_FORMS["csv"].texts(one)) == ["1,2"]


def test_whole_numbers_of_parquet_are_equal_as_floats_and_integers() -> None:
    pa = pytest.importorskip("pyarrow")
    frame = pd.DataFrame({"n": [1, 2], "x": [float("nan"), 0.5], "l": [[1.0], [2.5]]})
    one = Slice(2, table=pa.Table.from_pandas(frame))
    two = Slice(2, table=pa.Table.from_pandas(frame.assign(n=[1.0, 2.5])))
    keys_one, keys_two = (list(ROW_FORMS["parquet"].keys(each)) for each in (one, two))
    assert keys_one[0] == keys_two[0]
    assert keys_one[1] != keys_two[1]
    assert list(ROW_FORMS["parquet"].texts(one))[1] == "n=2, x=0.5, l=[2.5]"


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "-"), (True, "True"), (12345, "12,345"), (0.00123, "0.00123"), (123456.7, "123,457"),
     ("a\nb", "a ⏎ b")],
)  # fmt: skip
def test_cells(value: Any, text: str) -> None:
    assert cell_text(value) == text


def test_a_long_cell_loses_its_middle() -> None:
    text = cell_text("a" * 100 + "z")
    assert len(text) == 60
    assert text.endswith("z")
