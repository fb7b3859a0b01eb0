"""Variables of a notebook as the input of a run: lists, arrays, tables, grids of parameters."""

from __future__ import annotations

import json
import os
import reprlib
import sys
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence, Sized
from collections.abc import Set as AbstractSet
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from ...errors import InputError
from ...worker.memory_items import MEMORY, PARTS, PICKLES, close_files, load_memory, located
from ...worker.memory_names import memory_item
from ...worker.plan_line import PlanLine
from ..batching import BatchSpec, table_line
from ..memory_blocks import read_offsets
from ..memory_files import (
    Stored,
    memory_bytes,
    range_of,
    write_array,
    write_arrow,
    write_frame_as_arrow,
    write_items,
    write_parts,
    write_unsized,
)
from ..memory_labels import write_labels
from .grid import Grid
from .variable_names import name_of

if TYPE_CHECKING:
    import pandas as pd

LIST, ARRAY, SERIES, FRAME, TABLE, GRID = "list", "array", "series", "frame", "table", "grid"
"""The containers of values; a range, a generator and other iterables become lists."""

_MANY = 1250
_MANY_OF_WORKER = 64
"""By default `map` has at most so many mini-batches, or so many a worker if these are more.

Each costs 0.1 ms, and the items of one are lost together when a worker is killed.
"""

_TABLE_PARTS = 64
_MOST_ROWS = 10_000
_MOST_ROWS_OF_NUMBERS = 50_000
_MOST_BYTES = 1 << 24
"""By default `map_batches` has about `_TABLE_PARTS` mini-batches, of at most so many items and bytes.

A call of 10,000 items that take 5 ms each is within the default time limit. Tables of numbers alone are
given to functions that are faster.
"""

_KINDS_OF_NUMBERS = "biufcmM"
"""The kinds of numpy's dtypes that are numbers and times."""


def container_of(values: object) -> str:
    """Return the kind of container of a variable, empty if its items cannot be the input of a run."""
    if isinstance(values, Grid):
        return GRID
    names = {(k.__module__.partition(".")[0], k.__name__) for k in type(values).__mro__}
    if ("pandas", "DataFrame") in names:
        return FRAME
    if ("pandas", "Series") in names:
        return SERIES
    if names & {("pyarrow", "Table"), ("pyarrow", "RecordBatch")}:
        return TABLE
    if ("numpy", "ndarray") in names:
        return ARRAY if values.ndim else ""  # type: ignore[attr-defined] # of an array
    return "" if _refusal(values) else LIST


def _refusal(values: object) -> str:
    """Return what to give in place of a value that is no input; empty if its elements can be items."""
    if isinstance(values, str | bytes | bytearray | memoryview | os.PathLike):
        return "a single value; write [value] for one item."
    if isinstance(values, Mapping):
        return "a mapping has keys and values; write list(x.items()) or list(x.values())."
    if isinstance(values, AbstractSet) and not isinstance(values, Sequence):
        return "a set has no order; write sorted(x) or list(x)."
    if hasattr(values, "__dataframe__") or hasattr(values, "__arrow_c_stream__"):
        return "write x.to_pandas(), or x.to_arrow() for an Arrow table."
    if not isinstance(values, Sequence) and hasattr(values, "shape"):
        return "write numpy.asarray(x)." if hasattr(values, "__array__") else "write list(x)."
    return "" if hasattr(values, "__iter__") else "its elements cannot be listed."


def refused(values: object, given: str = "the input is") -> InputError:
    """Return the error of a value that cannot be the input of a run.

    Parameters
    ----------
    values
        The value.
    given
        The beginning of the message.
    """
    number = getattr(values, "ndim", None)
    why = "an array without a first axis is one value." if number == 0 else _refusal(values)
    shown = reprlib.repr(values)[:_SHOWN_CHARS]
    kind = type(values).__name__
    return InputError(f"{given} {shown}, of the type {kind}; {EXPECTED} Here: {why}")


class MemoryDataset:
    """A variable of the notebook as the input of a run. Its items are elements, or rows of a table.

    At submit, the values are written once into the run's folder.

    Parameters
    ----------
    values
        A list, range, generator or another iterable; a numpy array (items along its first axis); a
        pandas Series or DataFrame; an Arrow table; or a grid of parameters. Sets and mappings are
        refused: their items have no numbers.
    name
        The name of the variable, for messages and for the run's name. Default: that of the variable
        of the caller that holds the values, or else their type.

    Raises
    ------
    InputError
        The values are of another type.

    Examples
    --------
    >>> MemoryDataset(["a", "b"], "texts")
    texts
    """

    kind: ClassVar[str] = "memory"
    partition_keys: ClassVar[list[str]] = []

    def __init__(self, values: Any, name: str = "") -> None:
        self.container = container_of(values)
        if not self.container:
            raise refused(values)
        self.name = name or name_of(values) or _default_name(values)
        self._values = values
        self.storage = None
        self._spec: dict[str, Any] = {}

    def __repr__(self) -> str:
        return self.name

    @property
    def is_table(self) -> bool:
        """Whether its items are rows of a table."""
        return self.container in {FRAME, TABLE}

    @property
    def count(self) -> int:
        """Number of items; 0 if it is unknown."""
        if self.container == TABLE:
            return int(self._values.num_rows)
        return len(self._values) if isinstance(self._values, Sized) else 0

    @property
    def combination(self) -> dict[str, Any] | None:
        """The first combination of a grid; None if the values are no grid."""
        return next(iter(self._values)) if self.container == GRID else None

    def batch_rows(self, workers: int, *, is_batched: bool) -> int:
        """Return the default number of items of a mini-batch; 0 if it follows from their unknown number.

        Parameters
        ----------
        workers
            Number of worker processes.
        is_batched
            Whether a call gets a mini-batch, not a single item.
        """
        parts, most = _parts(workers, is_batched=is_batched)
        if is_batched and self.count:
            most = min(self._most_rows(most), max(1, int(_MOST_BYTES // self._row_bytes())))
        return min(most, -(-self.count // parts))

    def _most_rows(self, default: int) -> int:
        """Return the largest number of items of a call, as far as it follows from their types."""
        values = self._values
        match self.container:
            case "frame":
                kinds = {dtype.kind for dtype in values.dtypes}
            case "series" | "array":
                kinds = {values.dtype.kind}
            case "table":
                kinds = {_kind_of(field.type) for field in values.schema}
            case _:
                return default
        return _MOST_ROWS_OF_NUMBERS if kinds <= set(_KINDS_OF_NUMBERS) else default

    def _row_bytes(self) -> float:
        """Return the mean bytes of an item, as far as they are known; at least 1."""
        is_list = self.container in {LIST, GRID}
        return 1.0 if is_list else max(1.0, memory_bytes(self._values) / self.count)

    def check(self) -> None:
        """Check that there are items.

        Raises
        ------
        InputError
            There are none.
        """
        if isinstance(self._values, Sized) and not self.count:
            raise self._empty()

    def first(self, rows: int) -> MemoryDataset:
        """Return the first items, for a trial.

        Raises
        ------
        InputError
            The values can be read only once.
        """
        values = self._values
        if not self.count:
            msg = f"{self.name} can be read only once, so that none of it can be tried; give list(...)."
            raise InputError(msg)
        if self.container == TABLE:
            head = values.slice(0, rows)
        elif self.container in {LIST, GRID}:
            head = list(islice(values, rows))
        else:
            head = (values.iloc if hasattr(values, "iloc") else values)[:rows]
        return MemoryDataset(head, self.name)

    def _empty(self) -> InputError:
        return InputError(f"{self.name} is empty; give at least one item.")

    def spec(self) -> dict[str, Any]:
        """Return the dataset as JSON for the record of a run; complete after `store`."""
        return {"kind": self.kind, "name": self.name, "container": self.container, **self._spec}

    def store(
        self,
        folder: Path,
        number: int,
        rows: int,
        *,
        workers: int = 1,
        is_batched: bool = True,
        is_portable: bool = False,
    ) -> None:
        """Write the values to a file of the run's folder, for mini-batches of ``rows`` items.

        Parameters
        ----------
        folder
            The folder, which is created.
        number
            Number of the input in the run.
        rows
            Number of items of a mini-batch; 0 for the default.
        workers, is_batched
            As for `batch_rows`.
        is_portable
            Whether another interpreter, with another pandas, reads the file.

        Raises
        ------
        InputError
            There are no values, or one of them cannot be stored.
        OSError
            The file cannot be written.
        """
        folder.mkdir(mode=0o700, exist_ok=True)
        path = folder / f"{number}.data"
        rows = rows or self.batch_rows(workers, is_batched=is_batched)
        if rows:
            stored = self._write(path, rows, is_portable=is_portable)
        else:
            parts, most = _parts(workers, is_batched=is_batched)
            stored = write_unsized(self._values, parts, most, path, self._name_of)
        if not stored["count"]:
            raise self._empty()
        status = os.stat(path)
        self._spec = {
            "path": str(path), "size_bytes": status.st_size, "mtime_ns": status.st_mtime_ns,
            "written_by": _writer(self.container), **self._about_index(path), **stored,
        }  # fmt: skip

    def _write(self, path: Path, rows: int, *, is_portable: bool) -> Stored:
        values = self._values
        match self.container:
            case "frame" | "series":
                stored = self._portable(path, rows) if is_portable else None
                return stored or write_parts(values, rows, path, self._name_of)
            case "table":
                return write_arrow(_as_table(values), rows, path)
            case "array":
                return self._write_array(path, rows)
            case _:
                return write_items(values, rows, path, self._name_of)

    def _write_array(self, path: Path, rows: int) -> Stored:
        import numpy as np

        values = self._values
        if isinstance(values, np.memmap):
            values = values.view(np.ndarray)
        dtype = values.dtype
        is_plain = dtype.names is None and dtype.itemsize and not dtype.hasobject
        if is_plain and type(values) is np.ndarray:
            return write_array(values, rows, path)
        return write_parts(values, rows, path, self._name_of)

    def _portable(self, path: Path, rows: int) -> Stored | None:
        values = self._values
        if self.container == FRAME:
            return write_frame_as_arrow(values, rows, path)
        stored = write_frame_as_arrow(values.to_frame("value"), rows, path)
        name = values.name
        is_json = isinstance(name, str | int | float | bool | tuple) or name is None
        return {**stored, "name_of_values": name} if stored and is_json else None

    def _about_index(self, path: Path) -> dict[str, Any]:
        """Write the labels of the rows of a DataFrame or Series, and describe them for the spec."""
        if self.container not in {FRAME, SERIES}:
            return {}
        index = self._values.index
        if range_of(index) is not None:
            return {"range": range_of(index)}
        return {"labels": True} if write_labels(index, path) else {}

    def _name_of(self, item: int) -> str:
        return memory_item(self.name, self.container, item)

    @classmethod
    def of_spec(cls, spec: dict[str, Any]) -> StoredDataset:
        """Return the stored values of a run's record."""
        return StoredDataset(spec)


class StoredDataset:
    """The values of a variable in the folder of a run."""

    kind: ClassVar[str] = MemoryDataset.kind
    partition_keys: ClassVar[list[str]] = []

    def __init__(self, spec: dict[str, Any]) -> None:
        self._spec = spec

    def spec(self) -> dict[str, Any]:
        """Return the spec."""
        return self._spec

    def check(self) -> None:
        """Do nothing: the values are in the run's own folder."""

    def mini_batches(self, number: int, _: BatchSpec) -> Iterator[tuple[bytes, int]]:
        """Yield the plan line and the number of items of each mini-batch."""
        spec = self._spec
        rows, count = spec["rows"], spec["count"]
        table = {
            "format": MEMORY, "by": "rows", "file": os.path.basename(spec["path"]),
            **{key: spec[key] for key in _IN_PLAN if key in spec},
        }  # fmt: skip
        if "name_of_values" in spec:
            table["name"] = spec["name_of_values"]
        has_blocks = spec["form"] in {PICKLES, PARTS}
        firsts, starts = read_offsets(spec["path"]) if has_blocks else ((), ())
        file: tuple[str, int, Any] = spec["name"], spec["size_bytes"], None
        text = json.dumps(table, separators=(",", ":"))
        for first in range(0, count, rows):
            end = min(first + rows, count)
            at = ""
            if has_blocks:
                block = bisect_right(firsts, first) - 1
                until = starts[bisect_left(firsts, end)]
                at = f',"at":[{starts[block]},{until},{firsts[block]}]'
            line = table_line(number, file, (first, end, end - first), f"{text[:-1]}{at}}}")
            yield line, end - first

    def parts(self) -> Iterator[Any]:
        """Yield the values of each mini-batch; of large ones only what is used is read."""
        folder = os.path.dirname(self._spec["path"])
        try:
            for line, _ in self.mini_batches(0, BatchSpec(0)):
                yield load_memory(located(PlanLine.decode(line), folder))
        finally:
            close_files(folder)

    def index(self) -> pd.Index:
        """Return the index of a DataFrame or Series."""
        import pandas as pd

        if "range" in self._spec:
            start, step, name = self._spec["range"]
            end = start + self._spec["count"] * step
            ranged: pd.Index = pd.RangeIndex(start, end, step, name=name)
            return ranged
        parts = [part.index for part in self.parts()]
        index: pd.Index = parts[0].append(parts[1:]) if len(parts) > 1 else parts[0]
        # pandas infers text from objects
        return index if index.dtype == parts[0].dtype else index.astype(parts[0].dtype)


_IN_PLAN = ("container", "form", "chunk", "range", "labels", "written_by")

EXPECTED = (
    "expected a list, range, generator, numpy array, pandas Series or DataFrame, Arrow table or "
    "grid(...) of items, or a dataset of files or tables."
)
_SHOWN_CHARS = 80


def _parts(workers: int, *, is_batched: bool) -> tuple[int, int]:
    """Return the number of mini-batches to aim at, an even one, and the largest number of items."""
    if not is_batched:
        return max(_MANY, _MANY_OF_WORKER * workers), sys.maxsize
    return max(_TABLE_PARTS, 8 * workers), _MOST_ROWS


def _kind_of(kind: Any) -> str:
    """Return the kind of an Arrow type, as of numpy's dtypes: "O" for text, lists and others."""
    import pyarrow as pa

    return "f" if pa.types.is_primitive(kind) else "O"


def _default_name(values: Any) -> str:
    kind = type(values).__name__
    return f"{'an' if kind[0].lower() in 'aeiou' or kind == 'ndarray' else 'a'} {kind}"


def _writer(container: str) -> str:
    """Return the Python that stores values, with the package of the container."""
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    package = {FRAME: "pandas", SERIES: "pandas", ARRAY: "numpy", TABLE: "pyarrow"}.get(container)
    module = sys.modules.get(package or "")
    return version if module is None else f"{version} with {package} {module.__version__}"


def _as_table(values: Any) -> Any:
    import pyarrow as pa

    return values if isinstance(values, pa.Table) else pa.Table.from_batches([values])
