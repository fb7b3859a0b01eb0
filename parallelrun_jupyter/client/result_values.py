"""Loads the values that functions returned: checks the owner, finds their classes, names the unreadable ones."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

from ..errors import OutputError, visible
from ..formatting import plural
from ..runs.output.blocks import ItemBlock
from ..runs.run_folder import RunFolder
from ..runs.run_record import RunRecord
from ..worker.memory_names import memory_item
from ..worker.output.formats import OBJECTS
from ..worker.output.objects import PICKLE, class_of_notebook
from ..worker.uses import load_uses
from .script import FUNCTIONS

_NO_CLASS = (
    "results of run {run_id} are objects of the class {name!r}, which __main__ does not define and which "
    "the run's function does not use. Run the cell that defines it, and try again."
)
_UNREAD = (
    "the result of {item} of run {run_id}, {text}, was stored, but cannot be read back here: {reason}. "
    "Import or install what it needs in this interpreter; or let the function return the parts that you "
    "need, such as numbers, text, arrays or dicts. run.results(missing=None) returns the other results."
)


def check_objects(folder: RunFolder, record: RunRecord) -> None:
    """Check that a run keeps results of any type, and is of this user.

    Raises
    ------
    OutputError
        It keeps rows, or nothing; or its folder belongs to somebody else.
    """
    if record.output.format == OBJECTS and record.output.append_rows:
        owner = os.stat(folder.path).st_uid
        if owner != os.getuid():
            msg = (
                f"{folder.path} belongs to another user ({owner}): its results may be pickles, which can "
                "run any code of theirs when they are read. If you trust them, copy the folder, and "
                "attach to the copy."
            )
            raise OutputError(msg, folder.run_id)
        return
    if not record.output.append_rows:
        why = "output_action 'summary_only': it keeps no results. Leave output_action out to keep them."
    elif record.script.call:
        why = (
            f"output_format {record.output.format!r}: its results are rows of a table. Read them by "
            "run.to_pandas(), or leave output_format out to get them back as they were."
        )
    else:
        why = "a script, whose run() returned rows. Read them by run.to_pandas()."
    msg = f"run {folder.run_id} has {why}"
    raise OutputError(msg, folder.run_id)


def class_finder(folder: RunFolder, record: RunRecord) -> Callable[[str], Any]:
    """Return a function that finds the classes of results by name: in the notebook, else in the run."""
    loaded: list[Any] = []

    def find(name: str) -> Any:
        try:
            return class_of_notebook(name)
        except AttributeError:
            pass
        if not loaded:  # such as in a new kernel: the run's function has brought its classes
            loaded.extend(_namespaces(load_uses(str(folder.uses), record.script.uses)))
        first, *rest = name.split(".")
        value = next((space[first] for space in loaded if first in space), None)
        for part in rest:
            value = getattr(value, part, None)
        if value is None:
            msg = _NO_CLASS.format(run_id=folder.run_id, name=name)
            raise OutputError(msg, folder.run_id)
        return value

    return find


def _namespaces(uses: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the global variables of a run's functions."""
    waiting = list(uses.get(FUNCTIONS, {}).values())
    while waiting:
        value = waiting.pop()
        if hasattr(value, "func"):  # a partial function
            waiting.append(value.func)
            continue
        kind = value if isinstance(value, type) else type(value)
        yield {kind.__name__: kind}
        function = value if hasattr(value, "__globals__") else getattr(kind, "__call__", None)  # noqa: B004 - not a test
        yield getattr(function, "__globals__", {})


def not_read(
    folder: RunFolder, record: RunRecord, block: ItemBlock, position: int, reason: str
) -> OutputError:
    """Return the error of a value that cannot be loaded; at -1, all values of the block."""
    spec = record.inputs.datasets[0]
    name, container = spec.get("name", ""), spec.get("container", "")
    first = block.first + max(position, 0)
    item = memory_item(name, container, first) if container else f"item {first:,}"
    if position < 0 and block.items > 1:
        item += f" and the {plural(block.items - 1, 'item')} after it"
    texts = block.block.texts if block.block.kind == PICKLE else []
    text = texts[max(position, 0)] if texts else "an array or a table"
    msg = _UNREAD.format(run_id=folder.run_id, item=visible(item), text=text, reason=reason)
    return OutputError(msg, folder.run_id)
