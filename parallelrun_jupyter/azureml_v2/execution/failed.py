"""Names the failed items of a run, also where thresholds ignore them."""

from __future__ import annotations

from itertools import islice

from ...formatting import plural
from ...runs.failed_items import failed_items
from ...runs.run_folder import find
from ...runs.snapshot.follower import Follower

_SHOWN = 3


def failed_sentence(run_id: str, items: str = "item") -> str:
    """Return a sentence with the number of failed items and the first names; empty if none failed.

    Parameters
    ----------
    run_id
        The run over mini-batches.
    items
        The word for an item.

    Raises
    ------
    RunNotFoundError
        The folder of the run was removed.
    """
    follower = Follower(find(run_id))
    follower.refresh()
    failed = follower.state.items_failed
    if not failed:
        return ""
    names = [
        _without_folder(item.item or f"an item of mini-batch {item.mini_batch}")
        for item in islice(failed_items(follower.folder), _SHOWN)
    ]
    names += [f"and {failed - len(names):,} more"] * (failed > len(names))
    return (
        f"{plural(failed, items)} failed, without rows in the output: {', '.join(names)}. "
        f"'parallelrun failures {run_id} --items' lists them."
    )


def _without_folder(name: str) -> str:
    """Return the name of an item without the folder of its file; a partition may have slashes."""
    path, row, rest = name.partition(": row ")
    return f"{path.rpartition('/')[2]}{row}{rest}"
