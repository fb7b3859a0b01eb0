"""Loads the items of a mini-batch that come from variables of a notebook, from files of the run folder."""

from __future__ import annotations

import os
import pickle

from .failures import BadInput
from .item_ranges import items_in

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing is not worth its import in a worker
    from typing import Any

    from .plan_line import PlanLine

MEMORY = "memory"
"""The format of a table whose rows are items of a variable."""

FOLDER_VARIABLE = "PARALLELRUN_DATA"
"""Environment variable with the folder of the files, where it is not the one of the plan."""

PICKLES, FRAMES, ARRAY, ARROW = "pickles", "frames", "npy", "arrow"

_open_files: dict[str, Any] = {}
"""The mapped files of this process, by path: they are opened once."""


def is_memory(line: PlanLine) -> bool:
    """Return whether the items of a plan line come from a variable."""
    return line.is_table and line.table.get("format") == MEMORY


def load_memory(line: PlanLine) -> Any:
    """Return the items of a plan line, as a part of the variable: a list, array or table.

    Raises
    ------
    BadInput
        The file cannot be read, or a package that reads it is missing.
    """
    table = line.table
    path = _path(table["file"])
    try:
        items = _READERS[table["form"]](path, line.ranges[0], table)
        return _shaped(items, table, line)
    except ImportError as error:
        raise BadInput(
            "the items of %s are read with %s, which this interpreter cannot import (%s); add it to "
            "the run's environment" % (line.paths[0], error.name or "a package", error)
        )
    except OSError as error:
        raise BadInput("the items of %s could not be read: %s" % (line.paths[0], error))


def _path(path: str) -> str:
    folder = os.environ.get(FOLDER_VARIABLE, "")
    if folder and not os.path.exists(path):
        return os.path.join(folder, os.path.basename(path))
    return path


def _read_pickle(path: str, _: list[int], table: dict[str, Any]) -> Any:
    start, end = table["at"]
    with open(path, "rb") as file:
        file.seek(start)
        return pickle.loads(file.read(end - start))  # noqa: S301 - the user's own notebook wrote it


def _read_array(path: str, range_: list[int], _: dict[str, Any]) -> Any:
    import numpy as np

    if path not in _open_files:
        _open_files[path] = np.load(path, mmap_mode="r", allow_pickle=False)
    return np.array(_open_files[path][range_[0] : range_[1]])


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
    PICKLES: _read_pickle,
    FRAMES: _read_pickle,
    ARRAY: _read_array,
    ARROW: _read_arrow,
}


def _shaped(items: Any, table: dict[str, Any], line: PlanLine) -> Any:
    """Return the selected items in the type of the variable."""
    container = table.get("container")
    if table["form"] == ARROW and container != "table":
        items = items.to_pandas()
        if "range" in table:  # of an index that is not stored
            import pandas as pd

            start, step, name = table["range"]
            first = start + line.ranges[0][0] * step
            items.index = pd.RangeIndex(first, first + len(items) * step, step, name=name)
    if table["form"] in (ARROW, FRAMES) and container == "series":
        items = items.iloc[:, 0].rename(_name(table))
    if "items" not in line.extra:
        return items
    positions = list(items_in(line.ranges_of_items))
    if isinstance(items, list):
        return [items[position] for position in positions]
    if container == "table":
        return items.take(positions)
    return items.iloc[positions] if hasattr(items, "iloc") else items[positions]


def _name(table: dict[str, Any]) -> Any:
    name = table.get("name")
    return tuple(name) if isinstance(name, list) else name
