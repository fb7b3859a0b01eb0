"""Some rows of a mini-batch are read as they are read with all others, and broken rows fail alone."""

from __future__ import annotations

import gzip
import json
import re
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from parallelrun_jupyter import TabularDataset
from parallelrun_jupyter.data.batching import BatchSpec
from parallelrun_jupyter.worker.failures import BadInput
from parallelrun_jupyter.worker.plan_line import PlanLine
from parallelrun_jupyter.worker.tables import delimited
from parallelrun_jupyter.worker.tables.reader import load_table, parts_of

SOUP = st.lists(
    st.sampled_from(['"', ",", "\n", "\r\n", "\r", " ", "\t", "a", "1", "é", "\ufeff", '""',
                     '"\n"', ',"', '",', 'x"y', "NA", "\n\n", "\\"])
).map("".join)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tables")


def lines_of(dataset: TabularDataset, size: int = 10**6) -> list[PlanLine]:
    return [PlanLine.decode(line) for line, _ in dataset.mini_batches(0, BatchSpec(size)) if line]


def ranges_of(chosen: set[int]) -> list[tuple[int, int]]:
    ranges: list[tuple[int, int]] = []
    for row in sorted(chosen):
        if ranges and sum(ranges[-1]) == row:
            ranges[-1] = (ranges[-1][0], ranges[-1][1] + 1)
        else:
            ranges.append((row, 1))
    return ranges


def assert_same(line: PlanLine, chosen: set[int]) -> None:
    """Compare selected rows with the same rows of the whole mini-batch."""
    chosen = {row % line.rows for row in chosen}
    part = load_table(line.only(ranges_of(chosen)))
    expected = load_table(line).iloc[sorted(chosen)].reset_index(drop=True)
    pd.testing.assert_frame_equal(part, expected)


CHOSEN = st.sets(st.integers(0, 30), min_size=1, max_size=6)


@pytest.mark.filterwarnings("ignore:.* seems to escape quotes")
@settings(max_examples=120)
@given(
    soup=SOUP,
    chosen=CHOSEN,
    escape=st.sampled_from([None, "\\"]),
    quote=st.sampled_from(['"', ""]),
    encoding=st.sampled_from(["utf-8", "utf-16", "utf-16-le", "gbk"]),
    is_wide=st.booleans(),
)
def test_rows_of_delimited_text(
    folder: Path,
    soup: str,
    chosen: set[int],
    escape: str | None,
    quote: str,
    encoding: str,
    is_wide: bool,
) -> None:
    assume(not re.search("\r[ \t,]", soup))  # there pandas itself loses fields
    delimited.MISTAKEN.clear()
    path = folder / "soup.csv"
    try:
        path.write_bytes(soup.encode(encoding))
    except UnicodeEncodeError:
        assume(False)
    dataset = TabularDataset.from_delimited_files(
        path, separator=",", quote=quote, escape=escape, header=False, encoding=encoding
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(delimited, "WIDE", 1 if is_wide else 256)
        for line in lines_of(dataset):
            try:
                load_table(line)
            except BadInput:
                continue
            assert_same(line, chosen)


@given(
    values=st.lists(
        st.fixed_dictionaries({}, optional={"n": st.integers(-9, 9), "t": st.text(max_size=4)}),
        min_size=1, max_size=12,
    ),
    chosen=CHOSEN,
    blank=st.sampled_from(["", "\n", " \r\n"]),
)  # fmt: skip
def test_rows_of_json_lines(
    folder: Path, values: list[dict[str, Any]], chosen: set[int], blank: str
) -> None:
    path = folder / "t.jsonl"
    path.write_text("".join(json.dumps(value) + "\n" + blank for value in values))
    assume(any(values))
    for line in lines_of(TabularDataset.from_json_lines_files(path)):
        assert_same(line, chosen)


@given(
    values=st.lists(st.one_of(st.none(), st.integers(-9, 9)), min_size=1, max_size=20),
    chosen=CHOSEN,
    group=st.integers(1, 5),
    size=st.integers(1, 20),
)
def test_rows_of_parquet(
    folder: Path, values: list[int | None], chosen: set[int], group: int, size: int
) -> None:
    path = folder / "t.parquet"
    table = pa.table({"n": pa.array(values, pa.int64()), "t": [str(v) for v in values]})
    pq.write_table(table, path, row_group_size=group)
    for line in lines_of(TabularDataset.from_parquet_files(path), size):
        assert_same(line, chosen)


def test_rows_of_several_files_and_of_a_compressed_one(tmp_path: Path) -> None:
    texts = [f"{k}1,a\n\n{k}2,\n{k}3,c\n" for k in range(1, 4)]
    for number, text in enumerate(texts):
        (tmp_path / f"{number}.csv").write_text(text)
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress("".join(texts).encode()))
    dataset = TabularDataset.from_delimited_files(str(tmp_path / "*.csv"), header=False)
    each = lines_of(dataset)
    # A mini-batch of several files, as partition keys make it.
    joined = PlanLine(
        0,
        [path for line in each for path in line.paths],
        [size for line in each for size in line.sizes],
        [version for line in each for version in line.versions],
        ranges=[range_ for line in each for range_ in line.ranges],
        table=each[0].table,
        rows=sum(line.rows for line in each),
    )
    (compressed,) = lines_of(
        TabularDataset.from_delimited_files(tmp_path / "t.csv.gz", header=False)
    )
    assert (joined.rows, len(joined.paths), compressed.rows) == (9, 3, 9)
    for chosen in ({0}, {8}, {2, 3}, {0, 4, 5, 8}, set(range(9))):
        assert_same(joined, chosen)
        assert_same(compressed, chosen)
        pd.testing.assert_frame_equal(
            load_table(joined.only(ranges_of(chosen))),
            load_table(compressed.only(ranges_of(chosen))),
        )


def test_rows_are_counted_once_for_many_parts(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("n,t\n" + "".join(f"{k},{'x' * 50}\n" for k in range(50_000)) + "5,6,7\n")
    (line,) = lines_of(TabularDataset.from_delimited_files(path), 10**8)
    began = time.process_time()
    parts = parts_of(line)
    once = time.process_time() - began
    for row in range(0, 40_000, 400):
        frame = load_table(line.only([(row, 1), (row + 7, 2)]), parts)
        assert frame["n"].tolist() == [row, row + 7, row + 8]
    assert time.process_time() - began < 50 * once, "a hundred parts take less than fifty counts"
    with pytest.raises(BadInput, match="has more fields than the 2 columns"):
        load_table(line.only([(49_999, 2)]), parts)


GOOD = [b"%d,x%d\n" % (k, k) for k in range(20)]


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (b"7,x,9\n", "the row at byte {} has more fields than the 2 columns"),
        (b"7,x,9,9,9,9\n", "the row at byte {} has more fields than the 2 columns"),
        (
            b"oops,x\n",
            "column 'n' contains 'oops' in the row at byte {}, which is not a valid int64",
        ),
        (b"7,\xff\n", "the byte 0xff at offset {+2} is not utf-8"),
        (b"7,\0\n", "the byte at offset {+2} is zero"),
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_broken_row_of_delimited_text_fails_alone(
    tmp_path: Path, bad: bytes, message: str, end: str
) -> None:
    rows = [b"n,t\n", *GOOD[:7], bad, *GOOD[8:]]
    rows = [row.replace(b"\n", end.encode()) for row in rows]
    path = tmp_path / "t.csv"
    path.write_bytes(b"".join(rows))
    (line,) = lines_of(TabularDataset.from_delimited_files(path, column_types={"n": "int64"}))
    at = len(b"".join(rows[:8]))
    expected = re.escape(message.replace("{}", str(at)).replace("{+2}", str(at + 2)))
    for ranges in ([(0, 20)], [(7, 1)], [(2, 1), (6, 3), (15, 2)]):
        with pytest.raises(BadInput, match=expected):
            load_table(line.only(ranges))
    others = load_table(line.only([(0, 7), (8, 12)]))
    assert others["n"].tolist() == [*range(7), *range(8, 20)]
    assert _failing_alone(line) == [7]


def test_text_after_an_open_quote_is_one_row(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(b"n,t\n" + b"".join(GOOD[:5]) + b'5,"x\n6,y\n7,z\n')
    (line,) = lines_of(TabularDataset.from_delimited_files(path, column_types={"n": "int64"}))
    assert _failing_alone(line) == [5]
    assert line.rows == 6


@pytest.mark.parametrize(
    "bad", [b'{"n": 1,}\n', b"[1]\n", b'{"n": "x"}\n', b'{"n": 1, "t": "\xff"}\n', b"\x0b\n"]
)
def test_a_broken_line_of_json_fails_alone(tmp_path: Path, bad: bytes) -> None:
    path = tmp_path / "t.jsonl"
    good = [b'{"n": %d, "t": "a"}\n' % k for k in range(9)]
    path.write_bytes(b"".join(good))
    (before,) = lines_of(TabularDataset.from_json_lines_files(path))
    data = b"".join([*good[:4], bad, *good[5:]])
    path.write_bytes(data)
    # The plan of an input whose first rows, from which types are inferred, are good.
    line = PlanLine.decode(before.encode())
    line.sizes, line.versions, line.ranges = [len(data)], [None], [[0, len(data)]]
    assert _failing_alone(line) == [4]


def _failing_alone(line: PlanLine) -> list[int]:
    def fails(row: int) -> bool:
        try:
            frame = load_table(line.only([(row, 1)]))
        except BadInput:
            return True
        assert frame["n"].tolist() == [row]
        return False

    return [row for row in range(line.rows) if fails(row)]


def test_a_byte_of_another_encoding_fails_all_rows_of_transcoded_text(tmp_path: Path) -> None:
    """UTF-16 has no line ends that could be found in broken text: this is the limit of isolation."""
    path = tmp_path / "t.csv"
    text = "n,t\n1,a\n2,b\n".encode("utf-16-le")
    path.write_bytes(text)
    (line,) = lines_of(TabularDataset.from_delimited_files(path, encoding="utf-16-le"))
    path.write_bytes(text[:-4] + b"\x00\xd8\x00\x00")
    line.versions = [None]
    for row in (0, 1):
        with pytest.raises(BadInput, match="is not utf-16-le"):
            load_table(line.only([(row, 1)]))
