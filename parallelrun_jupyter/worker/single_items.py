"""The single items of a mini-batch."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing is not worth its import in a worker
    from typing import Any, Iterator


def single_items(mini_batch: Any) -> Iterator[Any]:
    """Return the single items of a mini-batch; the rows of a table are dicts."""
    if hasattr(mini_batch, "to_pylist"):  # an Arrow table
        mini_batch = mini_batch.to_pylist()
    elif hasattr(mini_batch, "columns"):
        names = list(mini_batch.columns)
        columns = [mini_batch.iloc[:, k].tolist() for k in range(len(names))]
        rows = [dict(zip(names, row)) for row in zip(*columns)]
        mini_batch = rows if names else [{} for _ in range(len(mini_batch))]
    return iter(mini_batch)
