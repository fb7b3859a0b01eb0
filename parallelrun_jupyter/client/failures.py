"""What failed in a run, as tables and as the words that come first."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from ..formatting import plural
from ..runs.journal.events import AttemptFailed, Event, ItemsFailed
from ..runs.journal.state import FailureGroup, costliest_first
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
    "items_missing",
    "first_mini_batch",
)


def attempts_frame(events: Iterable[Event]) -> pd.DataFrame:
    """Return a row for each failed attempt; one without a traceback has its group's first.

    An attempt that succeeded for some of its items only is one, too.
    """
    import pandas as pd

    rows = []
    first: dict[str, str] = {}
    for event in events:
        if isinstance(event, AttemptFailed | ItemsFailed):
            shown = first.setdefault(event.group, event.traceback)
            values = {name: getattr(event, name) for name in _FAILURE_COLUMNS}
            rows.append({**values, "traceback": event.traceback or shown})
    frame: pd.DataFrame = pd.DataFrame(rows, columns=list(_FAILURE_COLUMNS))
    return frame


def groups_frame(record: RunRecord, groups: Iterable[FailureGroup]) -> pd.DataFrame:
    """Return a row for each place in the user's code that raised, the costliest first."""
    import pandas as pd

    ordered = costliest_first(groups)
    rows = [
        [
            *(getattr(group, name) for name in _GROUP_COLUMNS),
            hint_of(record, group),
            group.traceback,
        ]
        for group in ordered
    ]
    frame: pd.DataFrame = pd.DataFrame(rows, columns=[*_GROUP_COLUMNS, "hint", "traceback"])
    return frame


def failure_message(follower: Follower, last: Snapshot) -> str:
    """Return the text for a failed run: the user's own exception first, then ours, if there is one."""
    state = follower.state
    # A group that an earlier driver met, and all of whose mini-batches are retried, is not the reason.
    to_blame = [
        group
        for group in state.groups.values()
        if group.mini_batches_lost
        or group.items_missing
        or (group.first_mini_batch < 0 and group.group in state.reason)
    ]
    heads = [group_text(follower.record, group) for group in costliest_first(to_blame)[:1]]
    if state.traceback:
        heads.append(state.traceback.rstrip())
    tail = f"run {last['run_id']} failed: {last['reason']}. run.failures() and run.logs() say more."
    return "\n".join([*heads, tail])


def group_text(record: RunRecord, group: FailureGroup, end: str = "") -> str:
    """Return the traceback of a group of failures, what it did, and what to do about it."""
    # A terminal prints it: what a message holds must not move its cursor.
    body = "\n".join(map(text.plain, group.traceback.rstrip().split("\n")))
    said = f"{group.error}: {text.plain(group.message)}" if group.message else group.error
    if not body.endswith(said):
        body = f"{body}\n\n{said}".strip()
    place = group.group.removeprefix(f"{group.error} at ")
    if group.first_mini_batch < 0:
        where = f"{plural(group.attempts, 'worker')} failed to start there"
    elif group.items_missing:
        where = (
            f"first in mini-batch {group.first_mini_batch}; {plural(group.attempts, 'mini-batch')}, "
            f"{plural(group.items_missing, 'item')} without a result"
        )
    else:
        where = (
            f"first in mini-batch {group.first_mini_batch}; "
            f"{plural(group.attempts, 'attempt')} failed there"
        )
    verb = "run() begins at" if group.items_missing else "raised at"
    hint = hint_of(record, group)
    return f"{body}\n{verb} {place}, {where}{end}" + (f"\nhint: {hint}" if hint else "")


def failures_text(record: RunRecord, groups: Iterable[FailureGroup]) -> str:
    """Return what failed for a terminal: every group, the costliest first."""
    return "\n\n".join(group_text(record, group, _lost(group)) for group in costliest_first(groups))


def _lost(group: FailureGroup) -> str:
    is_short = group.items_missing and not group.mini_batches_lost
    return "" if is_short else f"; {plural(group.mini_batches_lost, 'mini-batch')} lost"
