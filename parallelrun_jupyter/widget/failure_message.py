"""What is said of a failed run: the user's own exception first."""

from __future__ import annotations

from ..parsing import plural
from ..runs.follow import Follower
from ..runs.snapshot import Snapshot
from . import text


def failure_message(follower: Follower, last: Snapshot) -> str:
    """Return what to say of a failed run: the user's own exception first."""
    groups = sorted(follower.state.groups.values(), key=lambda g: -g.mini_batches_lost)
    head = ""
    for group in groups[:1]:
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
        head = f"{body}\nraised at {place}, {where}"
    tail = f"run {last['run_id']} failed: {last['reason']}. run.failures() and run.logs() say more."
    return f"{head}\n{tail}" if head else tail
