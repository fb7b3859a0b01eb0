"""The results of a function, in input order: a list, an array, a Series or a DataFrame."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..data.datasets.memory_dataset import FRAME, SERIES, StoredDataset
from ..errors import OutputError
from ..formatting import plural
from ..runs.output.blocks import ItemBlock, committed_blocks
from ..runs.run_folder import RunFolder
from ..runs.run_record import RunRecord
from ..worker.function_script import BATCH
from ..worker.output.formats import OBJECTS

if TYPE_CHECKING:
    import pandas as pd

RAISE: Any = type("Raise", (), {"__repr__": lambda _: "<raise an error>"})()
"""Stands for an error if an item has no result."""


def read_results(folder: RunFolder, record: RunRecord, items: int, missing: Any = RAISE) -> Any:
    """Return the results of a run of a function.

    Parameters
    ----------
    folder, record
        The run.
    items
        Number of its items.
    missing
        The result of an item that has none.

    Raises
    ------
    OutputError
        Items have no results, and ``missing`` is `RAISE`; or the run is not one of a function.
    """
    if record.output.format != OBJECTS:
        msg = (
            f"run {folder.run_id} has output_format {record.output.format!r}: its script returned "
            "rows. Read them by run.to_pandas()."
        )
        raise OutputError(msg)
    blocks = list(committed_blocks(folder, record))
    count = sum(block.items for block in blocks)
    if count < items and missing is RAISE:
        msg = (
            f"{plural(items - count, 'item')} of {items:,} of run {folder.run_id} have no result: "
            "run.failed_items() lists those that failed. run.results(missing=None) returns None for "
            "them; run.resume() runs them again."
        )
        raise OutputError(msg)
    spec = record.inputs.datasets[0]
    index = StoredDataset(spec).index() if spec.get("container") in {FRAME, SERIES} else None
    if record.script.call == BATCH:
        joined = _joined(blocks, items, index)
        if joined is not None:
            return _named(joined, spec) if index is not None else joined
    values = [None if missing is RAISE else missing] * items
    for first, size, block in blocks:
        values[first : first + size] = list(block.values())
    return values if index is None else _series(values, index)


def _series(values: list[Any], index: pd.Index) -> pd.Series:
    import pandas as pd

    is_plain = all(not hasattr(kind, "__len__") for kind in set(map(type, values)))
    return pd.Series(values, index=index, dtype=None if is_plain else object, name="result")


def _joined(blocks: list[ItemBlock], items: int, index: pd.Index | None) -> Any:
    """Return arrays or tables joined to one; None for other results, or if some are missing."""
    import numpy as np
    import pandas as pd

    values = [block.values() for _, _, block in blocks]
    kinds = {type(value) for value in values}
    if len(kinds) != 1:
        return None
    kind = kinds.pop()
    if issubclass(kind, pd.DataFrame | pd.Series):
        if index is not None:
            for (first, size, _), value in zip(blocks, values, strict=True):
                _align(value, index[first : first + size])
            return pd.concat(values)
        has_default = all(_is_default(value.index) for value in values)
        return pd.concat(values, ignore_index=has_default)
    is_whole = sum(size for _, size, _ in blocks) == items
    if issubclass(kind, np.ndarray) and is_whole and len({v.shape[1:] for v in values}) == 1:
        array = np.concatenate(values)
        is_column = index is not None and array.ndim == 1
        return pd.Series(array, index=index, name="result") if is_column else array
    return None


def _named(joined: Any, spec: dict[str, Any]) -> Any:
    """Return a Series with a name that ``frame.join`` accepts: not that of a column of the input."""
    import pandas as pd

    if not isinstance(joined, pd.Series):
        return joined
    is_taken = joined.name is None or _has_column(spec, joined.name)
    return joined.rename("result") if is_taken else joined


def _align(value: Any, index: pd.Index) -> None:
    """Give a result with one row for each item the index of the items, unless it has its own."""
    if len(value) == len(index) and _is_default(value.index):
        value.index = index


def _is_default(index: pd.Index) -> bool:
    import pandas as pd

    return isinstance(index, pd.RangeIndex) and index.start == 0 and index.step == 1


def _has_column(spec: dict[str, Any], name: Any) -> bool:
    first = next(StoredDataset(spec).parts())
    return bool(name == first.name if spec["container"] == SERIES else name in first.columns)
