"""Names of items of a notebook's variables, such as ``texts[17]``."""

from __future__ import annotations

from .memory_labels import label_at, labels_path

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing is not worth its import in a worker
    from .plan_line import PlanLine

_ROWS = {"frame", "series"}
_ITEMS = {"list", "array", "grid"}


def memory_item(name: str, container: str, item: int, label: str = "") -> str:
    """Return the name of an item: an expression where the name is that of a variable.

    Parameters
    ----------
    name
        The name of the dataset.
    container
        The kind of the variable.
    item
        Number of the item in the variable.
    label
        Its label in the index of a table, as an expression; empty if it has none of its own.
    """
    is_variable = name.isidentifier()
    if container in _ITEMS:
        return "%s[%d]" % (name, item) if is_variable else "%s: item %d" % (name, item)
    if container not in _ROWS or not is_variable:
        own = ", label %s" % label if label else ""
        return "%s: row %d%s" % (name, item, own)
    return "%s.loc[%s] (row %d)" % (name, label, item) if label else "%s.iloc[%d]" % (name, item)


def memory_item_name(line: PlanLine, position: int) -> str:
    """Return the name of an item of a plan line; the file with its labels is read, if there is one."""
    table = line.table
    item = line.ranges[0][0] + position
    label = ""
    if "range" in table:
        start, step, _ = table["range"]
        label = "" if (start, step) == (0, 1) else str(start + step * item)
    elif table.get("labels"):
        label = label_at(labels_path(table["file"]), item)
    return memory_item(line.paths[0], table["container"], item, label)


def memory_item_names(line: PlanLine) -> str:
    """Return the name of all items of a plan line, such as ``texts[10:20]``."""
    if line.rows == 1:
        return memory_item_name(line, 0)
    first, end = line.ranges[0]
    name, container = line.paths[0], line.table["container"]
    unit = "items" if container in _ITEMS else "rows"
    if not name.isidentifier() or container not in _ITEMS | _ROWS:
        return "%s: %s %d to %d" % (name, unit, first, end - 1)
    return "%s%s[%d:%d]" % (name, "" if container in _ITEMS else ".iloc", first, end)
