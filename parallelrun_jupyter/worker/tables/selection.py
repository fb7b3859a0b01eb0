"""Reads some rows of a mini-batch of tables without parsing the others, which may be broken."""

from __future__ import annotations

from ..failures import BadInput, TypesDiffer
from .text_range import TextRange

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing is not worth its import in a worker
    from typing import Any, Iterable

    Source = tuple[str, list[int], dict[str, Any]]
    """The path, the range and the table of a file."""


class TableParts:
    """The rows of a mini-batch of tables, of which parts are read as often as needed.

    The text of each file is read, and its rows are counted, once.

    Parameters
    ----------
    pd
        pandas.
    sources
        The files of the mini-batch.
    rows
        Number of rows of the mini-batch.

    Attributes
    ----------
    is_counted
        Whether `read` works; otherwise the rows cannot be counted without parsing all of them.

    Raises
    ------
    BadInput
        A file cannot be read.
    """

    def __init__(self, pd: Any, sources: Iterable[Source], rows: int) -> None:
        self.is_counted = False
        #: the rows before each file, its reader, and its table
        self._files: list[tuple[int, _RowReader, dict[str, Any]]] = []
        first = 0
        for path, range_, table in sources:
            reader = _RowReader.of(pd, path, range_, table)
            if reader is None:
                return
            self._files.append((first, reader, table))
            first += reader.count
        self.is_counted = first == rows

    def read(self, ranges: list[list[int]]) -> list[tuple[Any, dict[str, Any]]]:
        """Return a DataFrame, with its table, for each file that has rows in some ranges.

        Parameters
        ----------
        ranges
            First row and number of rows of each range, in the mini-batch.

        Raises
        ------
        BadInput
            A row of these ranges cannot be read.
        """
        parts = []
        for first, reader, table in self._files:
            end = first + reader.count
            own = [
                (max(begin, first) - first, min(begin + count, end) - first)
                for begin, count in ranges
                if begin < end and begin + count > first
            ]
            if own:
                parts.append((reader.read(own), table))
        return parts


class _RowReader:
    """The rows of one file of a mini-batch: their ``count``, and `read` for some of them."""

    count = 0

    def __init__(self, pd: Any, path: str, range_: list[int], table: dict[str, Any]) -> None:
        self._pd = pd
        self._path = path
        self._range = range_
        self._table = table
        self._count()

    @staticmethod
    def of(pd: Any, path: str, range_: list[int], table: dict[str, Any]) -> _RowReader | None:
        """Return the reader for a file; None if its rows cannot be counted."""
        if table["format"] in ("delimited", "json_lines"):
            return _TextReader(pd, path, range_, table)
        if table["format"] == "parquet" and table.get("by") == "rows":
            return _ParquetReader(pd, path, range_, table)
        return None

    def _count(self) -> None:
        raise NotImplementedError

    def read(self, own: list[tuple[int, int]]) -> Any:
        """Return the rows from the start to the end of each range, as one DataFrame."""
        raise NotImplementedError


class _TextReader(_RowReader):
    def _count(self) -> None:
        try:
            self._count_rows()
        except BadInput as error:
            raise self._in_doubt(error)

    def _in_doubt(self, error: BadInput) -> BadInput:
        """Return the error that rows cannot be read; it is a doubt if their types are assumed."""
        return TypesDiffer(str(error)) if "assumed" in self._table else error

    def _count_rows(self) -> None:
        self._text = TextRange(self._path, self._range, self._table, is_for_parts=True)
        if self._table["format"] == "delimited":
            from .delimited import row_bounds

            self._bounds = row_bounds(self._text.data, self._table)
        else:
            from .json_lines import line_bounds

            self._bounds = line_bounds(self._text.data)
        self.count = len(self._bounds)

    def read(self, own: list[tuple[int, int]]) -> Any:
        """Return the rows of these ranges."""
        import copy  # pandas has imported it

        bounds = self._bounds
        text = copy.copy(self._text)
        try:
            text.keep([(bounds[start][0], bounds[end - 1][1]) for start, end in own])
        except BadInput as error:
            raise self._in_doubt(error)
        if "assumed" in self._table:
            from .assumed_types import confirmed_rows

            return confirmed_rows(self._pd, text, self._table)
        if self._table["format"] == "delimited":
            from .delimited import delimited_frame

            return delimited_frame(self._pd, text, self._table)
        from .json_lines import json_frame

        return json_frame(self._pd, text, self._table)


class _ParquetReader(_RowReader):
    def _count(self) -> None:
        self.count = self._range[1] - self._range[0]

    def read(self, own: list[tuple[int, int]]) -> Any:
        """Return the rows of these ranges."""
        from .parquet import read_row_groups

        first = self._range[0] + own[0][0]
        frame = read_row_groups(
            self._pd, self._path, [first, self._range[0] + own[-1][1]], self._table
        )
        if len(own) == 1:
            return frame
        rows = [row - own[0][0] for start, end in own for row in range(start, end)]
        return frame.iloc[rows].reset_index(drop=True)
