"""Suspects: the item that a script was working on when it raised, as far as its variables tell.

It is a hint only: the search for failing items runs the suspect first, alone, and goes on without hints
if it succeeds.
"""

from __future__ import annotations

import os

from .failures import is_under
from .item_ranges import items_in

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing is not worth its import in a worker
    from typing import Any, Iterator

    from .plan_line import PlanLine

NONE = -1


def suspect_of(error: BaseException, line: PlanLine, roots: list[str]) -> int:
    """Return the position of the item that a variable of the user's innermost frame holds, or -1.

    Parameters
    ----------
    error
        The exception.
    line
        The attempt. A variable holds a file if it is its path, and a row if it is one of
        ``itertuples()`` or ``iterrows()``.
    roots
        Folders of the user's code.
    """
    positions: dict[Any, int] = {}
    for number, position in enumerate(items_in(line.ranges_of_items)):
        positions[_key(line, number, position)] = position
    for names in reversed(list(_variables(error, roots))):
        keys = map(_key_of, names.values())
        held = {positions[key] for key in keys if key is not None and key in positions}
        if len(held) == 1:
            return held.pop()
        if held:
            return NONE
    return NONE


def _key(line: PlanLine, number: int, position: int) -> Any:
    """Return what stands for an item in a script: its path, or the label of its row."""
    if not line.is_table:
        return line.paths[number]
    if line.table.get("format") != "memory":
        return number
    if "range" not in line.table:
        return None  # of a variable with other labels, or without any
    start, step, _ = line.table["range"]
    return start + step * (line.ranges[0][0] + position)


def _variables(error: BaseException, roots: list[str]) -> Iterator[dict[str, Any]]:
    """Yield the variables of the user's frames, the innermost last."""
    traceback = error.__traceback__
    while traceback is not None:
        frame = traceback.tb_frame
        if is_under(frame.f_code.co_filename, roots):
            yield dict(frame.f_locals)
        traceback = traceback.tb_next


def _key_of(value: Any) -> Any:
    """Return the path or the number of the row that a value stands for, or None."""
    kind = type(value)
    if kind is str:
        return value
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if issubclass(kind, tuple) and getattr(value, "_fields", ("",))[0] == "Index":
        return _number(value[0])
    if kind.__name__ == "Series" and kind.__module__.startswith("pandas"):
        return _number(value.name)
    return None


def _number(label: Any) -> Any:
    is_whole = hasattr(label, "__index__") and not isinstance(label, bool)
    return label.__index__() if is_whole else None
