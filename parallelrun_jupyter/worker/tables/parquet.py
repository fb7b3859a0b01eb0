"""Reads ranges of rows of Parquet files, with the same result under old and new pandas and pyarrow."""

from __future__ import annotations

import base64
import os
import re

from ..failures import BadInput
from .pandas_types import version_of

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing is not worth its import in a worker
    from typing import Any

_last_group = {}  # type: dict[tuple[Any, ...], Any]
"""The row group that was sliced last: the next mini-batch is often another part of it."""


def read_row_groups(pd: Any, path: str, range_: list[int], table: dict[str, Any]) -> Any:
    """Return a range of rows as a DataFrame with the dataset's columns and types.

    Parameters
    ----------
    pd
        pandas.
    path
        The file.
    range_
        The first row and the one after the last. In plans of older versions, whose tables have no
        ``by``: row groups.
    table
        ``schema`` (base64), ``gaps`` and ``uuids`` as for `_Rows`; ``rare``, the columns whose types
        an old pyarrow may lack; ``counted``, start and step of an index that the file only describes.

    Raises
    ------
    BadInput
        The file cannot be read, or a column cannot be converted to its decided type.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise BadInput(
            "Parquet is read with pyarrow, which this interpreter cannot import (%s); "
            "add pyarrow to the run's environment" % error
        )
    counted = table.get("counted", {})
    try:
        schema = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(table["schema"])))
        names = [name for name in schema.names if name not in counted]
        file = pq.ParquetFile(path)
    except (OSError, pa.ArrowException) as error:
        raise _not_opened(pa, path, table, error)
    try:
        rows = _row_range(file, path, range_, names, table)
    except (OSError, pa.ArrowException) as error:
        for name in names:
            try:
                _row_range(file, path, range_, [name], table)
            except (OSError, pa.ArrowException) as exact:
                raise BadInput(
                    "%s: the column %r of the type %s could not be read by pyarrow %s: %s"
                    % (path, name, schema.field(name).type, pa.__version__, exact)
                )
        raise _not_opened(pa, path, table, error)
    frame = _Rows(pd, path, rows, schema, table).frame(names)
    for name, (start, step) in counted.items():
        first = start + range_[0] * step
        frame[name] = pd.Series(range(first, first + len(frame) * step, step), dtype="int64")
    return frame[schema.names] if counted else frame


def _not_opened(pa: Any, path: str, table: dict[str, Any], error: Exception) -> BadInput:
    """Return the error of a file; it names the columns whose types an old pyarrow may lack."""
    rare = ", ".join(
        "column %r of the type %s" % item for item in sorted(table.get("rare", {}).items())
    )
    return BadInput(
        "%s could not be read by pyarrow %s: %s%s"
        % (path, pa.__version__, error, "; it has the %s" % rare if rare else "")
    )


def _row_range(
    file: Any, path: str, range_: list[int], names: list[str], table: dict[str, Any]
) -> Any:
    """Read rows of a file. A row group of which only some are needed is kept for the next call."""
    if table.get("by") != "rows":
        return file.read_row_groups(list(range(range_[0], range_[1])), columns=names)
    first, groups = 0, []
    for number in range(file.metadata.num_row_groups):
        count = file.metadata.row_group(number).num_rows
        begin, end = max(range_[0] - first, 0), min(range_[1] - first, count)
        if begin < end:
            groups.append((number, begin, end, count))
        first += count
    if all(end - begin == count for _, begin, end, count in groups):
        return file.read_row_groups([group[0] for group in groups], columns=names)
    pieces, status = [], os.stat(path)  # the path of a copy may be reused for another file
    version = (status.st_ino, status.st_size, status.st_mtime_ns)
    for number, begin, end, _ in groups:
        key = (path, version, number, tuple(names))
        if key not in _last_group:
            _last_group.clear()  # before reading, to hold one group at most
            _last_group[key] = file.read_row_groups([number], columns=names)
        pieces.append(_last_group[key].slice(begin, end - begin))
    if len(pieces) == 1:
        return pieces[0]
    import pyarrow as pa

    return pa.concat_tables(pieces)


class _Rows:
    """Converts rows that pyarrow read to a DataFrame.

    ``schema`` has the decided types. In ``table``, ``gaps`` has the dtypes of the columns that have
    missing values anywhere in the dataset, and ``uuids`` the UUID columns, which old pyarrow reads as
    bytes.
    """

    def __init__(self, pd: Any, path: str, rows: Any, schema: Any, table: dict[str, Any]) -> None:
        import pyarrow as pa

        self._pd = pd
        self._pa = pa
        self._path = path
        self._rows = rows
        self._schema = schema
        gaps = table["gaps"]
        if isinstance(gaps, list):  # a plan of an older version
            integer = pa.types.is_integer
            gaps = {n: "float64" if integer(schema.field(n).type) else "object" for n in gaps}
        self._gaps = gaps
        self._uuids = table.get("uuids", ())
        self._has_units = version_of(pd) >= (2, 0)
        self._keeps_units = self._has_units and version_of(pa) >= (13, 0)

    def frame(self, names: list[str]) -> Any:
        """Return columns as a DataFrame.

        Raises
        ------
        BadInput
            A column cannot be converted.
        """
        try:
            return self._frame(names)
        except Exception as error:  # the type depends on column, pyarrow and pandas
            for name in names:
                try:
                    self._frame([name])
                except Exception as exact:
                    raise self._unreadable(name, exact)
            raise BadInput(
                "%s: its rows cannot be converted to a DataFrame: %s" % (self._path, error)
            )

    def _unreadable(self, name: str, error: Exception) -> BadInput:
        kind = self._schema.field(name).type
        is_time = self._pa.types.is_timestamp(kind) or self._pa.types.is_duration(kind)
        advice = "an environment with newer pandas and pyarrow may read it"
        if is_time and not self._has_units:
            advice = "pandas before 2 represents the years 1678 to 2261 only: use a newer one"
        return BadInput(
            "%s: the column %r of the type %s cannot be read by pandas %s and pyarrow %s (%s); %s, or "
            "leave the column out"
            % (self._path, name, kind, self._pd.__version__, self._pa.__version__,
               str(error)[:300] or type(error).__name__, advice)
        )  # fmt: skip

    def _frame(self, names: list[str]) -> Any:
        columns = [self._column(name) for name in names]
        own = {}  # the columns that Table.to_pandas() changes, or changes in some versions only
        for name, column in zip(names, columns):
            if self._gaps.get(name) in ("Int64", "UInt64"):
                objects = column.to_pandas(integer_object_nulls=True)
                own[name] = self._pd.Series(objects).astype(self._gaps[name])
            elif name in self._uuids:
                own[name] = self._pd.Series(list(map(_uuid, column.to_pylist())), dtype=object)
            elif self._is_time(column.type) and not self._keeps_units:
                own[name] = self._times(column)
        plain = [k for k, name in enumerate(names) if name not in own]
        rows = self._pa.Table.from_arrays([columns[k] for k in plain], [names[k] for k in plain])
        frame = rows.to_pandas()
        # A column with gaps elsewhere in the dataset has the same dtype in every mini-batch.
        kinds = {n: kind for n, kind in self._gaps.items() if n in names and n not in own}
        has = dict(zip(frame.columns, frame.dtypes.tolist())) if kinds else {}
        kinds = {n: kind for n, kind in kinds.items() if has[n] != kind}
        frame = frame.astype(kinds) if kinds else frame
        if not own:
            return frame
        return self._pd.DataFrame({n: own[n] if n in own else frame[n] for n in names})

    def _column(self, name: str) -> Any:
        """Return a column, cast to its decided type."""
        pa, kind = self._pa, self._schema.field(name).type
        column = self._rows.column(self._rows.schema.get_field_index(name))
        if isinstance(column.type, getattr(pa, "BaseExtensionType", pa.ExtensionType)):
            stored = [chunk.storage for chunk in column.chunks]
            column = pa.chunked_array(stored, type=column.type.storage_type)
        if pa.types.is_dictionary(column.type):
            decoded = [chunk.dictionary.take(chunk.indices) for chunk in column.chunks]
            column = pa.chunked_array(decoded, type=column.type.value_type)
        if "list_view" in str(column.type):  # slices and casts of these lose empty lists
            return pa.chunked_array([pa.array(column.to_pylist(), kind)])
        return column if _is_alike(column.type, kind) else column.cast(kind)

    def _is_time(self, kind: Any) -> bool:
        return bool(self._pa.types.is_timestamp(kind) or self._pa.types.is_duration(kind))

    def _times(self, column: Any) -> Any:
        """Convert times or durations without pyarrow, of which some versions change their unit.

        They keep their unit from pandas 2 on; older versions have nanoseconds only.
        """
        kind, none = column.type, -(1 << 63)  # numpy's NaT is the smallest integer
        is_stamp = self._pa.types.is_timestamp(kind)
        numbers = column.cast(self._pa.int64()).to_pandas(integer_object_nulls=True)
        if numbers.dtype == object:
            numbers = self._pd.Series([none if v is None else v for v in numbers], dtype="int64")
        numbers, unit = numbers.to_numpy(), kind.unit
        if not self._has_units and unit != "ns":
            factor, is_set = {"s": 10**9, "ms": 10**6, "us": 10**3}[unit], numbers != none
            if (abs(numbers[is_set]) > ((1 << 63) - 1) // factor).any():
                raise ValueError("some are out of the bounds of nanoseconds")
            numbers, unit = numbers.copy(), "ns"
            numbers[is_set] *= factor
        times = self._pd.Series(numbers.view("%s[%s]" % ("M8" if is_stamp else "m8", unit)))
        if is_stamp and kind.tz is not None:
            return times.dt.tz_localize("UTC").dt.tz_convert(kind.tz)
        return times


def _is_alike(kind: Any, decided: Any) -> bool:
    """Return whether pandas gets the same values from both types, so that no cast is needed.

    Some versions of pyarrow cannot cast text or lists to their large variants.
    """
    if kind.equals(decided):
        return True
    name, decided_name = (
        re.sub("large_|fixed_size_|_view$", "", str(t)).partition("<")[0] for t in (kind, decided)
    )
    if name == decided_name == "list":
        return bool(kind.value_type.equals(decided.value_type))
    return name == decided_name in ("string", "binary")


def _uuid(value: Any) -> Any:
    from uuid import UUID

    return UUID(bytes=value) if isinstance(value, bytes) else value
