"""A pipeline with its steps, as a table for pages and as lines for plain text."""

from __future__ import annotations

import time
from html import escape

from ...formatting import format_duration
from ...pipelines.folder import PipelineRecord
from ...pipelines.journal import PipelineState, StepState
from ..statuses import run_status

_GLYPHS = {
    "NotStarted": "◌",
    "Preparing": "◌",
    "Running": "▶",
    "Completed": "✓",
    "Failed": "✗",
    "Canceled": "■",
    "Skipped": "-",
    "Interrupted": "!",
}


def _elapsed(state: PipelineState | StepState) -> str:
    if state.started_at is None:
        return ""
    return format_duration((state.ended_at or time.time()) - state.started_at)


def html_table(record: PipelineRecord, state: PipelineState) -> str:
    """Return the pipeline as HTML that needs nothing else; every text of the user's is escaped."""
    rows = []
    for step in record.steps:
        known = state.steps.get(step.key, StepState())
        words = "reused" if known.is_reused else str(run_status(known.state))
        if known.state in {"Skipped", "Preparing"}:
            words = known.state.lower()
        cells = [
            f"{_GLYPHS[known.state]} {escape(step.name)}",
            escape(words),
            _elapsed(known),
            escape(known.run_id or known.step_run_id),
        ]
        rows.append(f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>")
    why = f"<pre>{escape(state.reason)}</pre>" if state.reason else ""
    title = (
        f"<b>{_GLYPHS[state.state]} {escape(record.experiment)}</b> {run_status(state.state)} "
        f"{_elapsed(state)} <small>{escape(record.run_id)}</small>"
    )
    heads = "<tr><th>step</th><th>status</th><th>elapsed</th><th>run</th></tr>"
    return f"<div>{title}<table>{heads}{''.join(rows)}</table>{why}</div>"


def text_lines(record: PipelineRecord, state: PipelineState) -> list[str]:
    """Return the pipeline as a few lines of text."""
    lines = [f"{record.experiment}  {run_status(state.state)}  [{record.run_id}]"]
    for step in record.steps:
        known = state.steps.get(step.key, StepState())
        words = "reused" if known.is_reused else str(run_status(known.state))
        lines.append(f"{_GLYPHS[known.state]} {step.name}: {words} {_elapsed(known)}".rstrip())
    if state.reason:
        lines.append(state.reason)
    return lines
