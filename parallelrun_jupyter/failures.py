"""What failed in a run, as tables and as the words that come first."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from .events import AttemptFailed, Event
from .parsing import plural
from .runs.follow import Follower
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


def groups_frame(groups: Iterable[FailureGroup]) -> pd.DataFrame:
    """Return a row for each place in the user's code that raised, the costliest first."""
    import pandas as pd

    ordered = sorted(groups, key=lambda g: (-g.mini_batches_lost, -g.attempts))
    columns = (*_GROUP_COLUMNS, "traceback")
    rows = [[getattr(group, name) for name in columns] for group in ordered]
    frame: pd.DataFrame = pd.DataFrame(rows, columns=list(columns))
    return frame


def failure_message(follower: Follower, last: Snapshot) -> str:
    """Return what to say of a failed run: the user's own exception first."""
    state = follower.state
    # A group that an earlier driver met, and all of whose mini-batches are retried, is not the reason.
    to_blame = [
        group
        for group in state.groups.values()
        if group.mini_batches_lost or (group.first_mini_batch < 0 and group.group in state.reason)
    ]
    worst = max(to_blame, key=lambda group: group.mini_batches_lost, default=None)
    head = group_text(worst) if worst else ""
    tail = f"run {last['run_id']} failed: {last['reason']}. run.failures() and run.logs() say more."
    return f"{head}\n{tail}" if head else tail


def group_text(group: FailureGroup) -> str:
    """Return the traceback of a group of failures, and what it did."""
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
    return f"{body}\nraised at {place}, {where}"


def failures_text(groups: Iterable[FailureGroup]) -> str:
    """Return what failed for a terminal: every group, the costliest first."""
    ordered = sorted(groups, key=lambda g: (-g.mini_batches_lost, -g.attempts))
    return "\n\n".join(
        f"{group_text(group)}; {plural(group.mini_batches_lost, 'mini-batch')} lost"
        for group in ordered
    )
