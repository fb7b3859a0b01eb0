"""Loads the items of a mini-batch that come from variables of a notebook, from files of the run folder."""

from __future__ import annotations

import os
import sys

from .failures import BadInput
from .item_ranges import items_in

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing is not worth its import in a worker
    from typing import Any

    from .plan_line import PlanLine

MEMORY = "memory"
"""The format of a table whose rows are items of a variable."""

FOLDER_VARIABLE = "PARALLELRUN_DATA"
"""Environment variable of workers with the folder of the files."""

PICKLES, PARTS, ARRAY, ARROW = "pickles", "parts", "npy", "arrow"
"""How values are stored: lists of items, parts of a sliced container, an array, Arrow record batches."""

_open_files: dict[str, Any] = {}
"""What is read once of a file, by path: the header of an array, the mapped Arrow file."""

_last_part: dict[tuple[str, int], Any] = {}
"""The block that was read last, if mini-batches share it: the next one is probably in it, too."""


def is_memory(line: PlanLine) -> bool:
    """Return whether the items of a plan line come from a variable."""
    return line.is_table and line.table.get("format") == MEMORY


def load_memory(line: PlanLine) -> Any:
    """Return the items of a plan line, as a part of the variable: a list, array or table.

    It is a copy: changes stay in this process, and the next call returns the stored values.

    Raises
    ------
    BadInput
        The file cannot be read, or a package that reads it is missing.
    """
    table = line.table
    path = path_of(line)
    try:
        items = _READERS[table["form"]](path, line.ranges[0], table)
        return _shaped(items, table, line)
    except Exception as error:  # pickles call the code of the values' own packages
        raise BadInput(_reason(error, line)) from error


def close_files(folder: str) -> None:
    """Close the files in the folder of a run's data that `load_memory` keeps open for its next call.

    A worker ends with its run; a notebook that reads the items of many runs calls this.
    """
    for path in [path for path in _open_files if os.path.dirname(path) == folder]:
        del _open_files[path]
    for key in [key for key in _last_part if os.path.dirname(key[0]) == folder]:
        del _last_part[key]


def path_of(line: PlanLine) -> str:
    """Return the path of the file with the items of a plan line."""
    # An absolute path, of a line that is `located`, stays as it is.
    return os.path.join(os.environ.get(FOLDER_VARIABLE, ""), line.table["file"])


def located(line: PlanLine, folder: str) -> PlanLine:
    """Return a plan line that names its file by its path, for other processes than workers.

    A plan has only the names of files: the run folder may be moved, or be on another machine.
    """
    if is_memory(line):
        line.table = dict(line.table, file=os.path.join(folder, line.table["file"]))
    return line


def _reason(error: Exception, line: PlanLine) -> str:
    name = line.paths[0]
    if isinstance(error, OSError):
        return "the items of %s could not be read: %s" % (name, error)
    writer = line.table.get("written_by", "")
    here = "%d.%d" % sys.version_info[:2]
    reason = "%s: %s" % (type(error).__name__, error)
    if writer and writer.split(" ")[0] != here:
        return (
            "the items of %s were stored by Python %s, and this interpreter, Python %s, cannot read "
            "them (%s). Leave environment out, or give lists of plain values, or save the data to a "
            "file" % (name, writer, here, reason)
        )
    if isinstance(error, ImportError):
        return (
            "the items of %s are read with %s, which this interpreter cannot import (%s); add it to "
            "the run's environment" % (name, error.name or "a package", error)
        )
    stored = " They were stored by Python %s." % writer if writer else ""
    return "the items of %s could not be loaded (%s).%s" % (name, reason, stored)


def _read_lists(path: str, range_: list[int], table: dict[str, Any]) -> Any:
    from .memory_blocks import read_blocks

    start, end, first = table["at"]
    items: list[Any] = []
    for block in read_blocks(path, start, end):
        items += block
    if len(items) > range_[1] - range_[0]:
        items = items[range_[0] - first : range_[1] - first]
    return items


def _read_part(path: str, range_: list[int], table: dict[str, Any]) -> Any:
    from .memory_blocks import read_blocks

    start, end, first = table["at"]
    key = (path, start)
    part = _last_part.get(key)
    if part is None:
        part = next(iter(read_blocks(path, start, end)))
        if len(part) == range_[1] - range_[0]:
            return part
        _last_part.clear()
        if not _has_objects(part):
            _last_part[key] = part
    sliced = part.iloc if hasattr(part, "iloc") else part
    # A copy: the part is in a block with the items of other mini-batches.
    return sliced[range_[0] - first : range_[1] - first].copy()


def _has_objects(part: Any) -> bool:
    """Return whether a copy of a part shares objects with it, which a script may change."""
    dtypes = part.dtypes if hasattr(part, "columns") else [part.dtype]
    return any(str(dtype) == "object" for dtype in dtypes) or getattr(
        getattr(part, "dtype", None), "hasobject", False
    )


def _read_array(path: str, range_: list[int], _: dict[str, Any]) -> Any:
    import numpy as np

    from .memory_blocks import private_bytes

    if path not in _open_files:
        with open(path, "rb") as opened:
            np.lib.format.read_magic(opened)
            shape, _order, dtype = np.lib.format.read_array_header_2_0(opened)
            _open_files[path] = dtype, shape[1:], opened.tell()
    dtype, shape, offset = _open_files[path]
    count = range_[1] - range_[0]
    row_bytes = dtype.itemsize
    for length in shape:
        row_bytes *= length
    if not row_bytes:
        return np.zeros((count,) + shape, dtype)  # noqa: RUF005 - Python 3.7
    file = os.open(path, os.O_RDONLY)
    try:
        data = private_bytes(file, offset + range_[0] * row_bytes, count * row_bytes)
    finally:
        os.close(file)
    return np.frombuffer(data, dtype).reshape((count,) + shape)  # noqa: RUF005 - Python 3.7


def _read_arrow(path: str, range_: list[int], table: dict[str, Any]) -> Any:
    import pyarrow as pa

    if path not in _open_files:
        _open_files[path] = pa.ipc.open_file(pa.memory_map(path))
    file, chunk = _open_files[path], table["chunk"]
    first, end = range_
    pieces = []
    for number in range(first // chunk, (end - 1) // chunk + 1):
        start = max(first - number * chunk, 0)
        count = min(end - number * chunk, chunk) - start
        pieces.append(file.get_batch(number).slice(start, count))
    return pa.Table.from_batches(pieces)


_READERS: dict[str, Any] = {
    PICKLES: _read_lists,
    PARTS: _read_part,
    ARRAY: _read_array,
    ARROW: _read_arrow,
}


def _shaped(items: Any, table: dict[str, Any], line: PlanLine) -> Any:
    """Return the selected items in the type of the variable."""
    container = table.get("container")
    if table["form"] == ARROW and container != "table":
        items = _frame(items, table, line.ranges[0][0])
        if container == "series":
            items = items.iloc[:, 0].rename(_name(table))
    if "items" not in line.extra:
        return items
    positions = list(items_in(line.ranges_of_items))
    if isinstance(items, list):
        return [items[position] for position in positions]
    if container == "table":
        return items.take(positions)
    return items.iloc[positions].copy() if hasattr(items, "iloc") else items[positions]


def _frame(items: Any, table: dict[str, Any], first_item: int) -> Any:
    """Return rows of an Arrow file as a DataFrame with its own, writable values."""
    frame = items.to_pandas().copy()
    if "range" in table:  # of an index that is not stored
        import pandas as pd

        start, step, name = table["range"]
        first = start + first_item * step
        frame.index = pd.RangeIndex(first, first + len(frame) * step, step, name=name)
    return frame


def _name(table: dict[str, Any]) -> Any:
    name = table.get("name")
    return tuple(name) if isinstance(name, list) else name
