"""The failures of a run: as tables, as the raised error, and as text for a terminal."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import TYPE_CHECKING, Any

from ..errors import Remedy, RunFailedError
from ..formatting import plural
from ..runs.failed_items import FailedItem, failed_items
from ..runs.journal.events import AttemptFailed, ItemsFailed
from ..runs.journal.failure_groups import FailureGroup, costliest_first
from ..runs.run_record import RunRecord
from ..runs.snapshot.follower import Follower
from ..runs.snapshot.hints import hint_of
from ..runs.snapshot.snapshot import Snapshot
from ..views import text

if TYPE_CHECKING:
    import pandas as pd

_FAILURE_COLUMNS = (
    "mini_batch",
    "attempt",
    "worker",
    "kind",
    "group",
    "error",
    "message",
    "traceback",
    "items",
)
_GROUP_COLUMNS = (
    "group",
    "kind",
    "error",
    "message",
    "attempts",
    "mini_batches_lost",
    "items_lost",
    "items_missing",
    "first_mini_batch",
)
_ITEM_TYPES: dict[str, Any] = {
    "mini_batch": "int64",
    "position": "Int64",
    "number": "Int64",
    "tries": "int64",
}
"""Types of the columns of failed items that are not text."""

SHOWN_ITEMS = 50
"""Number of failed items in a terminal."""

_SHOWN_CHARS = 100


def items_frame(items: Iterable[FailedItem], *, logs: bool) -> pd.DataFrame:
    """Return a row for each failed item, with ``log`` as the last column if ``logs`` is set."""
    import pandas as pd

    columns: list[list[object]] = [[] for _ in FailedItem._fields]
    for item in items:
        for column, value in zip(columns, item, strict=True):
            column.append(value)
    text = pd.StringDtype("python")  # rows of a group share the text of its traceback
    frame: pd.DataFrame = pd.DataFrame(
        {
            name: pd.Series(column, dtype=_ITEM_TYPES.get(name, text))
            for name, column in zip(FailedItem._fields, columns, strict=True)
            if logs or name != "log"
        }
    )
    return frame


def attempts_frame(events: Iterable[AttemptFailed | ItemsFailed]) -> pd.DataFrame:
    """Return a row for each failed attempt, including attempts that failed for some items only.

    An attempt whose traceback was not stored gets the first traceback of its group.
    """
    import pandas as pd

    rows = []
    tracebacks: dict[str, str] = {}
    for event in events:
        first = tracebacks.setdefault(event.group, event.traceback)
        values = {name: getattr(event, name) for name in _FAILURE_COLUMNS}
        rows.append({**values, "traceback": event.traceback or first})
    frame: pd.DataFrame = pd.DataFrame(rows, columns=list(_FAILURE_COLUMNS))
    return frame


def groups_frame(record: RunRecord, groups: Iterable[FailureGroup]) -> pd.DataFrame:
    """Return a row for each group of failures, the costliest first."""
    import pandas as pd

    rows = []
    for group in costliest_first(groups):
        values = [getattr(group, name) for name in _GROUP_COLUMNS]
        rows.append([*values, hint_of(record, group), group.traceback])
    frame: pd.DataFrame = pd.DataFrame(rows, columns=[*_GROUP_COLUMNS, "hint", "traceback"])
    return frame


def failure_of(follower: Follower, last: Snapshot) -> RunFailedError:
    """Return the error for a failed run: the user's own exception first, then the driver's."""
    state = follower.state
    # A group whose mini-batches were all retried successfully is not the reason.
    causes = [
        group
        for group in state.groups.values()
        if group.items_lost
        or group.items_missing
        or (group.first_mini_batch < 0 and group.group in state.reason)
    ]
    heads = [group_text(follower.record, group) for group in costliest_first(causes)[:1]]
    if state.traceback:
        heads.append(state.traceback.rstrip())
    items = f"{plural(state.items_failed, 'item')} failed" if state.items_failed else ""
    if items and follower.record.script.call and heads:
        first = next(failed_items(follower.folder), None)
        if first is not None and first.item is not None:
            heads.append(f"the first item that failed: {text.plain(first.item)}")
    reason = last["reason"]
    if items and not reason.startswith(items):
        # Attempts that were under way when the limit was exceeded may have failed as well.
        reason = f"{reason}; {items}{' by its end' if ' failed; ' in reason else ''}"
    stopped = text.stopped_at_threshold(last)
    left = f" {plural(last['items_left'], 'item')} did not finish." if stopped else ""
    message = "\n".join([*heads, f"run {last['run_id']} failed: {reason.removesuffix('.')}.{left}"])
    remedy = [Remedy.TOLERATE] if stopped else []
    remedy += [Remedy.FAILED_ITEMS] if items else []
    if follower.record.script.call and last["items_succeeded"]:
        remedy.append(Remedy.RESULTS)
    return RunFailedError(message, last["run_id"], remedy=[*remedy, Remedy.FAILURES, Remedy.LOGS])


def first_failure(follower: Follower) -> str:
    """Return the error of the costliest group of failures and the line that raised it, in one line."""
    groups = [group for group in follower.state.groups.values() if group.items_lost]
    for group in costliest_first(groups)[:1]:
        return f"{group.group}: {text.plain(group.message)}"
    return ""


def group_text(record: RunRecord, group: FailureGroup, end: str = "") -> str:
    """Return the traceback of a group of failures, its effect, and a hint."""
    # A terminal prints this: control characters in a message must not move its cursor.
    body = "\n".join(map(text.plain, group.traceback.rstrip().split("\n")))
    error = f"{group.error}: {text.plain(group.message)}" if group.message else group.error
    if not body.endswith(error):
        body = f"{body}\n\n{error}".strip()
    place = group.group.removeprefix(f"{group.error} at ")
    if group.first_mini_batch < 0:
        effect = f"{plural(group.attempts, 'worker')} failed to start there"
    elif group.items_missing:
        effect = (
            f"first in mini-batch {group.first_mini_batch}; {plural(group.attempts, 'mini-batch')}, "
            f"{plural(group.items_missing, 'item')} without a result"
        )
    else:
        effect = (
            f"first in mini-batch {group.first_mini_batch}; "
            f"{plural(group.attempts, 'attempt')} failed there"
        )
        if group.items_lost:
            effect += f"; {plural(group.items_lost, 'item')} failed"
    verb = "run() begins at" if group.items_missing else "raised at"
    hint = hint_of(record, group)
    return f"{body}\n{verb} {place}, {effect}{end}" + (f"\nhint: {hint}" if hint else "")


def failures_text(record: RunRecord, groups: Iterable[FailureGroup]) -> str:
    """Return all groups of failures as text, the costliest first."""
    return "\n\n".join(group_text(record, group, _lost(group)) for group in costliest_first(groups))


def items_text(items: Iterable[FailedItem], number: int, more: str) -> str:
    """Return the first failed items as a table; all that are not shown are a last line.

    Parameters
    ----------
    items
        The failed items.
    number
        Their number.
    more
        How to see all of them.
    """
    cells = [("ITEM", "MINI-BATCH", "ERROR", "MESSAGE")]
    for item in islice(items, SHOWN_ITEMS):
        name = "unknown" if item.item is None else text.plain(item.item)
        cells.append((name, f"{item.mini_batch}", text.plain(item.error), _cut(item.message)))
    widths = [max(len(row[k]) for row in cells) for k in range(3)]
    lines = ["  ".join([*map(str.ljust, row, widths), row[-1]]).rstrip() for row in cells]
    hidden = number - len(cells) + 1
    return "\n".join([*lines, f"and {hidden:,} more: {more}"] if hidden > 0 else lines)


def _cut(message: str) -> str:
    shown = text.plain(message)
    return shown if len(shown) <= _SHOWN_CHARS else f"{shown[: _SHOWN_CHARS - 3]}..."


def _lost(group: FailureGroup) -> str:
    is_of_items = group.items_missing or group.items_lost
    return (
        ""
        if is_of_items and not group.mini_batches_lost
        else f"; {plural(group.mini_batches_lost, 'mini-batch')} lost"
    )
