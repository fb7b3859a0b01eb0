"""Variables of a notebook as the input of a run: lists, arrays, tables, grids of parameters."""

from __future__ import annotations

import json
import os
from array import array
from collections.abc import Iterator, Mapping, Sequence, Sized
from itertools import product
from pathlib import Path
from typing import Any, ClassVar

from ...errors import ConfigError, InputError
from ...worker.memory_items import FRAMES, MEMORY, PICKLES
from ..batching import BatchSpec, table_line
from ..memory_files import Stored, offsets_path, write_array, write_arrow, write_frame, write_items

LIST, ARRAY, SERIES, FRAME, TABLE, GRID = "list", "array", "series", "frame", "table", "grid"
"""The containers of values; a range, a generator and other iterables become lists."""

_NUMBERS = "biufcmMSUV"
_MANY = 5000
"""By default a list has at most this number of mini-batches."""

_TABLE_PARTS = 64
"""By default a table or array has about this number of mini-batches, of at most 10,000 rows."""


class Grid(Sequence[dict[str, Any]]):
    """All combinations of some values, as dicts; the last name varies fastest. See `grid`."""

    def __init__(self, values: Mapping[str, Sequence[Any]]) -> None:
        self._values = {name: list(options) for name, options in values.items()}
        self._count = 1
        for options in self._values.values():
            self._count *= len(options)

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[k] for k in range(*index.indices(len(self)))]
        position = index + len(self) if index < 0 else index
        if not 0 <= position < len(self):
            msg = f"the grid has {len(self):,} combinations, not one with the number {index}"
            raise IndexError(msg)
        chosen: dict[str, Any] = {}
        for name, options in reversed(self._values.items()):
            position, which = divmod(position, len(options))
            chosen[name] = options[which]
        return dict(reversed(chosen.items()))

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for combination in product(*self._values.values()):
            yield dict(zip(self._values, combination, strict=True))

    def __repr__(self) -> str:
        names = ", ".join(f"{name}: {len(options):,}" for name, options in self._values.items())
        return f"grid of {len(self):,} combinations ({names})"


def grid(**values: Sequence[Any]) -> Grid:
    """Return all combinations of some values, for a sweep over parameters with `map`.

    The function of `map` gets each combination as keyword arguments.

    Parameters
    ----------
    **values
        The values of each parameter: a list or another iterable.

    Raises
    ------
    ConfigError
        There is no parameter, or one has no values.

    Examples
    --------
    >>> grid(alpha=[0.1, 1.0], depth=[3, 5])
    grid of 4 combinations (alpha: 2, depth: 2)
    >>> list(grid(alpha=[0.1], depth=[3, 5]))
    [{'alpha': 0.1, 'depth': 3}, {'alpha': 0.1, 'depth': 5}]
    """
    for name, options in values.items():
        if isinstance(options, str) or not hasattr(options, "__iter__") or not list(options):
            msg = f"grid({name}={options!r}): expected a list of values, such as {name}=[0.1, 1.0]."
            raise ConfigError(msg)
    if not values:
        msg = "grid() has no parameters; write, for example, grid(alpha=[0.1, 1.0], depth=[3, 5])."
        raise ConfigError(msg)
    return Grid(values)


def container_of(values: object) -> str:
    """Return the kind of container of a variable, empty if its items cannot be the input of a run."""
    kind = type(values)
    package = kind.__module__.partition(".")[0]
    if isinstance(values, Grid):
        return GRID
    if (package == "pandas" and kind.__name__ in {"DataFrame", "Series"}) or _is_subclass(kind):
        return FRAME if hasattr(values, "columns") else SERIES
    if package == "pyarrow" and kind.__name__ in {"Table", "RecordBatch"}:
        return TABLE
    if package == "numpy" and kind.__name__ in {"ndarray", "memmap", "MaskedArray", "recarray"}:
        return ARRAY
    if isinstance(values, str | bytes | bytearray | Mapping | os.PathLike):
        return ""
    return LIST if hasattr(values, "__iter__") else ""


def _is_subclass(kind: type) -> bool:
    """Return whether a type is derived from a DataFrame or a Series."""
    names = {(k.__module__.partition(".")[0], k.__name__) for k in kind.__mro__}
    return bool(names & {("pandas", "DataFrame"), ("pandas", "Series")})


class MemoryDataset:
    """A variable of the notebook as the input of a run. Its items are elements, or rows of a table.

    At submit, the values are written once into the run's folder.

    Parameters
    ----------
    values
        A list, range, generator or another iterable; a numpy array (items along its first axis); a
        pandas Series or DataFrame; an Arrow table; or a grid of parameters.
    name
        The variable's name, for messages. Default: the type of the values.

    Raises
    ------
    InputError
        The values have no items.
    """

    kind: ClassVar[str] = "memory"
    partition_keys: ClassVar[list[str]] = []

    def __init__(self, values: Any, name: str = "") -> None:
        self.container = container_of(values)
        if not self.container:
            msg = f"the input is {values!r:.80}, of the type {type(values).__name__}; {EXPECTED}"
            raise InputError(msg)
        self.name = name or _default_name(values)
        self._values = values
        self.storage = None
        self._spec: dict[str, Any] = {}

    def __repr__(self) -> str:
        return self.name

    @property
    def is_table(self) -> bool:
        """Whether its items are rows of a table."""
        return self.container in {FRAME, TABLE}

    def __len__(self) -> int:
        """Return the number of items; 0 if it is unknown."""
        return len(self._values) if isinstance(self._values, Sized) else 0

    def batch_rows(self, workers: int, *, is_batched: bool) -> int:
        """Return the default number of items of a mini-batch.

        Parameters
        ----------
        workers
            Number of worker processes.
        is_batched
            Whether a call gets a mini-batch, not a single item.
        """
        count = len(self)
        if not is_batched:
            return max(1, -(-count // _MANY))
        parts = max(_TABLE_PARTS, 8 * workers)
        return max(1, min(10_000, -(-count // parts)))

    def check(self) -> None:
        """Check that there are items.

        Raises
        ------
        InputError
            There are none.
        """
        if isinstance(self._values, Sized) and not len(self._values):
            raise self._empty()

    def _empty(self) -> InputError:
        return InputError(f"{self.name} is empty; give at least one item.")

    def spec(self) -> dict[str, Any]:
        """Return the dataset as JSON for the record of a run; complete after `store`."""
        return {"kind": self.kind, "name": self.name, "container": self.container, **self._spec}

    def store(self, folder: Path, number: int, rows: int) -> None:
        """Write the values to a file of the run's folder, for mini-batches of ``rows`` items.

        Raises
        ------
        InputError
            There are no values, or one of them cannot be stored.
        OSError
            The file cannot be written.
        """
        folder.mkdir(mode=0o700, exist_ok=True)
        path = folder / f"{number}.data"
        stored, count = self._write(path, rows)
        if not count:
            raise self._empty()
        size_bytes = os.stat(path).st_size
        self._spec = {
            "path": str(path), "count": count, "rows": rows, "size_bytes": size_bytes, **stored,
        }  # fmt: skip

    def _write(self, path: Path, rows: int) -> tuple[Stored, int]:
        values = self._values
        match self.container:
            case "frame":
                return write_frame(values, rows, path)
            case "series":
                stored, count = write_frame(values.to_frame("value"), rows, path)
                return {**stored, "name_of_values": _json_name(values.name)}, count
            case "table":
                return write_arrow(_as_table(values), rows, path)
            case "array" if values.dtype.kind in _NUMBERS and not values.dtype.hasobject:
                return write_array(values, path)
            case _:
                return write_items(values, rows, path, self.name)

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
            "format": MEMORY, "by": "rows", "file": spec["path"], "container": spec["container"],
            **{key: spec[key] for key in ("form", "chunk", "range") if key in spec},
        }  # fmt: skip
        if "name_of_values" in spec:
            table["name"] = spec["name_of_values"]
        offsets = array("q")
        if spec["form"] in {PICKLES, FRAMES}:
            offsets.frombytes(offsets_path(spec["path"]).read_bytes())
        file = (spec["name"], spec["size_bytes"], None)
        for block, first in enumerate(range(0, count, rows)):
            end = min(first + rows, count)
            if offsets:
                table["at"] = [offsets[block], offsets[block + 1]]
            text = json.dumps(table, separators=(",", ":"))
            yield table_line(number, file, (first, end, end - first), text), end - first


EXPECTED = (
    "expected a list, range, generator, numpy array, pandas Series or DataFrame, Arrow table or "
    "grid(...) of items, or a dataset of files or tables."
)


def _default_name(values: Any) -> str:
    name = type(values).__name__
    return name if isinstance(values, Sized) else f"the {name}"


def _json_name(name: Any) -> Any:
    """Return the name of a Series as JSON holds it; a tuple becomes a list."""
    is_json = isinstance(name, str | int | float | bool | tuple) or name is None
    return name if is_json else str(name)


def _as_table(values: Any) -> Any:
    import pyarrow as pa

    return values if hasattr(values, "combine_chunks") else pa.Table.from_batches([values])
