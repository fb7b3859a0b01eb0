"""The entry script of a run of a function: `map` and `map_batches` copy this file into the run's folder.

Beside it lies ``function.pickle``: the function by value, and how it is called.
"""

from __future__ import annotations

import os
import pickle
from functools import partial

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing is not worth its import in a worker
    from typing import Any, Iterator

FILE = "function.pickle"

ITEM, KEYWORDS, BATCH = "item", "keywords", "batch"
"""What a call of the function gets: an item, an item as keyword arguments, or a mini-batch."""

_state: dict[str, Any] = {}


def init() -> None:
    """Load the function, and make its object if it is a class."""
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), FILE)
    with open(path, "rb") as file:
        _state.update(pickle.load(file))  # noqa: S301 - the user's own notebook wrote it
    if _state["init"] is not None:
        _state["init"]()
    if isinstance(_state["function"], type):
        _state["function"] = _state["function"]()


def run(mini_batch: Any, context: Any) -> Any:
    """Call the function for each item of a mini-batch, or once for all of them."""
    function = _state["function"]
    if _state["context"]:  # the name of its parameter
        function = partial(function, **{_state["context"]: context})
    if _state["call"] == BATCH:
        return _of_batch(function(mini_batch), mini_batch)
    results = []
    begin, answers_items = context._begin_item, context.answers_items
    for position, item in enumerate(_items(mini_batch)):
        begin(position)
        try:
            result = function(**item) if _state["call"] == KEYWORDS else function(item)
            results.append(list(result) if hasattr(type(result), "__next__") else result)
        except Exception as error:
            if not answers_items:
                raise
            results.append(error)
    return results


def shutdown() -> None:
    """Call the function's shutdown, if it has one."""
    if _state.get("shutdown") is not None:
        _state["shutdown"]()


def _items(mini_batch: Any) -> Iterator[Any]:
    """Return the single items; the rows of a table are dicts."""
    if hasattr(mini_batch, "to_pylist"):  # an Arrow table
        mini_batch = mini_batch.to_pylist()
    elif hasattr(mini_batch, "columns"):
        names = list(mini_batch.columns)
        columns = [mini_batch.iloc[:, k].tolist() for k in range(len(names))]
        mini_batch = [dict(zip(names, row)) for row in zip(*columns)] if names else [{}] * len(mini_batch)  # fmt: skip
    return iter(mini_batch)


def _of_batch(result: Any, mini_batch: Any) -> Any:
    """Return the result of a function of a mini-batch; a table may have any number of rows."""
    if hasattr(result, "iloc") and len(result) != len(mini_batch):
        return _Rows(result, len(mini_batch))
    return result


class _Rows:
    """A table with another number of rows than the mini-batch has items."""

    is_whole = True

    def __init__(self, value: Any, items: int) -> None:
        self.value = value
        self._items = items

    def __len__(self) -> int:
        return self._items

    def __iter__(self) -> Iterator[Any]:
        return iter(())  # no element is an exception
