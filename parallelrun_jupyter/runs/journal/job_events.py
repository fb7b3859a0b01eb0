"""The job of a run that another service runs, such as Azure ML: its event, and what follows from it."""

from __future__ import annotations

from dataclasses import dataclass

from ...errors import visible


@dataclass(frozen=True, slots=True)
class JobReported:
    """The service has reported a new state of the job, or the run has a new job.

    Parameters
    ----------
    name
        The job's name in the service; empty while its inputs are uploaded.
    state
        The service's own word, such as ``Queued``, ``Preparing`` or ``Running``; ``Uploading`` before
        the job exists.
    detail
        What the state is about, such as ``120 of 400 plan files`` or ``2 of 4 nodes``; may be empty.
    url
        The page of the job for people; empty if there is none.
    processed
        How many mini-batches the service counts as done, also those that it does not show one by one.
    items_processed
        The items of these; estimated.
    """

    at_ms: int
    name: str
    state: str
    detail: str = ""
    url: str = ""
    processed: int = 0
    items_processed: int = 0

    def __post_init__(self) -> None:
        for name in ("name", "state", "detail", "url"):
            object.__setattr__(self, name, visible(getattr(self, name)))


@dataclass(frozen=True, slots=True)
class JobState:
    """The job as it was last reported; ``since_ms`` is when it entered its state."""

    name: str
    state: str
    detail: str
    url: str
    since_ms: int
    processed: int = 0
    items_processed: int = 0

    @property
    def is_waiting(self) -> bool:
        """Whether the service has not begun to run it: it is uploaded, queued or prepared."""
        return self.state in _WAITING


_WAITING = frozenset({"Uploading", "NotStarted", "Queued", "Provisioning", "Preparing", "Starting"})


def job_after(job: JobState | None, event: JobReported) -> JobState:
    """Return the job after an event."""
    is_same = job is not None and (job.name, job.state) == (event.name, event.state)
    since_ms = job.since_ms if job is not None and is_same else event.at_ms
    return JobState(
        event.name,
        event.state,
        event.detail,
        event.url,
        since_ms,
        event.processed,
        event.items_processed,
    )
