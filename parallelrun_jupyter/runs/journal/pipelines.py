"""The journal of a pipeline: its events, and the state of each step after them."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TypeAlias

from ...errors import visible

FINAL_PIPELINE_STATES = frozenset({"Completed", "Failed", "Canceled", "Interrupted"})
FINAL_STEP_STATES = frozenset({"Completed", "Failed", "Canceled", "Skipped"})


@dataclass(frozen=True, slots=True)
class PipelineStarted:
    """A driver started or resumed the pipeline."""

    at: float
    pid: int


@dataclass(frozen=True, slots=True)
class StepPrepared:
    """The environment and the side inputs of a step are being prepared."""

    at: float
    step: str
    step_run_id: str
    notes: list[str]

    def __post_init__(self) -> None:
        object.__setattr__(self, "notes", [visible(note) for note in self.notes])


@dataclass(frozen=True, slots=True)
class StepSubmitting:
    """The run of a step is about to be submitted as ``run_id``.

    A driver that resumes the pipeline looks for that run. Older journals lack this event.
    """

    at: float
    step: str
    run_id: str
    outputs: dict[str, str]


@dataclass(frozen=True, slots=True)
class StepStarted:
    """A step started; ``run_id`` is the id of its run, or empty for a plain script."""

    at: float
    step: str
    step_run_id: str
    run_id: str
    outputs: dict[str, str]


@dataclass(frozen=True, slots=True)
class StepReused:
    """A step reuses the outputs of an earlier run with the same script, settings and inputs."""

    at: float
    step: str
    step_run_id: str
    run_id: str
    outputs: dict[str, str]


@dataclass(frozen=True, slots=True)
class StepFinished:
    """A step ended."""

    at: float
    step: str
    state: str
    reason: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "reason", visible(self.reason))


@dataclass(frozen=True, slots=True)
class PipelineFinished:
    """The pipeline ended."""

    at: float
    state: str
    reason: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "reason", visible(self.reason))


PipelineEvent: TypeAlias = (
    PipelineStarted
    | StepPrepared
    | StepSubmitting
    | StepStarted
    | StepReused
    | StepFinished
    | PipelineFinished
)
_KINDS = {kind.__name__: kind for kind in PipelineEvent.__args__}


def append_event(path: Path, event: PipelineEvent) -> None:
    """Append an event and sync it to disk; only who holds the pipeline's lock calls this."""
    line = json.dumps({"event": type(event).__name__, **asdict(event)}) + "\n"
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, line.encode("ascii"))
        os.fsync(fd)
    finally:
        os.close(fd)


def read_events(path: Path) -> list[PipelineEvent]:
    """Return the events so far, without incomplete lines and event types of newer versions."""
    try:
        lines = path.read_bytes().split(b"\n")[:-1]
    except FileNotFoundError:
        return []
    events = []
    for line in lines:
        try:
            record = json.loads(line)
            kind = _KINDS.get(record.pop("event"))
            if kind is not None:
                events.append(kind(**record))
        except (ValueError, TypeError, KeyError):
            continue  # a line cut off by a crash; a resumed driver appended after it
    return events


@dataclass(slots=True)
class StepState:
    """The state of a step."""

    state: str = "NotStarted"
    step_run_id: str = ""
    run_id: str = ""
    reason: str = ""
    is_reused: bool = False
    started_at: float | None = None
    ended_at: float | None = None
    outputs: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    #: the id from `StepSubmitting`, until the step has started
    submitting: str = ""


@dataclass(slots=True)
class PipelineState:
    """The state of a pipeline after its events."""

    state: str = "NotStarted"
    reason: str = ""
    started_at: float | None = None
    ended_at: float | None = None
    steps: dict[str, StepState] = field(default_factory=dict)

    @property
    def is_final(self) -> bool:
        """Whether the pipeline has ended."""
        return self.state in FINAL_PIPELINE_STATES

    def step(self, key: str) -> StepState:
        """Return the state of a step, by its key."""
        return self.steps.setdefault(key, StepState())

    def apply(self, event: PipelineEvent) -> None:
        """Update the state with one event."""
        match event:
            case PipelineStarted():
                self.state, self.started_at = "Running", self.started_at or event.at
            case PipelineFinished():
                self.state, self.reason, self.ended_at = event.state, event.reason, event.at
            case StepPrepared():
                self.steps[event.step] = StepState(
                    "Preparing", event.step_run_id, started_at=event.at, notes=event.notes
                )
            case StepSubmitting():
                step = self.step(event.step)
                step.submitting, step.outputs = event.run_id, event.outputs
            case StepStarted():
                step = self.step(event.step)
                step.submitting = ""
                step.state, step.step_run_id, step.run_id = (
                    "Running",
                    event.step_run_id,
                    event.run_id,
                )
                step.started_at = step.started_at or event.at
                step.outputs = event.outputs
            case StepReused():
                self.steps[event.step] = StepState(
                    "Completed", event.step_run_id, event.run_id, is_reused=True,
                    started_at=event.at, ended_at=event.at, outputs=event.outputs,
                )  # fmt: skip
            case StepFinished():
                step = self.step(event.step)
                step.state, step.reason, step.ended_at = event.state, event.reason, event.at


def fold(events: list[PipelineEvent]) -> PipelineState:
    """Return the state of a pipeline after these events."""
    state = PipelineState()
    for event in events:
        state.apply(event)
    return state
