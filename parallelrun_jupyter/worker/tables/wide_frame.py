"""Reads rows with very many columns: the columns of each type are parsed as one column."""

from __future__ import annotations

import gc

from .field_grid import FieldGrid
from .pandas_types import converted, parsed_as

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing is not worth its import in a worker
    from typing import Any, Callable, Container


def by_type(
    types: dict[int, str], guessed: Container[int] = ()
) -> dict[tuple[str, bool], list[int]]:
    """Return the positions of the columns that are parsed as one, by type and whether it is guessed.

    Parameters
    ----------
    types
        The types by position.
    guessed
        The positions of columns whose type pandas infers.
    """
    groups = {}  # type: dict[tuple[str, bool], list[int]]
    for position, decided in types.items():
        # A date's parser may look at the other dates of its column.
        parsed = "str" if decided.startswith("datetime") else decided
        groups.setdefault((parsed, position in guessed), []).append(position)
    return groups


def wide_frame(
    pd: Any, grid: FieldGrid, groups: dict[tuple[str, bool], list[int]], read: Callable[..., Any]
) -> Any:
    """Return rows as a DataFrame whose columns are numbers from 0; dates are still text.

    Parameters
    ----------
    pd
        pandas.
    grid
        The fields of the rows.
    groups
        The positions of the columns of each type, from `by_type`.
    read
        Returns the column that pandas reads from a text of one field a line, given the text, the type,
        and whether it is guessed.

    Raises
    ------
    ValueError, TypeError, OverflowError
        A value is not of its column's type.
    """
    was_collecting = gc.isenabled()
    gc.disable()  # each column is several objects, and every collection would visit them all
    try:
        frames = [_group_frame(pd, grid, how, positions, read) for how, positions in groups.items()]
        return frames[0] if len(frames) == 1 else _in_order(pd, frames)
    finally:
        if was_collecting:
            gc.enable()


def _group_frame(
    pd: Any, grid: FieldGrid, how: tuple[str, bool], positions: list[int], read: Callable[..., Any]
) -> Any:
    """Return the columns of one type as a DataFrame."""
    import numpy as np

    decided, is_guessed = how
    columns = np.zeros(grid.width, bool)
    columns[positions] = True
    parsed = parsed_as(decided)
    column = read(grid.below_each_other(columns), parsed, is_guessed=is_guessed)
    if len(column) != grid.rows * len(positions) or (parsed == "int64" and column.dtype != parsed):
        raise ValueError("pandas reads the fields of the columns in another way")
    if parsed != decided:
        column = converted(pd, column, decided)
    if isinstance(column.dtype, np.dtype):
        values = column.to_numpy().reshape(grid.rows, len(positions))
        return pd.DataFrame(np.array(values.T, order="C").T, columns=positions)
    # The values of a column are put next to each other, so that each column is a slice.
    order = np.arange(len(column)).reshape(grid.rows, len(positions)).T.ravel()
    values = column.array.take(order)
    slices = range(0, len(values), grid.rows)
    parts = [values[start : start + grid.rows] for start in slices]
    return pd.DataFrame(dict(zip(positions, parts)), copy=False)


def _in_order(pd: Any, frames: list[Any]) -> Any:
    """Return the columns of all groups in the order of their numbers."""
    import numpy as np

    frame = pd.concat(frames, axis=1)
    positions = frame.columns.to_numpy()
    return frame if (np.diff(positions) > 0).all() else frame.take(np.argsort(positions), axis=1)
