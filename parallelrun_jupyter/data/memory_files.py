"""Writes variables of a notebook to files of a run's folder, from which workers read mini-batches."""

from __future__ import annotations

import os
import pickle
import sys
from array import array
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from ..errors import InputError
from ..worker.memory_items import ARRAY, ARROW, FRAMES, PICKLES

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

Stored: TypeAlias = dict[str, Any]
"""How workers read the file of a variable; part of the dataset's spec."""

_LEAST_CHUNK_ROWS = 1024
_PLAIN_OBJECTS = {str, type(None)}
_PLAIN = {str, int, float, bool, bytes, type(None)}
_PROTOCOL = 4
"""The newest protocol of Python 3.7."""


def offsets_path(path: str | Path) -> Path:
    """Return the file with the offsets of the blocks of a file of pickles."""
    return Path(f"{path}.offsets")


def write_items(items: Iterable[Any], rows: int, path: Path, name: str) -> tuple[Stored, int]:
    """Write items as pickled lists of ``rows`` each; return how to read them, and their number.

    Raises
    ------
    InputError
        An item cannot be pickled; the message names it.
    """
    source = iter(items)
    lists = iter(lambda: list(islice(source, rows)), [])
    return _write_blocks(lists, path, lambda block: _dump_items(block, name), PICKLES)


def _write_blocks(
    blocks: Iterable[Any], path: Path, dump: Callable[[Any], bytes], form: str
) -> tuple[Stored, int]:
    offsets, count = array("q", [0]), 0
    with open(path, "wb") as file:
        for block in blocks:
            file.write(dump(block))
            offsets.append(file.tell())
            count += len(block)
    offsets_path(path).write_bytes(offsets.tobytes())
    return {"form": form}, count


def _dump_items(block: list[Any], name: str) -> bytes:
    if set(map(type, block)) <= _PLAIN:
        return pickle.dumps(block, _PROTOCOL)
    import cloudpickle

    try:
        data: bytes = cloudpickle.dumps(block, _PROTOCOL)
    except Exception as error:
        for value in block:
            try:
                cloudpickle.dumps(value, _PROTOCOL)
            except Exception as exact:
                raise _unwritten(name, value, exact) from None
        raise _unwritten(name, block, error) from None
    return data


def _unwritten(name: str, value: object, error: Exception) -> InputError:
    msg = (
        f"{name} contains a {type(value).__name__}, which cannot be stored for the workers "
        f"({type(error).__name__}: {error}). Pass the parts of it that the function needs, such as "
        "numbers, text, arrays or dicts."
    )
    return InputError(msg)


def write_array(values: Any, path: Path) -> tuple[Stored, int]:
    """Write an array whose dtype is no object, as ``.npy``."""
    import numpy as np

    with open(path, "wb") as file:
        np.save(file, values, allow_pickle=False)
    return {"form": ARRAY}, len(values)


def write_arrow(table: pa.Table, rows: int, path: Path) -> tuple[Stored, int]:
    """Write an Arrow table in record batches of at least ``rows``."""
    import pyarrow as pa

    chunk = _chunk_rows(rows)
    table = table.combine_chunks()
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        for batch in table.to_batches(max_chunksize=chunk):
            writer.write_batch(batch)
    return {"form": ARROW, "chunk": chunk}, table.num_rows


def write_frame(frame: pd.DataFrame, rows: int, path: Path) -> tuple[Stored, int]:
    """Write a DataFrame: as Arrow if that keeps its dtypes, index and values, otherwise as pickles."""
    stored = _write_frame_as_arrow(frame, rows, path)
    if stored is not None:
        return stored, len(frame)
    parts = (frame.iloc[start : start + rows] for start in range(0, len(frame), rows))
    return _write_blocks(parts, path, _dump_frame, FRAMES)


def _dump_frame(frame: pd.DataFrame) -> bytes:
    import cloudpickle

    data: bytes = cloudpickle.dumps(frame, _PROTOCOL)
    return data


def _write_frame_as_arrow(frame: pd.DataFrame, rows: int, path: Path) -> Stored | None:
    """Write a DataFrame as Arrow; return None if some of it would change."""
    try:
        import pyarrow as pa
    except ImportError:
        return None
    if not _has_plain_objects(frame):
        return None
    stored: Stored = {"form": ARROW, "chunk": _chunk_rows(rows)}
    index = frame.index
    keeps_index = type(index).__name__ != "RangeIndex"
    if not keeps_index:
        stored["range"] = [index.start, index.step, index.name]  # type: ignore[attr-defined]
    try:
        schema = pa.Schema.from_pandas(frame, preserve_index=keeps_index)
        batches = _batches(frame, schema, stored["chunk"], keeps_index=keeps_index)
        first = next(batches, None)
        if first is not None and not _is_unchanged(first, frame, stored):
            return None
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, schema) as writer:
            if first is not None:
                writer.write_batch(first)
            for batch in batches:
                writer.write_batch(batch)
    except (pa.ArrowException, TypeError, ValueError, OverflowError, NotImplementedError):
        return None
    return stored


def _has_plain_objects(frame: pd.DataFrame) -> bool:
    """Return whether columns of objects hold text and None only, which Arrow returns unchanged."""
    for position, dtype in enumerate(frame.dtypes):
        if str(dtype) == "object":
            kinds = set(map(type, frame.iloc[:, position]))
            if not kinds <= _PLAIN_OBJECTS:
                return False
    levels = [frame.index.get_level_values(k) for k in range(frame.index.nlevels)]
    return all(
        str(level.dtype) != "object" or set(map(type, level)) <= _PLAIN_OBJECTS for level in levels
    )


def _batches(
    frame: pd.DataFrame, schema: pa.Schema, chunk: int, *, keeps_index: bool
) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa

    for start in range(0, len(frame), chunk):
        part = frame.iloc[start : start + chunk]
        yield pa.RecordBatch.from_pandas(part, schema=schema, preserve_index=keeps_index)


def _is_unchanged(batch: pa.RecordBatch, frame: pd.DataFrame, stored: Stored) -> bool:
    """Return whether the first rows are the same after a round trip."""
    import pandas as pd
    import pyarrow as pa

    from ..worker.output.objects import is_same_table

    back = pa.Table.from_batches([batch]).to_pandas()
    if "range" in stored:
        start, step, name = stored["range"]
        back.index = pd.RangeIndex(start, start + len(back) * step, step, name=name)
    return is_same_table(back, frame.iloc[: batch.num_rows])


def _chunk_rows(rows: int) -> int:
    """Return the rows of a record batch: a multiple of a mini-batch's, so that few are read for it."""
    return rows * max(1, _LEAST_CHUNK_ROWS // rows)


def memory_bytes(values: Any) -> int:
    """Return the approximate size of a variable in memory, in bytes; 0 if it is unknown."""
    for name in ("nbytes", "memory_usage"):
        size = getattr(values, name, None)
        if callable(size):
            size = size(index=True)
            size = size.sum() if hasattr(size, "sum") else size
        if size is not None:
            return int(size)
    return sys.getsizeof(values, 0)


def file_bytes(path: Path) -> int:
    """Return the size of a file in bytes."""
    return os.stat(path).st_size
