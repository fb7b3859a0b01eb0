"""The parts of an update that need no processes."""

from __future__ import annotations

from array import array
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parallelrun_jupyter.client.updates import modules_in
from parallelrun_jupyter.commands.options import run_options, update_of
from parallelrun_jupyter.data.local.file_digests import UNKNOWN, FileDigests, digests_of_plan
from parallelrun_jupyter.data.local.file_versions import FileVersions, versions_of_plan
from parallelrun_jupyter.engine.planning.spans import adjacent, spans_of
from parallelrun_jupyter.engine.planning.taken_rows import taken_results
from parallelrun_jupyter.runs.journal.events import AttemptSucceeded, ItemsSucceeded
from parallelrun_jupyter.runs.journal.lines import decode, encode


@given(
    row_of=st.lists(st.booleans(), min_size=1, max_size=12),
    numbers=st.lists(st.integers(-1, 11), min_size=1, max_size=12),
)
def test_spans_are_the_rows_of_the_items_in_order(row_of: list[bool], numbers: list[int]) -> None:
    rows = array("q", [k if has_row else -1 for k, has_row in enumerate(row_of)])
    numbers = [number if number < len(rows) else -1 for number in numbers]
    spans = spans_of(rows, numbers)
    given_rows = {position + k: row + k for position, row, count in spans for k in range(count)}
    expected = {k: rows[n] for k, n in enumerate(numbers) if n >= 0 and rows[n] >= 0}
    assert given_rows == expected
    joined = [
        (first + k, row)
        for first, row_spans in adjacent(spans)
        for k, row in enumerate(row for start, end in row_spans for row in range(start, end))
    ]
    assert dict(joined) == expected
    starts = [first for first, _ in adjacent(spans)]
    assert all(start - 1 not in expected for start in starts)


def test_consecutive_items_are_one_span() -> None:
    rows = array("q", range(100))
    assert spans_of(rows, range(20, 30)) == spans_of(rows, list(range(20, 30))) == [(0, 20, 10)]


@pytest.mark.parametrize(
    ("words", "update"),
    [
        ([], False),
        (["--update"], True),
        (["--update=version"], True),
        (["--update=digest"], "digest"),
    ],
)
def test_the_option_takes_no_other_word_for_its_value(words: list[str], update: bool | str) -> None:
    parser = run_options("run")
    parser.add_argument("script")
    options = parser.parse_args([*words, "score.py"])
    assert options.script == "score.py"
    assert update_of(options) == update


def test_modules_are_followed_through_imports(tmp_path: Path) -> None:
    (tmp_path / "one.py").write_text("def f():\n    from two import x\n")
    (tmp_path / "two.py").write_text("import one, os\n")
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__init__.py").write_text("")
    (tmp_path / "package" / "inner.py").write_text("import three\n")
    (tmp_path / "three.py").write_text("x = 1\n")
    (tmp_path / "unused.py").write_text("x = 1\n")
    modules = modules_in(tmp_path, "import one\nimport package.inner as p\n")
    assert sorted(modules) == [
        "one.py",
        "package/__init__.py",
        "package/inner.py",
        "three.py",
        "two.py",
    ]
    (tmp_path / "three.py").write_text("x = 2\n")
    changed = modules_in(tmp_path, "import one\nimport package.inner as p\n")
    assert {name for name in modules if changed[name] != modules[name]} == {"three.py"}
    assert modules_in(tmp_path, "import one (") == {}


def test_versions_and_digests_are_read_as_they_were_recorded(tmp_path: Path) -> None:
    plan = tmp_path / "plan.jsonl"
    plan.write_text("")
    assert versions_of_plan(plan) == array("q")
    versions = FileVersions(plan)
    versions.keep(2, array("q", [10, 1 << 60, -1, 0]))
    versions.close()
    assert list(versions_of_plan(plan)) == [0, 0, 0, 0, 10, 1 << 60, -1, 0]
    digests = FileDigests(plan)
    (tmp_path / "a").write_bytes(b"abc")
    of_files = digests.of_files([str(tmp_path / "a"), str(tmp_path / "missing")])
    digests.keep(1, of_files)
    digests.close()
    sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # of FIPS 180-2
    assert digests_of_plan(plan) == UNKNOWN + bytes.fromhex(sha256) + UNKNOWN


def test_the_results_of_a_message_are_events_of_the_journal() -> None:
    results = taken_results([[3, 5, 6, 100, 20, 77]], [[4, 1, 2, 5, 2, 120, 9, 78]])
    assert results == (
        AttemptSucceeded(3, 0, "", 0, 0, 5, 5, 6, 65535, 100, 20, 77),
        ItemsSucceeded(4, 0, "", 0, 0, 1, 2, 5, 2, 65535, 120, 9, 78),
    )
    assert [decode(encode(result)) for result in results] == list(results)
