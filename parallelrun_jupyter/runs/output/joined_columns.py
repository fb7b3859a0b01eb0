"""Joins the results of one mini-batch that have different columns, for CSV.

The items of a mini-batch may run in several attempts, each with results of its own. If ``run()``
returns dicts with optional keys, these results have different columns, although the whole is one table.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from ...errors import OutputError
from ...worker.output.column_notes import OBJECTS_KIND, TEXT_KIND
from ...worker.output.formats import CSV, as_frame, encode_table, split_header, split_note
from .row_notes import RowNotes, without_codes
from .typed_rows import concatenated, csv_table, kind_with_gaps, restore_index, restored

if TYPE_CHECKING:
    import pandas as pd

_OF_GAPS = frozenset([TEXT_KIND, OBJECTS_KIND, "str", "float64"])
"""Kinds that pandas gives a column in which all values are missing."""

_OF_OBJECTS = frozenset([TEXT_KIND, OBJECTS_KIND, "str", "bool"])
"""Kinds of columns that pandas makes columns of Python objects, or infers again, beside gaps."""


def joined_csv(pieces: Iterable[tuple[int, bytes]]) -> Iterator[tuple[int, bytes]]:
    """Yield the rows of CSV with the results of each mini-batch that have different columns joined.

    Parameters
    ----------
    pieces
        (mini_batch, rows) in input order, as workers encoded them.

    Raises
    ------
    OutputError
        Results with different columns cannot be joined.
    """
    held: list[bytes] = []
    last = -1
    for mini_batch, data in pieces:
        if mini_batch == last:
            held.append(data)
            continue
        if len(held) == 1:
            yield last, held[0]
        elif held:
            yield from _of_mini_batch(last, held)
        last, held = mini_batch, [data]
    yield from _of_mini_batch(last, held)


def _of_mini_batch(mini_batch: int, results: list[bytes]) -> Iterator[tuple[int, bytes]]:
    if len(results) > 1:
        columns = [_columns(data) for data in results]
        other = next((names for names in columns if names != columns[0]), None)
        if other is not None:
            results = [_joined(mini_batch, results, _shown(other), _shown(columns[0]))]
    for data in results:
        yield mini_batch, data


def _columns(data: bytes) -> bytes | list[str]:
    """Return the header of rows, or the columns that their note has."""
    about, at = split_note(data)
    header, _ = split_header(data, at)
    return header or ([] if about is None else [name for name, *_ in about["columns"]])


def _shown(columns: bytes | list[str]) -> str:
    return repr((columns.decode() if isinstance(columns, bytes) else ",".join(columns)).strip()[:300])  # fmt: skip


def _joined(mini_batch: int, results: list[bytes], columns: str, earlier: str) -> bytes:
    """Return results as the worker would have encoded them together."""
    import pandas as pd

    tables = []
    for data in results:
        about, at = split_note(data)
        if about is None:
            msg = (
                f"run() returned for some items of mini-batch {mini_batch} the columns {columns}, but "
                f"for others {earlier}. These items ran in several attempts, and rows without notes of "
                "their types, as with your own to_csv options, cannot be joined. Let run() return the "
                "same columns for every item (reindex), or remove the options, and submit again: a "
                "resume keeps the rows of the items that succeeded, and would fail again."
            )
            raise OutputError(msg)
        header, start = split_header(data, at)
        try:
            tables.append(_table(about, header + data[start:]))
        except ValueError as error:
            msg = (
                f"the rows of mini-batch {mini_batch}, whose items ran in several attempts and have "
                f"the columns {columns} and {earlier}, cannot be joined: {error}. Let run() return "
                "the same columns for every item (reindex) and submit again."
            )
            raise OutputError(msg) from error
    names = dict.fromkeys(name for table in tables for name in table.frame.columns)
    frame = pd.DataFrame({name: _column(name, tables) for name in names})
    frame = restore_index(frame, [table.about for table in tables])
    options = {"sep": tables[0].about["sep"], "header": tables[0].about["header"], "index": False}
    return encode_table(frame, CSV, options)


class _Table(NamedTuple):
    """The rows of one result, with their note and the kinds of their columns."""

    about: dict[str, Any]
    frame: pd.DataFrame
    kinds: dict[str, str]


def _table(about: dict[str, Any], data: bytes) -> _Table:
    kind, codes = without_codes({key: about[key] for key in about if key != "index"})
    frame = csv_table(data, RowNotes(ranges=[(about["rows"], kind, codes)]))
    return _Table(about, frame, {name: kind for name, kind, *_ in about["columns"]})


def _column(name: str, tables: list[_Table]) -> Any:
    """Return a column of all rows, of the type that pandas gives the whole."""
    are_held = [_holds_values(name, table) for table in tables]
    kinds = {table.kinds[name] for table, is_held in zip(tables, are_held, strict=True) if is_held}
    if not kinds:
        kinds = {"float64"} & {table.kinds.get(name) for table in tables}
    kind = next(iter(kinds), "")
    if len(kinds) != 1 or (kind in _OF_OBJECTS and not all(are_held)):
        return as_frame([row for table in tables for row in _records(name, table)])[name]
    gap = [name, kind_with_gaps(kind) or kind]
    columns = [
        table.frame[name] if is_held else restored([None] * len(table.frame), gap)
        for table, is_held in zip(tables, are_held, strict=True)
    ]
    return concatenated(columns)


def _holds_values(name: str, table: _Table) -> bool:
    """Return whether a result has a column, with values or at least a type."""
    if name not in table.kinds:
        return False
    return table.kinds[name] not in _OF_GAPS or not table.frame[name].isna().all()


def _records(name: str, table: _Table) -> list[dict[str, Any]]:
    """Return the values of a column as the dicts that a script may have returned."""
    if name not in table.kinds:
        return [{}] * len(table.frame)
    column = table.frame[name]
    values = column.tolist()
    kind = table.kinds[name]
    if kind.startswith(("Int", "UInt")) or (kind == "float64" and column.isna().all()):
        gaps = column.isna().tolist()
        values = [None if gap else value for gap, value in zip(gaps, values, strict=True)]
    return [{name: value} for value in values]
