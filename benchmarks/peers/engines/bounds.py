"""Bounds of a table: a threaded reader scores all rows in one expression and writes them.

No script of a user runs, nothing is retried, and nothing is kept of a killed process. The threads are as
many as the others have processes; polars reads their number when it is imported, from a variable.
"""

from __future__ import annotations

from typing import Any

from ..results import Results
from ..scripts.table import FEATURES, WEIGHTS
from ..workload import CSV, JSON_LINES, PARQUET, Workload


def run(workload: Workload, results: Results, *, reader: str) -> None:
    """Read, score and write."""
    write = _by_polars if reader == "polars" else _by_pyarrow
    write(workload, str(results.output))
    results.finish()


def _by_polars(workload: Workload, output: str) -> None:
    """Stream the file through one lazy query."""
    import polars as pl

    score: Any = pl.col("text").str.len_chars()
    for name, weight in zip(FEATURES, WEIGHTS, strict=True):
        score = score + pl.col(name) * weight
    scan = {CSV: pl.scan_csv, JSON_LINES: pl.scan_ndjson, PARQUET: pl.scan_parquet}
    rows = scan[workload.format](workload.source).select("id", (score * 256).cast(pl.Int64))
    rows.sink_csv(output, include_header=False)


def _by_pyarrow(workload: Workload, output: str) -> None:
    """Read the whole file into a table."""
    import pyarrow as pa
    import pyarrow.compute as pc
    from pyarrow import csv, json, parquet

    pa.set_cpu_count(workload.workers)
    if workload.format == JSON_LINES:
        table = json.read_json(workload.source)
    elif workload.format == PARQUET:
        table = parquet.read_table(workload.source)
    else:
        parse = csv.ParseOptions(newlines_in_values=workload.is_quoted)
        table = csv.read_csv(workload.source, parse_options=parse)
    score: Any = pc.utf8_length(table["text"])
    for name, weight in zip(FEATURES, WEIGHTS, strict=True):
        score = pc.add(score, pc.multiply(table[name], weight))
    rows = pa.table({"id": table["id"], "score": pc.cast(pc.multiply(score, 256.0), "int64")})
    csv.write_csv(rows, output, csv.WriteOptions(include_header=False))
