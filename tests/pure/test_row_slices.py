"""Rows that were cut and encoded again are those that a worker encodes."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parallelrun_jupyter.errors import OutputError
from parallelrun_jupyter.runs.journal.events import (
    AttemptSucceeded,
    ItemsSucceeded,
    RowsDropped,
    RunResumed,
)
from parallelrun_jupyter.runs.output.committed_rows import read_rows
from parallelrun_jupyter.runs.output.earlier_rows import results_of
from parallelrun_jupyter.runs.output.merge import merge_rows
from parallelrun_jupyter.runs.output.published import BLOCK_BYTES, BlockSums, Published
from parallelrun_jupyter.runs.output.row_notes import NoteLines, read_notes
from parallelrun_jupyter.runs.output.row_slices import decoded, encoded
from parallelrun_jupyter.worker.output.formats import PARQUET, TEXT, encode_table, text_rows
from parallelrun_jupyter.worker.output.results import CSV_OPTIONS

texts = st.text("ab\n\r\",\x00\x93'", max_size=4)
rows = st.lists(
    st.tuples(texts, st.none() | texts, st.integers(-5, 1 << 60), st.booleans()),
    min_size=1,
    max_size=8,
)


def encode(values: list[Any], form: str) -> bytes:
    if form == TEXT:
        return text_rows([row[0] for row in values])
    frame = pd.DataFrame(values, columns=["text", "gap", "number", "flag"])
    frame = frame.astype({"text": "str", "gap": "str"})  # the same types in every mini-batch
    return encode_table(frame, form, CSV_OPTIONS)


def published(pieces: list[bytes], form: str) -> tuple[bytes, pd.DataFrame]:
    lines: list[str] = []
    notes = NoteLines(lines.append)
    data = b"".join(merge_rows(lambda: iter(enumerate(pieces)), form, notes.add))
    notes.end(len(data))
    return data, read_rows(data, form, read_notes(lines) if notes.is_needed else None)


@pytest.mark.parametrize("form", ["text", "csv", "jsonl", "parquet"])
@given(before=st.lists(rows, min_size=1, max_size=3), cuts=st.lists(st.integers(0, 24), max_size=4))
def test_rows_divided_in_another_way_are_published_alike(
    form: str, before: list[list[Any]], cuts: list[int]
) -> None:
    blocks = [decoded(encode(values, form), form, len(values)) for values in before]
    slices = [
        block.slice(k, k + 1) for block in blocks if block is not None for k in range(len(block))
    ]
    values = [row for part in before for row in part]
    assert len(slices) == len(values)
    ends = sorted({*(cut for cut in cuts if 0 < cut < len(values)), len(values)})
    spans = list(zip([0, *ends], ends, strict=False))
    taken = [data for first, end in spans for _, data in encoded(slices[first:end], form)]
    expected = [encode(values[first:end], form) for first, end in spans]
    data, frame = published(taken, form)
    expected_data, expected_frame = published(expected, form)
    assert data == expected_data
    pd.testing.assert_frame_equal(frame, expected_frame)


@given(values=rows, cut=st.integers(1, 7))
def test_the_bytes_of_parquet_do_not_depend_on_the_division_of_a_mini_batch(
    values: list[Any], cut: int
) -> None:
    table = pa.table({"number": [row[2] for row in values], "text": [row[0] for row in values]})

    def stream(part: pa.Table) -> bytes:
        sink = pa.BufferOutputStream()
        with pa.RecordBatchStreamWriter(sink, part.schema) as writer:
            writer.write_table(part)
        return bytes(sink.getvalue().to_pybytes())

    whole = b"".join(merge_rows(lambda: iter([(0, stream(table))]), PARQUET))
    parts = [table.slice(0, cut), table.slice(cut)]
    divided = b"".join(merge_rows(lambda: iter([(0, stream(part)) for part in parts]), PARQUET))
    assert divided == whole


def attempt(mini_batch: int, items: int, rows: int) -> AttemptSucceeded:
    return AttemptSucceeded(mini_batch, 1, "w", 0, 0, items, min(items, rows), rows, 0, 7, 9, 5)


def some(mini_batch: int, first: int, items: int, of: int) -> ItemsSucceeded:
    return ItemsSucceeded(mini_batch, 1, "w", 0, 0, first, items, of, items, 1, 3, 4, 6)


def test_results_are_numbered_in_the_order_of_the_output() -> None:
    results = results_of([attempt(2, 5, 6), some(1, 3, 2, 5), some(1, 0, 1, 5), attempt(0, 5, 4)])
    assert [tuple(result) for result in results] == [
        (0, 0, 5, 5, 0, 4, True),
        (1, 0, 1, 5, 4, 1, True),
        (1, 3, 2, 5, 5, 2, True),
        (2, 0, 5, 5, 7, 6, True),
    ]
    assert [results.place(result) for result in results][1:3] == [(1, 3, 4, 6)] * 2
    assert results.place(next(iter(results))) == (0, 7, 9, 5)


def test_dropped_rows_are_no_results_and_a_corrected_script_makes_the_earlier_ones_old() -> None:
    resumed = RunResumed(0, False, 1, "digest")
    dropped = RowsDropped(0, 0, 0, 5, 5, 4, 4, "short")
    results = results_of([attempt(0, 5, 4), attempt(1, 5, 5), dropped, resumed, attempt(0, 5, 5)])
    assert [(r.mini_batch, r.rows, r.is_current) for r in results] == [(0, 5, True), (1, 5, False)]


@given(st.lists(st.integers(1, BLOCK_BYTES * 2), max_size=4))
def test_every_block_has_a_checksum_however_it_was_written(sizes: list[int]) -> None:
    content = bytes(range(256)) * (sum(sizes) // 256 + 1)
    content = content[: sum(sizes)]
    sums = BlockSums()
    start = 0
    for size in sizes:
        sums.add(content[start : start + size])
        start += size
    blocks = range(0, len(content), BLOCK_BYTES)
    assert sums.sums() == [zlib.crc32(content[k : k + BLOCK_BYTES]) for k in blocks]
    assert sums.size_bytes == len(content)


def test_a_changed_block_is_refused_and_others_are_read(tmp_path: Path) -> None:
    content = bytes(range(256)) * (3 * BLOCK_BYTES // 256)
    path = tmp_path / "output"
    sums = BlockSums()
    sums.add(content)
    path.write_bytes(content[: BLOCK_BYTES + 10] + b"?" + content[BLOCK_BYTES + 11 :])
    published_ = Published(len(content), BLOCK_BYTES, sums.sums())
    with open(path, "rb") as file:
        published_.check_size(file)
        assert published_.read(file, 5, 100) == content[5:105]
        assert published_.read(file, 2 * BLOCK_BYTES, 7) == content[:7]
        with pytest.raises(OutputError, match="has changed since it was published"):
            published_.read(file, BLOCK_BYTES - 1, 2)
        path.write_bytes(content + b"?")
        with pytest.raises(OutputError, match="has changed since it was published"):
            published_.check_size(file)
