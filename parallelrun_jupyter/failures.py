"""What failed in a run, as tables and as the words that come first."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from .events import AttemptFailed, Event
from .parsing import plural
from .runs.follow import Follower
from .runs.hints import hint_of
from .runs.record import RunRecord
from .runs.snapshot import Snapshot
from .runs.state import FailureGroup
from .widget import text

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
    "first_mini_batch",
)


def attempts_frame(events: Iterable[Event]) -> pd.DataFrame:
    """Return a row for each failed attempt; one without a traceback has its group's first."""
    import pandas as pd

    rows = []
    first: dict[str, str] = {}
    for event in events:
        if isinstance(event, AttemptFailed):
            shown = first.setdefault(event.group, event.traceback)
            values = {name: getattr(event, name) for name in _FAILURE_COLUMNS}
            rows.append({**values, "traceback": event.traceback or shown})
    frame: pd.DataFrame = pd.DataFrame(rows, columns=list(_FAILURE_COLUMNS))
    return frame


def groups_frame(record: RunRecord, groups: Iterable[FailureGroup]) -> pd.DataFrame:
    """Return a row for each place in the user's code that raised, the costliest first."""
    import pandas as pd

    ordered = sorted(groups, key=lambda g: (-g.mini_batches_lost, -g.attempts))
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
    """Return what to say of a failed run: the user's own exception first."""
    groups = sorted(follower.state.groups.values(), key=lambda g: -g.mini_batches_lost)
    head = group_text(follower.record, groups[0]) if groups else ""
    tail = f"run {last['run_id']} failed: {last['reason']}. run.failures() and run.logs() say more."
    return f"{head}\n{tail}" if head else tail


def group_text(record: RunRecord, group: FailureGroup, end: str = "") -> str:
    """Return the traceback of a group of failures, what it did, and what to do about it."""
    body = group.traceback.rstrip()
    said = f"{group.error}: {text.plain(group.message)}"
    if not body.endswith(said):
        body = f"{body}\n\n{said}".strip()
    place = group.group.removeprefix(f"{group.error} at ")
    if group.first_mini_batch < 0:
        where = f"{plural(group.attempts, 'worker')} failed to start there"
    else:
        where = (
            f"first in mini-batch {group.first_mini_batch}; "
            f"{plural(group.attempts, 'attempt')} failed there"
        )
    hint = hint_of(record, group)
    return f"{body}\nraised at {place}, {where}{end}" + (f"\nhint: {hint}" if hint else "")


def failures_text(record: RunRecord, groups: Iterable[FailureGroup]) -> str:
    """Return what failed for a terminal: every group, the costliest first."""
    ordered = sorted(groups, key=lambda g: (-g.mini_batches_lost, -g.attempts))
    return "\n\n".join(
        group_text(record, group, f"; {plural(group.mini_batches_lost, 'mini-batch')} lost")
        for group in ordered
    )
