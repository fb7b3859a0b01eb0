"""The results of a function, in input order: a list, an array, a Series or a DataFrame."""

from __future__ import annotations

import sys
import warnings
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ..data.datasets.memory_dataset import FRAME, GRID, SERIES, TABLE, StoredDataset
from ..errors import OutputError, Remedy
from ..formatting import plural
from ..runs.output.blocks import ItemBlock, committed_blocks
from ..runs.output.unreadable_values import values_of
from ..runs.run_folder import RunFolder
from ..runs.run_record import RunRecord
from ..worker.function_script import BATCH
from .result_values import check_objects, class_finder, not_read

if TYPE_CHECKING:
    import pandas as pd

RAISE: Any = type("Raise", (), {"__repr__": lambda _: "<raise an error>"})()
"""Stands for an error if an item has no result."""

_ABSENT: Any = object()
"""Stands for the result of an item that has none, until it is replaced."""

_MIXED = (
    "run {run_id} has mini-batches for which the function returned {kinds}: they cannot be joined. Return "
    "one type; run.stream() yields the result of each mini-batch as it is."
)


def read_results(
    folder: RunFolder, record: RunRecord, items: int, failure: str = "", missing: Any = RAISE
) -> Any:
    """Return the results of a run of a function.

    Parameters
    ----------
    folder, record
        The run.
    items
        Number of its items, as far as they are planned.
    failure
        The reason of most failures, for the message of the error.
    missing
        The result of an item that has none, or whose result cannot be read back.

    Raises
    ------
    OutputError
        Items have no results, or one cannot be read back, and ``missing`` is `RAISE`; the run is not one
        of a function; or its results cannot be joined.
    """
    check_objects(folder, record)
    found = _Found(folder, record, items)
    if found.unread is not None and missing is RAISE:
        raise found.unread
    if found.absent and missing is RAISE:
        first = f" The first reason: {failure}" if failure else ""
        again = "run.resume(failed_only=True) runs those that failed again"
        msg = (
            f"{plural(found.absent, 'item')} of {found.items:,} of run {folder.run_id} "
            f"{'has' if found.absent == 1 else 'have'} no result.{first}\n"
            f"run.results(missing=None) returns None for them; {again if failure else 'run.resume() runs them'}."
        )
        raise OutputError(msg, folder.run_id, remedy=[Remedy.FAILED_ITEMS] if failure else [])
    return found.joined(None if missing is RAISE else missing)


def results_frame(folder: RunFolder, record: RunRecord) -> Any:
    """Return the results so far as a DataFrame, for `Run.to_pandas`.

    Results other than tables are a column ``result``, after the parameters of a grid, with the index
    of the input. Items without a result are left out, and with a warning those whose result cannot be
    read back.
    """
    import pandas as pd

    check_objects(folder, record)
    found = _Found(folder, record, 0)
    if found.unread is not None:
        warnings.warn(f"left out: {found.unread}", stacklevel=4)
    joined = found.joined(_ABSENT)
    if hasattr(joined, "to_pylist"):
        joined = joined.to_pandas()
    if isinstance(joined, pd.DataFrame):
        return joined
    if isinstance(joined, pd.Series):
        is_there = [value is not _ABSENT for value in joined]
        column = (
            joined if all(is_there) else _series(list(joined[is_there]), joined.index[is_there])
        )
        return column.to_frame("result" if column.name is None else column.name)
    values = list(joined)
    kept = [position for position, value in enumerate(values) if value is not _ABSENT]
    column = _series([values[position] for position in kept], pd.RangeIndex(len(kept)))
    frame = column.to_frame("result")
    spec = record.inputs.datasets[0]
    if spec.get("container") != GRID:
        return frame
    combinations = [item for part in StoredDataset(spec).parts() for item in part]
    parameters = pd.DataFrame([combinations[position] for position in kept])
    return pd.concat([parameters, frame], axis=1)


def import_readers(record: RunRecord) -> None:
    """Import what reads the results of tables, in the time in which a run is waited for."""
    containers = {spec.get("container") for spec in record.inputs.datasets}
    if record.script.call == BATCH and containers & {FRAME, SERIES, TABLE}:
        with suppress(ImportError):  # without it, results are pickles
            import pyarrow as pa  # noqa: F401


class _Found:
    """The results of a run that are there.

    Attributes
    ----------
    items
        Number of the run's items.
    absent
        How many of them have no result, or one that cannot be read back.
    unread
        The error of the first one that cannot; None if all can.
    """

    def __init__(self, folder: RunFolder, record: RunRecord, items: int) -> None:
        self._folder, self._record = folder, record
        self._spec = record.inputs.datasets[0]
        self._find = class_finder(folder, record)
        self._places: list[tuple[int, int]] = []
        self._values: list[Any] = []
        self.unread: OutputError | None = None
        for block in committed_blocks(folder, record):
            self._add(block)
        self.items = self._spec.get("count") or items or max(map(sum, self._places), default=0)
        self.absent = self.items - sum(count for _, count in self._places)

    def _add(self, block: ItemBlock) -> None:
        # Several are joined, which copies them: a copy of each would double the memory to be touched.
        is_whole = block.items == self._spec.get("count")
        values, unread = values_of(block.block, self._find, are_views=not is_whole)
        if not unread:
            self._places.append((block.first, block.items))
            self._values.append(values)
            return
        if self.unread is None:
            position = min(unread)
            self.unread = not_read(self._folder, self._record, block, position, unread[position])
        for position, value in enumerate(values):
            if position not in unread:
                self._places.append((block.first + position, 1))
                self._values.append([value])

    def joined(self, missing: Any) -> Any:
        """Return all results, with a value for the missing ones. The values here are used up."""
        has_index = self._spec.get("container") in {FRAME, SERIES}
        index = StoredDataset(self._spec).index() if has_index else None
        if self._record.script.call == BATCH:
            joined = self._joined_batches(index, missing)
            if joined is not None:
                return joined
        values = [missing] * self.items
        for (first, count), part in zip(self._places, self._values, strict=True):
            values[first : first + count] = list(part)
        return values if index is None else _series(values, index)

    def _joined_batches(self, index: pd.Index | None, missing: Any) -> Any:
        """Return tables or arrays joined to one; None for others, and if an array has no such value."""
        import pandas as pd

        kinds = {_kind_of(value) for value in self._values}
        if len(kinds) > 1 and kinds & {"DataFrames", "Arrow tables"}:
            listed = " and ".join(sorted(kinds))
            raise OutputError(_MIXED.format(run_id=self._folder.run_id, kinds=listed))
        kind = next(iter(kinds)) if len(kinds) == 1 else ""
        if kind in {"DataFrames", "Series"}:
            return self._joined_pandas(index)
        if kind == "Arrow tables":
            import pyarrow as pa

            tables = [pa.Table.from_batches([v]) if hasattr(v, "columns") and not hasattr(v, "combine_chunks") else v for v in self._values]  # fmt: skip
            return pa.concat_tables(tables, promote_options="default")
        if kind == "arrays":
            array = self._joined_arrays(missing)
            is_column = index is not None and array is not None and array.ndim == 1
            return pd.Series(array, index=index, name="result") if is_column else array
        return None

    def _joined_pandas(self, index: pd.Index | None) -> Any:
        import pandas as pd

        if len(self._values) == 1:  # concat() may keep a view, which cannot be changed
            self._values = [self._values[0].copy()]
        places = list(zip(self._places, self._values, strict=True))
        are_default = all(_is_default(value.index) for value in self._values)
        if index is None or not all(len(value) == count for (_, count), value in places):
            joined = pd.concat(self._values, ignore_index=are_default)
            return joined if index is None else _named(joined, self._spec)
        for (first, count), value in places:
            if _is_default(value.index):
                value.index = index[first : first + count]
        joined = pd.concat(self._values)
        if joined.index.equals(index):
            joined.index = index  # with its frequency, which parts do not have
        return _named(joined, self._spec)

    def _joined_arrays(self, missing: Any) -> Any:
        """Return one array; None if shapes differ, or if it cannot hold the missing value."""
        import numpy as np

        if len({value.shape[1:] for value in self._values}) != 1:
            return None
        dtypes = [value.dtype for value in self._values]
        if self.absent:
            filler = np.asarray(missing)
            if missing is None or filler.ndim or filler.dtype.hasobject:
                return None
            dtypes.append(filler.dtype)
        shape = (self.items, *self._values[0].shape[1:])
        try:
            # Not of one type alone, which result_type() would give the byte order of this machine.
            dtype = dtypes[0] if len(set(dtypes)) == 1 else np.result_type(*dtypes)
            is_masked = any(isinstance(value, np.ma.MaskedArray) for value in self._values)
            array = (np.ma.empty if is_masked else np.empty)(shape, dtype)
        except TypeError:
            return None  # such as text and numbers
        if self.absent:
            array[...] = missing
        self._values.reverse()
        for first, count in self._places:
            array[first : first + count] = self._values.pop()  # its memory is free then
        return array


def _kind_of(value: Any) -> str:
    package = type(value).__module__.partition(".")[0]
    if package == "pandas" or hasattr(value, "iloc"):
        return "DataFrames" if hasattr(value, "columns") else "Series"
    if hasattr(value, "to_pylist") and hasattr(value, "schema"):
        return "Arrow tables"
    numpy = sys.modules.get("numpy")
    return "arrays" if numpy is not None and isinstance(value, numpy.ndarray) else "lists"


def _series(values: list[Any], index: pd.Index) -> Any:
    """Return values as a Series that does not change them: of other types, it has the type object."""
    import pandas as pd

    kinds = set(map(type, values))
    is_plain = kinds in ({int}, {float}, {bool}, {str}, {int, float})
    if is_plain and int in kinds:
        is_plain = all(-(2**53) <= value <= 2**53 for value in values if type(value) is int)
    column = pd.Series(values, index=index, name="result", dtype=None if is_plain else object)
    return column if is_plain else column.infer_objects() if _is_of_numpy(kinds) else column


def _is_of_numpy(kinds: set[type]) -> bool:
    """Return whether all values are numpy scalars of one type, or times of pandas."""
    return len(kinds) == 1 and next(iter(kinds)).__module__.partition(".")[0] in {"numpy", "pandas"}


def _named(joined: Any, spec: dict[str, Any]) -> Any:
    """Return a Series with a name that ``frame.join`` accepts: not that of a column of the input."""
    import pandas as pd

    if not isinstance(joined, pd.Series):
        return joined
    is_taken = joined.name is None or _has_column(spec, joined.name)
    return joined.rename("result") if is_taken else joined


def _is_default(index: pd.Index) -> bool:
    import pandas as pd

    return isinstance(index, pd.RangeIndex) and index.start == 0 and index.step == 1


def _has_column(spec: dict[str, Any], name: Any) -> bool:
    first = next(StoredDataset(spec).parts())
    return bool(name == first.name if spec["container"] == SERIES else name in first.columns)
