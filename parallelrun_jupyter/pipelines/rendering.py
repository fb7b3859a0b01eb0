"""Renders a pipeline and its steps: as HTML, as text, and as the output of a cell."""

from __future__ import annotations

import time
from html import escape
from typing import Any

from ..formatting import format_duration, plural
from ..runs.journal.pipelines import FINAL_STEP_STATES, PipelineState, StepState
from ..runs.logs.reader import last_lines
from ..views.html import SAVED_STYLE
from ..views.pipeline_output import PIPELINE_MIME, PipelineOutput
from ..views.run_list import aligned
from ..views.text import plain
from .folder import PipelineFolder, PipelineRecord, every_pipeline

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
_WORDS_OF_V1 = {"Completed": "Finished", "Preparing": "Queued", "Skipped": "NotStarted"}
_LOG_LINES = 5


def status_word(record: PipelineRecord, state: str) -> str:
    """Return the state of a pipeline or a step, as the SDK that submitted it names it."""
    return _WORDS_OF_V1.get(state, state) if record.api == "v1" else state


def pipeline_bundle(
    folder: PipelineFolder, record: PipelineRecord, state: PipelineState
) -> dict[str, Any]:
    """Return the output of a cell that shows the pipeline."""
    return {
        PIPELINE_MIME: _output(record, "", state),
        "text/html": html_table(folder, record, state),
        "text/plain": "\n".join(text_lines(record, state)),
    }


def step_placeholder(record: PipelineRecord, key: str, state: PipelineState) -> dict[str, Any]:
    """Return the output of a cell that shows a step over mini-batches that has no run (yet)."""
    step, name = state.steps.get(key, StepState()), record.step(key).name
    is_over = step.state in FINAL_STEP_STATES
    words = f"{step.state.lower()} {step.reason}".rstrip() if is_over else "not started"
    text = f"{name}: {words}"
    return {
        PIPELINE_MIME: _output(record, key, state),
        "text/html": f"<div>{escape(text)}</div>",
        "text/plain": text,
    }


def _output(record: PipelineRecord, key: str, state: PipelineState) -> PipelineOutput:
    steps = [f"{name}={step.state}{step.run_id}" for name, step in state.steps.items()]
    return PipelineOutput(
        pipeline_id=record.run_id,
        step=key,
        version=" ".join([state.state, *steps]),
        has_ended=state.is_final and state.state != "Interrupted",  # that may be resumed
        may_cancel=not key and not state.is_final,
    )


def html_table(folder: PipelineFolder, record: PipelineRecord, state: PipelineState) -> str:
    """Return the pipeline as self-contained HTML; text from the user is escaped."""
    rows = []
    for record_of_step in record.steps:
        step = state.steps.get(record_of_step.key, StepState())
        is_azures_word = step.state not in {"Skipped", "Preparing"}
        cells = [
            f"{_GLYPHS[step.state]} {escape(record_of_step.name)}",
            escape(_status(record, step) if is_azures_word else step.state.lower()),
            _elapsed(step),
            escape(step.run_id or step.step_run_id),
        ]
        rows.append(f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>")
    reason = f"<pre>{escape(state.reason)}</pre>" if state.reason else ""
    title = (
        f"<b>{_GLYPHS[state.state]} {escape(_title(record))}</b> {status_word(record, state.state)} "
        f"{_elapsed(state)} <small>{escape(record.run_id)}</small>"
    )
    heads = "<tr><th>step</th><th>status</th><th>elapsed</th><th>run</th></tr>"
    table = f"<table>{heads}{''.join(rows)}</table>"
    logs = "".join(_last_lines(folder, record, state))
    return f'<style>{SAVED_STYLE}</style><div class="pr-saved">{title}{table}{logs}{reason}</div>'


def _last_lines(folder: PipelineFolder, record: PipelineRecord, state: PipelineState) -> list[str]:
    """Return the last lines of the plain scripts and commands that run now, as HTML."""
    logs: dict[str, str] = {}
    for step in record.steps:
        now = state.steps.get(step.key, StepState())
        if now.state == "Running" and not now.run_id:
            lines = last_lines(folder.step(step.key) / "std_log.txt", _LOG_LINES)
            if lines:
                logs[step.name] = f"<pre>{escape(chr(10).join(lines))}</pre>"
    if len(logs) < 2:
        return list(logs.values())
    return [f"<div>{escape(name)}</div>{log}" for name, log in logs.items()]


def text_lines(record: PipelineRecord, state: PipelineState) -> list[str]:
    """Return the pipeline as lines of text."""
    lines = [f"{_title(record)}  {status_word(record, state.state)}  [{record.run_id}]"]
    for record_of_step in record.steps:
        step = state.steps.get(record_of_step.key, StepState())
        line = (
            f"{_GLYPHS[step.state]} {record_of_step.name}: {_status(record, step)} {_elapsed(step)}"
        )
        lines.append(line.rstrip())
    if state.reason:
        lines.append(state.reason)
    return lines


def job_table() -> str:
    """Return a text table of all pipelines of this home, newest first."""
    rows = []
    for folder in every_pipeline():
        record = folder.read_record()
        state = folder.read_state(record.created_at)
        done = sum(step.state == "Completed" for step in state.steps.values())
        started = time.strftime("%Y-%m-%d %H:%M", time.localtime(record.created_at))
        steps = f"{done} of {plural(len(record.steps), 'step')}"
        state_word = status_word(record, state.state)
        name = plain(_title(record))
        rows.append([record.run_id, name, state_word, started, _elapsed(state), steps])
    return aligned(["JOB", "NAME", "STATE", "STARTED", "TOOK", "DONE"], rows) if rows else "no jobs"


def _title(record: PipelineRecord) -> str:
    return record.experiment if record.api == "v1" else record.name


def _status(record: PipelineRecord, step: StepState) -> str:
    return "reused" if step.is_reused else status_word(record, step.state)


def _elapsed(state: PipelineState | StepState) -> str:
    if state.started_at is None:
        return ""
    return format_duration((state.ended_at or time.time()) - state.started_at)
