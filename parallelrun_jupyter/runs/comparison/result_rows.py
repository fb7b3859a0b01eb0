"""The rows of a run's results, for a comparison: a key for each, equal for equal rows, and their text."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Any, Protocol

from ...worker.output.formats import OBJECTS
from ..output.blocks import BlockReader
from ..output.earlier_rows import Result, Results, UnclearRowsError, open_rows
from ..output.unreadable_values import values_of
from ..output.value_keys import keys_of
from ..run_folder import RunFolder
from ..run_record import RunRecord
from .row_forms import ROW_FORMS


class ResultRows(Protocol):
    """The rows of a run, by result."""

    def keys(self, result: Result) -> list[bytes | None]:
        """Return a key for each row; None for one that cannot be compared.

        Raises
        ------
        UnclearRowsError
            None of them can.
        OutputError
            They are not the rows that the run wrote.
        """

    def texts(self, result: Result, first: int, count: int) -> list[str]:
        """Return the texts of some rows, the first of which has a position in the result.

        Raises
        ------
        UnclearRowsError, OutputError
            As `keys`.
        """

    def close(self) -> None:
        """Close the files."""


def rows_of(
    folder: RunFolder, record: RunRecord, results: Results, find_class: Callable[[str], Any] | None
) -> ResultRows:
    """Return the rows of a run.

    Parameters
    ----------
    folder, record, results
        The run, and its committed results.
    find_class
        Returns a class of the notebook by name, for the values of functions. They are unpickled: the run
        must be of this user.

    Raises
    ------
    OutputError
        They cannot be read, with the reason.
    """
    if record.output.format == OBJECTS:
        assert find_class is not None
        return _Values(folder, record, results, find_class)
    return _EncodedRows(folder, record, results)


class _EncodedRows:
    """Rows of text, CSV, JSON lines or Parquet."""

    def __init__(self, folder: RunFolder, record: RunRecord, results: Results) -> None:
        self._form = ROW_FORMS[record.output.format]
        self._rows = open_rows(folder, record, results)

    def keys(self, result: Result) -> list[bytes | None]:
        slices = self._rows.slices(result.start, result.start + result.rows)
        return [key for each in slices for key in self._form.keys(each)]

    def texts(self, result: Result, first: int, count: int) -> list[str]:
        start = result.start + first
        slices = self._rows.slices(start, min(start + count, result.start + result.rows))
        return [text for each in slices for text in self._form.texts(each)]

    def close(self) -> None:
        self._rows.close()


class _Values:
    """Values of any type, which functions returned."""

    def __init__(
        self,
        folder: RunFolder,
        record: RunRecord,
        results: Results,
        find_class: Callable[[str], Any],
    ) -> None:
        self._blocks = BlockReader(folder, record, results)
        self._find = find_class

    def keys(self, result: Result) -> list[bytes | None]:
        block = self._blocks.read(result)
        if block is None:
            return []
        values, unread = values_of(block, self._find)
        if -1 in unread:
            raise UnclearRowsError(unread[-1])
        keys = keys_of(values)
        for position in unread:
            keys[position] = None
        return keys

    def texts(self, result: Result, first: int, count: int) -> list[str]:
        block = self._blocks.read(result)
        return [] if block is None else list(islice(block.texts, first, first + count))

    def close(self) -> None:
        self._blocks.close()
