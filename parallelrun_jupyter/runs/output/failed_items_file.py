"""``failed_items.parquet`` or ``failed_items.csv`` beside the output: a row for each failed item."""

from __future__ import annotations

import csv
from array import array
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from importlib import import_module
from importlib.util import find_spec
from itertools import accumulate, islice
from pathlib import Path
from typing import Any

from ...files import replacing
from ..failed_items import FailedItem
from ..run_folder import RunFolder
from ..run_record import RunRecord

PARQUET_NAME = "failed_items.parquet"
CSV_NAME = "failed_items.csv"

COLUMNS = FailedItem._fields[:-1]
"""The columns of the file: all but ``log``."""

_INTEGERS = frozenset({"mini_batch", "position", "number", "tries"})
_MARK = b"parallelrun-jupyter.run_id"
_ROWS_AT_ONCE = 5000
_FOOTER_BYTES = 1 << 16


def folder_of(folder: RunFolder, record: RunRecord) -> Path | None:
    """Return the folder of the file; None for a run whose items do not fail on their own.

    It is the folder of the output file, or in the run's folder if the output has no such file or
    is in an object store. The other runs have the thresholds of Azure, and an output folder with
    Azure's files only.
    """
    if not record.limits.isolate_failures:
        return None
    output = record.output
    if not output.append_rows or output.file_name in {PARQUET_NAME, CSV_NAME}:
        return folder.output
    return folder.final_file(record).parent


def failed_items_file(folder: RunFolder, record: RunRecord) -> Path | None:
    """Return the path of the file; None if the run has none."""
    parent = folder_of(folder, record)
    paths = [parent / name for name in (PARQUET_NAME, CSV_NAME)] if parent is not None else []
    return next((path for path in paths if path.exists()), None)


def import_ahead() -> None:
    """Import what `write_failed_items` needs; a failed import is reported there."""
    with suppress(ImportError):
        import_module("pyarrow.parquet")


def write_failed_items(
    folder: RunFolder, record: RunRecord, items: Iterable[FailedItem]
) -> Path | None:
    """Write the file of a run, or remove that of an earlier one if no item has failed.

    It is Parquet if pyarrow is installed, otherwise CSV. Only a few thousand rows are in memory.

    Parameters
    ----------
    folder, record
        The run.
    items
        Its failed items.

    Returns
    -------
    Path
        The file; None if no item has failed.

    Raises
    ------
    OSError
        It cannot be written or removed.
    """
    parent = folder_of(folder, record)
    if parent is None:
        return None
    rows = iter(items)
    first = list(islice(rows, _ROWS_AT_ONCE))
    path = None
    if first:
        parent.mkdir(parents=True, exist_ok=True)
        path = _write(parent, folder.run_id, _batches(first, rows))
    for other in (parent / PARQUET_NAME, parent / CSV_NAME):
        if other != path and _is_ours(other):
            other.unlink()
    return path


def _batches(first: list[FailedItem], rows: Iterator[FailedItem]) -> Iterator[list[FailedItem]]:
    batch = first
    while batch:
        yield batch
        batch = list(islice(rows, _ROWS_AT_ONCE))


def _write(parent: Path, run_id: str, batches: Iterator[list[FailedItem]]) -> Path:
    path = parent / (PARQUET_NAME if find_spec("pyarrow") else CSV_NAME)
    write = _write_parquet if path.name == PARQUET_NAME else _write_csv
    with replacing(path, owner=run_id) as temporary:
        write(temporary, run_id, batches)
    return path


def _write_parquet(path: Path, run_id: str, batches: Iterator[list[FailedItem]]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    types = [(name, pa.int64() if name in _INTEGERS else pa.string()) for name in COLUMNS]
    schema = pa.schema(types, metadata={_MARK: run_id})
    # pyarrow cannot open a path that is not UTF-8.
    with open(path, "wb") as file, pq.ParquetWriter(file, schema) as writer:
        for batch in batches:
            columns = list(zip(*batch, strict=True))[: len(COLUMNS)]
            arrays = [
                _integers(pa, values) if name in _INTEGERS else _texts(pa, values)
                for name, values in zip(COLUMNS, columns, strict=True)
            ]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))


def _integers(pa: Any, values: Sequence[int | None]) -> Any:
    """Return an Arrow array; ``pa.array`` would import pandas, while the end of the run waits."""
    numbers = array("q", [value or 0 for value in values])
    buffers = [_validity(pa, values), pa.py_buffer(numbers)]
    return pa.Array.from_buffers(pa.int64(), len(values), buffers)


def _texts(pa: Any, values: Sequence[str | None]) -> Any:
    """Return an Arrow array, as `_integers`."""
    texts = [(value or "").encode("utf-8", "backslashreplace") for value in values]
    offsets = array("i", accumulate(map(len, texts), initial=0))
    buffers = [_validity(pa, values), pa.py_buffer(offsets), pa.py_buffer(b"".join(texts))]
    return pa.Array.from_buffers(pa.string(), len(values), buffers)


def _validity(pa: Any, values: Sequence[Any]) -> Any:
    """Return Arrow's bitmap of the values that are not None."""
    bits = bytearray((len(values) + 7) // 8)
    for index, value in enumerate(values):
        bits[index // 8] |= (value is not None) << index % 8
    return pa.py_buffer(bytes(bits))


def _write_csv(path: Path, _run_id: str, batches: Iterator[list[FailedItem]]) -> None:
    """Write CSV. Only the first row of a group has the traceback, which may have a hundred lines."""
    shown: set[str] = set()
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for batch in batches:
            for item in batch:
                row: dict[str, Any] = item._asdict()
                if item.group in shown:
                    row["traceback"] = ""
                shown.add(item.group)
                writer.writerow([row[name] for name in COLUMNS])


def _is_ours(path: Path) -> bool:
    """Return whether a file exists and was written here, for this run or an earlier one."""
    try:
        with open(path, "rb") as file:
            if path.name == CSV_NAME:
                return file.readline().rstrip() == ",".join(COLUMNS).encode("ascii")
            file.seek(max(0, path.stat().st_size - _FOOTER_BYTES))
            return _MARK in file.read()
    except FileNotFoundError:
        return False
