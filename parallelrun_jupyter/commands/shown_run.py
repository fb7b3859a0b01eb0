"""``parallelrun show``: the state of a run now, as text or as JSON."""

from __future__ import annotations

import json
from typing import Any

from ..client.run import Run
from ..runs.journal.failure_groups import FailureGroup, costliest_first
from ..runs.snapshot.follower import Follower
from ..runs.snapshot.snapshot import all_warnings
from ..views.text import text_view

GROUP_FIELDS = (
    "group", "kind", "error", "message", "attempts", "mini_batches_lost", "items_lost", "items_missing",
)  # fmt: skip
"""The fields of a failure group, by the names in `FailureGroup`."""


def run_as_text(run: Run) -> str:
    """Return the progress of a run."""
    return text_view(Follower(run.folder).refresh())


def run_as_json(run: Run) -> str:
    """Return the row of a run as in a list, with its failures and warnings, as a JSON object."""
    follower = Follower(run.folder)
    follower.refresh()
    return json.dumps(run_fields(run, follower))


def run_fields(run: Run, follower: Follower) -> dict[str, Any]:
    """Return the fields of a run for programs; ``follower`` has just been refreshed."""
    state = follower.state
    return {
        **run.row(),
        "failure_groups": [_group(group) for group in costliest_first(state.groups.values())],
        "warnings": all_warnings(run.folder, follower.record, state),
        "folder": str(run.folder.path),
    }


def _group(group: FailureGroup) -> dict[str, Any]:
    return {name: getattr(group, name) for name in GROUP_FIELDS}
