"""The output of a cell that shows a run: a MIME bundle that every front end can render."""

from __future__ import annotations

import json
import time
from typing import Any, TypedDict

from ..runs.snapshot.snapshot import Snapshot, shorten
from .html import html_view
from .saved_rows import SavedRows
from .text import headline, text_view

RUN_MIME = "application/vnd.parallelrun.run+json"
HEADLINE_CHARS = 300
MILESTONES = (0.25, 0.5, 0.75)


class RunOutput(TypedDict):
    """A snapshot with its time (seconds since the epoch), stage and headline."""

    run_id: str
    at: float
    stage: int
    headline: str
    snapshot: Snapshot


def run_output(snapshot: Snapshot, at: float | None = None) -> RunOutput:
    """Return the JSON part of the bundle; ``at`` defaults to the current time."""
    return RunOutput(
        run_id=snapshot["run_id"],
        at=round(time.time() if at is None else at, 3),
        stage=stage(snapshot),
        headline=shorten(headline(snapshot), HEADLINE_CHARS),
        snapshot=snapshot,
    )


def saved_bundle(output: RunOutput, rows: SavedRows | None = None) -> dict[str, Any]:
    """Return the bundle to save: it can be rendered without a kernel and without this package.

    ``rows`` are the first and the latest rows of the run, if it has any.
    """
    snapshot = output["snapshot"]
    return {
        RUN_MIME: output,
        "text/html": html_view(snapshot, output["at"], rows),
        "text/plain": text_view(snapshot),
    }


def stage(snapshot: Snapshot) -> int:
    """Return the number of milestones that a run has passed; the end counts as one more."""
    if snapshot["is_final"]:
        return len(MILESTONES) + 1
    if not snapshot["plan_finished"] or not snapshot["mini_batches"]:
        return 0
    share = (snapshot["succeeded"] + snapshot["failed"]) / snapshot["mini_batches"]
    return sum(share >= milestone for milestone in MILESTONES)


def news(snapshot: Snapshot) -> str:
    """Return a text that changes when the snapshot needs to be rendered again.

    Values that only grow with time are excluded, since front ends advance them on their own.
    """
    timeless: dict[str, Any] = {
        **snapshot,
        "at_s": 0,
        "elapsed_s": 0,
        "eta_s": None,
        "eta_low_s": None,
        "eta_high_s": None,
        "items_per_s": float(f"{snapshot['items_per_s']:.2g}"),
        "mini_batches_per_s": 0,
        "rate_window_s": 0,
        "quiet_s": 0,
        "quiet_after_s": 0,
        "lanes_from_ms": 0,
        "stragglers": [row["mini_batch"] for row in snapshot["stragglers"]],
        "workers": [
            {**row, "since_s": 0, "cpu": "", "memory": "", "gpu": ""} for row in snapshot["workers"]
        ],
    }
    return json.dumps(timeless, separators=(",", ":"))
