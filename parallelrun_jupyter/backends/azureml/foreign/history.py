"""The part of Azure ML that is needed to follow a job of others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol


class JobHistory(Protocol):
    """The run history of one workspace.

    Every method may raise the errors of `..service.JobService`.
    """

    def read_run(self, run: str) -> Mapping[str, Any]:
        """Return a run: a job, or a step of one."""

    def read_children(self, run: str) -> Sequence[Mapping[str, Any]]:
        """Return the runs of the steps of a job."""

    def read_details(self, run: str) -> Mapping[str, Any]:
        """Return the details of a run, with the addresses of its log files."""

    def parallel_steps(self, job: str) -> dict[str, bool] | None:
        """Return the steps of a job, and whether each is a parallel one; None for other jobs."""

    def read_log(self, address: str, offset: int) -> bytes:
        """Return a log file from ``offset`` on; empty at its end."""

    def download_output(self, run: str, output: str, target: Path) -> None:
        """Copy an output of a step that has ended into a folder."""

    def cancel(self, name: str) -> None:
        """Ask Azure ML to cancel a job; one that has ended stays as it is."""

    def page_of(self, run: str) -> str:
        """Return the page of a run for people; empty if it is not known."""
