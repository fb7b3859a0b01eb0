"""What the pool needs of Azure ML: jobs, their results and their log files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ...errors import ParallelRunError

ENDED = frozenset({"Completed", "Failed", "Canceled"})
"""The states in which a job stays; Azure has others for it, which `JobStatus` does not use."""


class TransientError(ParallelRunError):
    """The service did not answer, or asked to try again; ``retry_after_s`` is its delay, if it gave one."""

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class JobNotFoundError(ParallelRunError):
    """The service has no job of this name."""


class CredentialError(ParallelRunError):
    """The service does not accept the credential, or it has expired."""


class ServiceError(ParallelRunError):
    """The service refuses a request: the message says which, and what to do."""


@dataclass(frozen=True, slots=True)
class JobStatus:
    """The state of a job.

    Parameters
    ----------
    state
        The service's word: ``NotStarted``, ``Queued``, ``Preparing``, ``Running``, ``Finalizing``, ... or
        one of `ENDED`.
    step
        The name of the job of the parallel step; empty until it exists.
    detail
        Such as the number of nodes; may be empty.
    error
        Why it failed, in the service's words; empty if it did not.
    url
        The page of the job for people.
    """

    state: str
    step: str = ""
    detail: str = ""
    error: str = ""
    url: str = ""


class JobService(Protocol):
    """The jobs of one workspace.

    Every method may raise `TransientError`, `CredentialError` and `ServiceError`, and those about a job
    `JobNotFoundError`. `read_result` is called from several threads at once, the others from one; none of
    them is the driver's.
    """

    def submit(self, job: Path, name: str) -> None:
        """Submit the pipeline ``pipeline.yml`` of a folder; nothing happens if the name exists."""

    def status(self, name: str) -> JobStatus:
        """Return the state of a job."""

    def list_results(self, name: str) -> Mapping[str, int]:
        """Return the files in the folder of results, by path, with their size in bytes."""

    def read_result(self, name: str, path: str) -> bytes:
        """Return the content of a file of results."""

    def list_logs(self, name: str) -> Mapping[str, str]:
        """Return the addresses of the log files of the parallel step, by path; they may expire."""

    def read_log(self, address: str, offset: int) -> bytes:
        """Return what a log file has from ``offset`` on; empty if it has nothing more."""

    def cancel(self, name: str) -> None:
        """Ask the service to cancel a job; one that has ended stays as it is."""

    def download_files(self, name: str, target: Path) -> None:
        """Copy the files that the script wrote to its own output folder."""
