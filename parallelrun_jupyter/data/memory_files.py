"""Writes variables of a notebook to files of a run's folder, from which workers read mini-batches."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from ..errors import InputError
from ..files import PIECE_BYTES
from ..worker.memory_items import ARRAY, ARROW, PARTS, PICKLES
from .memory_blocks import BlockWriter, Pickled

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

Stored: TypeAlias = dict[str, Any]
"""How workers read the file of a variable: part of the dataset's spec, with its count of items."""

NameOf: TypeAlias = Callable[[int], str]
"""Returns the name of an item for messages, such as ``texts[17]``."""

_SHARED_ROWS = 1024
_SHARED_BYTES = 1 << 18
"""Several mini-batches share a block of so many rows and bytes: each block costs 0.1 ms."""

_NOT_FOR_ARROW = (TypeError, ValueError, LookupError, OverflowError, NotImplementedError)
"""Errors that pyarrow raises for values and labels that it does not support."""

_PLAIN_OBJECTS = {str, type(None)}


def write_items(items: Iterable[Any], rows: int, path: Path, name_of: NameOf) -> Stored:
    """Write items as pickled lists of ``rows`` each.

    Raises
    ------
    InputError
        An item cannot be pickled; the message names it.
    """
    source = iter(items)
    with BlockWriter(path) as blocks:
        while block := list(islice(source, rows)):
            blocks.add(_pickled(block, blocks.count, name_of), len(block))
    return {"form": PICKLES, "count": blocks.count, "rows": rows}


def write_unsized(
    items: Iterable[Any], parts: int, most_rows: int, path: Path, name_of: NameOf
) -> Stored:
    """Write items whose number is unknown, for at most about ``parts`` mini-batches.

    A mini-batch has a power of two as its number of items. The lists are as small as those of a run
    that ended here, so that every mini-batch consists of whole lists.

    Parameters
    ----------
    parts
        An even number.
    most_rows
        The largest mini-batch; more items make more mini-batches.
    """
    source = iter(items)
    rows = 1
    with BlockWriter(path) as blocks:
        while block := list(islice(source, rows)):
            blocks.add(_pickled(block, blocks.count, name_of), len(block))
            if blocks.count >= parts * rows and 2 * rows <= most_rows:
                rows *= 2
    return {"form": PICKLES, "count": blocks.count, "rows": rows}


def _pickled(block: Any, first: int, name_of: NameOf) -> Pickled:
    pickled = _pickled_or_error(block)
    if isinstance(pickled, Pickled):
        return pickled
    for number in range(len(block)):
        one = block.iloc[[number]] if hasattr(block, "iloc") else block[number : number + 1]
        exact = _pickled_or_error(one)
        if isinstance(exact, Exception):
            raise _unwritten(name_of(first + number), _only(one), exact) from exact
    raise _unwritten(name_of(first), block, pickled) from pickled


def _pickled_or_error(value: Any) -> Pickled | Exception:
    try:
        return Pickled(value)
    except Exception as error:  # of the values' own methods
        return error


def _only(one: Any) -> Any:
    """Return the only item of a list or an array; a table as it is."""
    return one if hasattr(one, "iloc") else one[0]


def _unwritten(name: str, value: object, error: Exception) -> InputError:
    msg = (
        f"{name} is a {type(value).__name__} that cannot be stored for the workers "
        f"({type(error).__name__}: {error}). Pass the parts of it that the function needs, such as "
        "numbers, text, arrays or dicts."
    )
    return InputError(msg)


def write_parts(values: Any, rows: int, path: Path, name_of: NameOf) -> Stored:
    """Write slices of a DataFrame, a Series or an array as pickles: nothing of them changes."""
    sliced = values.iloc if hasattr(values, "iloc") else values
    chunk = chunk_rows(rows, memory_bytes(values) / len(values))
    shared: list[pickle.PickleBuffer] = []
    if chunk < len(values):
        without_rows = _pickled_or_error(sliced[:0])
        if isinstance(without_rows, Pickled):  # else the error of a part names its row
            shared = without_rows.buffers
    with BlockWriter(path, shared) as blocks:
        for start in range(0, len(values), chunk):
            part = sliced[start : start + chunk]
            blocks.add(_pickled(part, start, name_of), len(part))
    return {"form": PARTS, "count": len(values), "rows": rows}


def write_array(values: Any, rows: int, path: Path) -> Stored:
    """Write an array whose dtype has no objects, as ``.npy`` in the order of its items."""
    import numpy as np

    header = {
        "shape": values.shape,
        "fortran_order": False,
        "descr": np.lib.format.dtype_to_descr(values.dtype),
    }
    with open(path, "wb") as file:
        np.lib.format.write_array_header_2_0(file, header)
        step = max(1, int(PIECE_BYTES // max(1, values.nbytes / len(values))))
        for start in range(0, len(values), step):
            piece = np.ascontiguousarray(values[start : start + step])
            file.write(piece.view(np.uint8).data)
    return {"form": ARRAY, "count": len(values), "rows": rows}


def write_arrow(table: pa.Table, rows: int, path: Path) -> Stored:
    """Write an Arrow table in record batches of at least ``rows``."""
    import pyarrow as pa

    chunk = chunk_rows(rows, table.nbytes / table.num_rows)
    table = table.unify_dictionaries()
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        for start in range(0, table.num_rows, chunk):
            piece = table.slice(start, chunk).combine_chunks()
            batches = piece.to_batches()
            if len(batches) != 1:  # such as text of more than 2 GB in a column
                msg = (
                    f"{chunk:,} rows of the Arrow table do not fit into one record batch; set a "
                    "smaller mini_batch_rows, or cast its columns to large types."
                )
                raise InputError(msg)
            writer.write_batch(batches[0])
    return {"form": ARROW, "chunk": chunk, "count": table.num_rows, "rows": rows}


def write_frame_as_arrow(frame: pd.DataFrame, rows: int, path: Path) -> Stored | None:
    """Write a DataFrame as Arrow, for another interpreter; return None if some of it would change."""
    try:
        import pyarrow as pa
    except ImportError:
        return None
    names = [*frame.columns, *frame.index.names, *frame.columns.names]
    has_texts = all(name is None or type(name) is str for name in names)
    if not has_texts or None in list(frame.columns) or not frame.columns.is_unique:
        return None
    if frame.attrs or getattr(frame.index, "freq", None) or not _has_plain_objects(frame):
        return None
    chunk = chunk_rows(rows, memory_bytes(frame) / len(frame))
    stored: Stored = {"form": ARROW, "chunk": chunk, "count": len(frame), "rows": rows}
    index = frame.index
    keeps_index = type(index).__name__ != "RangeIndex"
    if not keeps_index:
        if range_of(index) is None:
            return None
        stored["range"] = range_of(index)
    try:
        schema = pa.Schema.from_pandas(frame, preserve_index=keeps_index)
        batches = _batches(frame, schema, chunk, keeps_index=keeps_index)
        first = next(batches)
        if not _is_unchanged(first, frame, stored):
            return None
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, schema) as writer:
            writer.write_batch(first)
            for batch in batches:
                writer.write_batch(batch)
    except (pa.ArrowException, *_NOT_FOR_ARROW):
        return None
    return stored


def range_of(index: Any) -> list[Any] | None:
    """Return start, step and name of a RangeIndex, as JSON; None for other indexes."""
    name = getattr(index, "name", None)
    if type(index).__name__ != "RangeIndex" or not (name is None or isinstance(name, str)):
        return None
    return [index.start, index.step, name]


def _has_plain_objects(frame: pd.DataFrame) -> bool:
    """Return whether columns of objects hold text and None only, which Arrow returns unchanged."""
    for position, dtype in enumerate(frame.dtypes):
        if str(dtype) == "object":
            kinds = set(map(type, frame.iloc[:, position]))
            if not kinds <= _PLAIN_OBJECTS:
                return False
    return all(
        str(level.dtype) != "object" or set(map(type, level)) <= _PLAIN_OBJECTS
        for level in _levels(frame.index)
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
    same_types = [
        [label.dtype for axis in (table.columns, table.index) for label in _levels(axis)]
        for table in (back, frame)
    ]
    return same_types[0] == same_types[1] and is_same_table(back, frame.iloc[: batch.num_rows])


def _levels(axis: pd.Index) -> list[pd.Index]:
    return [axis.get_level_values(k) for k in range(axis.nlevels)]


def chunk_rows(rows: int, row_bytes: float) -> int:
    """Return the rows of a block: a multiple of a mini-batch's, so that one is read for it."""
    most = min(_SHARED_ROWS, int(_SHARED_BYTES / max(row_bytes, 1)))
    return rows * max(1, most // rows)


def memory_bytes(values: Any) -> int:
    """Return the approximate size of a variable in memory, in bytes; 0 if it is unknown."""
    usage = getattr(values, "memory_usage", None)
    if usage is None:
        return int(getattr(values, "nbytes", 0))
    size = usage(index=True)
    return int(size.sum() if hasattr(size, "sum") else size)
