"""Delimited text is never misread: the mini-batches together are the rows that pandas reads."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from parallelrun_jupyter import TabularDataset
from parallelrun_jupyter.data.batching import BatchSpec
from parallelrun_jupyter.data.tables import text_encoding
from parallelrun_jupyter.data.tables.delimited import Dialect, _header_names, _plain_names
from parallelrun_jupyter.data.tables.row_ranges import RowScan
from parallelrun_jupyter.worker.failures import BadInput
from parallelrun_jupyter.worker.plan_line import PlanLine
from parallelrun_jupyter.worker.tables import delimited
from parallelrun_jupyter.worker.tables.reader import load_table
from parallelrun_jupyter.worker.tables.row_splitter import Marks

LAW = settings(max_examples=250)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tables")


def frames_of(dataset: TabularDataset, cut: BatchSpec) -> list[pd.DataFrame]:
    lines = [(PlanLine.decode(line), rows) for line, rows in dataset.mini_batches(0, cut) if line]
    frames = []
    for line, rows in lines:
        frame = load_table(line)
        assert len(frame) == rows, "rows are counted as they are read"
        assert list(frame.index) == list(range(rows))
        frames.append(frame)
    return frames


def whole(text: bytes, columns: int, separator: str, quote: str, encoding: str) -> pd.DataFrame:
    """Return the whole text as pandas reads it; raise its errors, and ValueError if a row is too wide."""
    frame = pd.read_csv(
        io.BytesIO(text),
        sep=separator,
        header=None,
        names=range(columns + 1),
        dtype="str",
        index_col=False,
        engine="c",
        encoding=encoding,
        quotechar=quote or '"',
        quoting=0 if quote else 3,
    )
    if frame.pop(columns).notna().any():  # type: ignore[arg-type]  # pandas takes any label
        msg = "a row is too wide"
        raise ValueError(msg)
    return frame


SOUP = st.lists(
    st.sampled_from(['"', ",", ";", "\n", "\r\n", "\r", " ", "\t", "a", "1", "é", "😀", "\ufeff", '""',
                     '"\n"', ',"', '",', 'x"y', '5" pipe'])
).map("".join)  # fmt: skip


@LAW
@given(
    soup=SOUP,
    size=st.integers(1, 40),
    block=st.integers(1, 30),
    separator=st.sampled_from(",;\t"),
    quote=st.sampled_from(['"', ""]),
    encoding=st.sampled_from(["utf-8", "utf-16", "utf-16-le", "utf-32", "gbk", "latin-1"]),
    is_wide=st.booleans(),
)
@example('a"b\n"c\nd"\n', 1, 4, ",", '"', "utf-8", False)
@example('"a""\n"\n', 1, 3, ",", '"', "utf-8", False)
@example("a\r\nb\r", 1, 2, ",", '"', "utf-8", False)
@example('""\n"",,""', 9, 1, ",", '"', "utf-8", True)
def test_mini_batches_hold_the_rows_that_pandas_reads(
    folder: Path,
    soup: str,
    size: int,
    block: int,
    separator: str,
    quote: str,
    encoding: str,
    is_wide: bool,
) -> None:
    # There pandas itself loses fields or reads lines twice; see the test below.
    assume(not re.search(rf"\r[ \t{separator}]", soup))
    delimited.MISTAKEN.clear()
    try:
        text = soup.encode(encoding)
    except UnicodeEncodeError:
        assume(False)
    path = folder / "soup.csv"
    path.write_bytes(text)
    dataset = TabularDataset.from_delimited_files(
        path, separator=separator, quote=quote, header=False, encoding=encoding, column_types="str"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_encoding, "BLOCK_BYTES", 4 * block)
        patch.setattr(delimited, "WIDE", 1 if is_wide else 256)
        lines = [
            PlanLine.decode(line) for line, _ in dataset.mini_batches(0, BatchSpec(size)) if line
        ]
        if not lines:
            assert not text.decode(encoding).replace("\ufeff", "").strip(" \t\r\n")
            return
        columns = len(lines[0].table.get("columns", "1"))
        try:
            expected = whole(text, columns, separator, quote, encoding)
        except (pd.errors.ParserError, ValueError):
            with pytest.raises(BadInput, match=r"soup\.csv"):
                frames_of(dataset, BatchSpec(size))
            return
        frames = frames_of(dataset, BatchSpec(size))
    joined = pd.concat(frames, ignore_index=True)
    expected.columns = joined.columns
    pd.testing.assert_frame_equal(joined, expected)
    assert all(len(frame) for frame in frames)


@LAW
@given(
    soup=SOUP,
    block=st.integers(1, 30),
    separator=st.sampled_from(",;\t"),
    quote=st.sampled_from(['"', "'", ""]),
    encoding=st.sampled_from(["utf-8", "utf-16", "gbk", "latin-1"]),
)
@example("a,b\n1,2\n", 30, ",", '"', "utf-8")
@example("a,b\r\n1,2\n", 1, ",", '"', "utf-8")
@example("a\rb\n1\n", 30, ",", '"', "utf-8")
@example('a,"b\nc"\n1,2\n', 30, ",", '"', "utf-8")
def test_the_first_row_and_the_rest_are_all_rows(
    folder: Path, soup: str, block: int, separator: str, quote: str, encoding: str
) -> None:
    path = folder / "scan.csv"
    path.write_bytes(soup.encode(encoding, "replace"))
    marks = Marks(separator, quote)
    text = text_encoding.text_file(str(path), encoding, str(marks))
    cut = BatchSpec(1, rows=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_encoding, "BLOCK_BYTES", 4 * block)
        rows = list(RowScan(text, marks).ranges(cut, text.start))
        scan = RowScan(text, marks)
        head, after = scan.first_row()
        rest = list(scan.ranges(cut, after))
    assert rest == rows[1:]
    if rows:  # blank lines before a row are part of its range
        data = path.read_bytes()[rows[0][0] : after].decode(text.encoding, "replace")
        assert data.endswith(head.decode(text.content_encoding, "replace"))
        assert after == rows[0][1]


def test_a_table_is_checked_without_numpy(folder: Path) -> None:
    path = folder / "plain.csv"
    path.write_text("a,b\n" + "1,2\n" * 100_000)
    code = (
        "import sys; from parallelrun_jupyter import TabularDataset;"
        "TabularDataset.from_delimited_files(sys.argv[1]).check(); assert 'numpy' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, path], check=True)


@pytest.mark.parametrize("size", [1, 5, 1000])
def test_lone_carriage_returns_end_lines_even_if_pandas_misreads_them(
    folder: Path, size: int
) -> None:
    path = folder / "old_mac.csv"
    path.write_bytes(b'a,b\r\r,1\r  x,"2\r3"\r \r,\r')
    dataset = TabularDataset.from_delimited_files(path, column_types="str")
    joined = pd.concat(frames_of(dataset, BatchSpec(size)), ignore_index=True)
    assert joined.fillna("-").to_numpy().tolist() == [["-", "1"], ["  x", "2\r3"], ["-", "-"]]


def test_text_that_looks_like_something_else_stays_text(folder: Path) -> None:
    path = folder / "codes.csv"
    texts = ["007", "1e3", "True", "", "NA", "99999999999999999999", "2020-01-01", "x"]
    path.write_text("code,text\n" + "".join(f"{text},t{text}\n" for text in texts))
    delimited.MISTAKEN.clear()
    dataset = TabularDataset.from_delimited_files(path, column_types="str")
    for rows in (1, 2, len(texts)):
        joined = pd.concat(frames_of(dataset, BatchSpec(1, rows=rows)), ignore_index=True)
        expected = pd.read_csv(path, dtype="str", keep_default_na=False, na_values=[""])
        pd.testing.assert_frame_equal(joined, expected)
    assert {"code"} >= delimited.MISTAKEN


@given(
    names=st.lists(st.text(st.sampled_from("ab1 .\t'é#-"), max_size=3), min_size=1, max_size=4),
    end=st.sampled_from(["\n", "\r\n", "\r", ""]),
)
def test_plain_headers_are_those_of_pandas(names: list[str], end: str) -> None:
    head = (";".join(names) + end).encode()
    dialect = Dialect(separator=";")
    plain = _plain_names(head, "utf-8", dialect)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("parallelrun_jupyter.data.tables.delimited._plain_names", lambda *_: ())
        _header_names.cache_clear()
        try:
            expected = _header_names(head, "utf-8", dialect)
        except pd.errors.EmptyDataError:
            assert not plain
            return
    _header_names.cache_clear()
    assert plain in {(), expected}
    if re.fullmatch(r"[ab](;[ab]){,1}", ";".join(names)) and len(set(names)) == len(names):
        assert plain
