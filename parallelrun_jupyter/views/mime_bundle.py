"""The output of a cell that shows a run: one MIME bundle that every front end can draw."""

from __future__ import annotations

import json
import time
from typing import Any, TypedDict

from ..runs.snapshot.snapshot import Snapshot, shorten
from .html import html_view
from .text import headline, text_view

RUN_MIME = "application/vnd.parallelrun.run+json"
HEADLINE_CHARS = 300
MILESTONES = (0.25, 0.5, 0.75)


class RunOutput(TypedDict):
    """What a front end draws: a run at a time (seconds since the epoch), its milestones, its words."""

    run_id: str
    at: float
    stage: int
    headline: str
    snapshot: Snapshot


def run_output(snapshot: Snapshot, at: float | None = None) -> RunOutput:
    """Return what a front end draws."""
    return RunOutput(
        run_id=snapshot["run_id"],
        at=round(time.time() if at is None else at, 3),
        stage=stage(snapshot),
        headline=shorten(headline(snapshot), HEADLINE_CHARS),
        snapshot=snapshot,
    )


def saved_bundle(output: RunOutput) -> dict[str, Any]:
    """Return the bundle that is true without a kernel and without this package."""
    snapshot = output["snapshot"]
    return {
        RUN_MIME: output,
        "text/html": html_view(snapshot, output["at"]),
        "text/plain": text_view(snapshot),
    }


def stage(snapshot: Snapshot) -> int:
    """Return how many milestones a run has passed; the end is one more than all of them."""
    if snapshot["is_final"]:
        return len(MILESTONES) + 1
    if not snapshot["plan_finished"] or not snapshot["mini_batches"]:
        return 0
    share = (snapshot["succeeded"] + snapshot["failed"]) / snapshot["mini_batches"]
    return sum(share >= milestone for milestone in MILESTONES)


def news(snapshot: Snapshot) -> str:
    """Return a text that changes when there is something new to draw.

    What only grows with the clock is left out, since front ends count that on by themselves.
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
