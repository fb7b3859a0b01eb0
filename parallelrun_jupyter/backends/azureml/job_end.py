"""The fate of the mini-batches without a result, when their job has ended."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ...engine.scheduling.signals import Failure
from ...formatting import plural
from .service import JobStatus

TABLE = "processed_mini-batches.csv"
"""The name of Azure's table of the mini-batches that have been run."""

_PLAN_FILE = re.compile(r"(\d{8})\.json")
_KEPT = "Results that have finished are kept"


@dataclass(frozen=True, slots=True)
class Row:
    """A row of Azure's table, of one mini-batch: its status, and the message of its error."""

    status: str
    message: str


def read_table(content: bytes, sent: Iterable[int]) -> dict[int, Row]:
    """Return the last row of each mini-batch in Azure's table; unknown rows are left out.

    Parameters
    ----------
    content
        The file; it may be cut.
    sent
        The mini-batches of the job: Azure numbers their plan files in the order of their names.
    """
    numbers = sorted(sent)
    rows: dict[int, Row] = {}
    for fields in csv.DictReader(io.StringIO(content.decode("utf-8", "replace"), newline="")):
        mini_batch = _mini_batch_in(fields, numbers)
        status = (fields.get("Status") or "").strip()
        if mini_batch is not None and status:
            rows[mini_batch] = Row(status, (fields.get("Error Message") or "").strip())
    return rows


def _mini_batch_in(fields: Mapping[str, str | None], numbers: list[int]) -> int | None:
    named = _PLAN_FILE.search(fields.get("Mini-batch Detail") or "")
    if named:
        return int(named[1])
    text = (fields.get("Mini-batch Id") or "").strip()
    position = int(text) if text.isdecimal() else len(numbers)
    return numbers[position] if position < len(numbers) else None


def failure_of_row(row: Row, timeout_s: float) -> Failure:
    """Return the failure of a mini-batch without a result, by Azure's table."""
    if row.status.endswith("TIMEOUT"):
        is_load = row.status.startswith("LOAD")
        kind, where = ("load_timeout", "loading") if is_load else ("timeout", "run()")
        text = f"{where} took longer than run_invocation_timeout = {timeout_s:g} s, says Azure ML"
        return Failure(kind, "Timeout", text, f"Timeout at {where}", "")
    text = "Azure ML has run the mini-batch, and there is no result of it"
    text += f": {row.message or row.status}"
    return Failure("worker_lost", "WorkerLost", text, "WorkerLost at run()", "")


def failure_without_row() -> Failure:
    """Return the failure of a mini-batch that a completed job says nothing about."""
    text = (
        "the job has completed, and there is no result of the mini-batch: its process died, or took "
        "longer than run_invocation_timeout, in each try"
    )
    return Failure("worker_lost", "WorkerLost", text, "WorkerLost at run()", "")


def lost_job_text(name: str, status: JobStatus, left: int) -> str:
    """Return why the run is interrupted by the end of its job."""
    were = f"{plural(left, 'mini-batch')} {'has' if left == 1 else 'have'} no result yet"
    if status.state == "Canceled":
        what = f"the job {name} was canceled in Azure ML, not by this run"
    else:
        what = f"the job {name} has failed in Azure ML"
        if status.error:
            what += f": {status.error.rstrip().rstrip('.')}"
    return f"{what}. {_KEPT}; {were}. Resume the run, and a new job runs only these"


def vanished_text(name: str, reason: str) -> str:
    """Return why the run is interrupted when Azure ML does not know its job any more."""
    return (
        f"Azure ML no longer has the job {name} ({reason}). {_KEPT}. Resume the run, and a new job runs "
        "the mini-batches that are left"
    )


def credential_text(name: str, reason: str) -> str:
    """Return why the run is interrupted when the service does not accept the credential."""
    job = f"The job {name} goes on in Azure ML; nothing is lost. " if name else ""
    return (
        f"the credential for Azure ML has expired or is not accepted ({reason}). {job}Sign in again "
        "(az login), or give a new credential= in the notebook, and resume the run"
    )


def many_jobs_text(jobs: int, left: int) -> str:
    """Return why the run is interrupted when it would need ever more jobs."""
    return (
        f"the run has sent {jobs} jobs to Azure ML to find the items that fail, and "
        f"{plural(left, 'mini-batch')} would need another one. {_KEPT}. Resume the run to go on there, or "
        "with compute='local' here"
    )


def not_canceled_text(name: str) -> str:
    """Return the warning about a job that goes on although the run has ended."""
    return (
        f"Azure ML has not answered the request to cancel the job {name}, which may go on, and cost money: "
        "cancel it on its page in Azure"
    )


def no_files_text(name: str) -> str:
    """Return the warning about files of the script that are not here."""
    return (
        f"the job {name} has not ended in time, so the files that the script wrote to its output folder "
        "may be missing here: they are on the job's page in Azure"
    )


def torn_text(path: str, name: str) -> str:
    """Return the warning about a result that is not used."""
    return (
        f"the file {path} in the results of the job {name} is not whole, although the job has ended: its "
        "mini-batch counts as one without a result"
    )


def local_text(reason: str) -> str:
    """Return why the run is interrupted by an error of this machine."""
    return f"{reason}. {_KEPT}. Correct this, and resume the run"


def refused_text(reason: str) -> str:
    """Return why the run is interrupted when Azure ML refuses a request."""
    said = reason.removeprefix("submit the job: ").rstrip(".")
    return (
        f"Azure ML refuses the job: {said}. {_KEPT}. Correct this, or give another compute=, and resume the "
        "run"
    )
