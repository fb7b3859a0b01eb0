"""The request of a resume, which the driver reads when it starts."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from ..errors import RunFolderError
from ..files import lock, write_atomically
from .run_folder import RunFolder
from .run_record import RunRecord

_NAME = "resume.json"
_REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class ResumeRequest:
    """How to resume a run.

    Parameters
    ----------
    failed_only
        Run only failed items, and again the items of short results.
    group
        Run only items that failed in this failure group.
    script
        SHA-256 of a corrected entry script; empty if the script is unchanged.
    place
        Values of the record's placement for a move to another compute; empty for no move.
    limits
        Values that replace limits of the record, such as ``error_threshold``.
    calls
        Values that replace those of the record's calls, such as ``budget_usd``.
    """

    failed_only: bool = False
    group: str = ""
    script: str = ""
    place: dict[str, Any] = field(default_factory=dict)
    limits: dict[str, Any] = field(default_factory=dict)
    calls: dict[str, Any] = field(default_factory=dict)

    def after(self, earlier: ResumeRequest) -> ResumeRequest:
        """Return this request with the placement and limits of an earlier one that it does not replace."""
        limits, calls = {**earlier.limits, **self.limits}, {**earlier.calls, **self.calls}
        return replace(self, place=self.place or earlier.place, limits=limits, calls=calls)

    def applied_to(self, record: RunRecord) -> RunRecord:
        """Return the run record with the requested placement and limits."""
        limits, calls = replace(record.limits, **self.limits), replace(record.calls, **self.calls)
        return replace(record.on(**self.place), limits=limits, calls=calls)


@contextmanager
def one_at_a_time(folder: RunFolder) -> Iterator[None]:
    """Hold the lock for resumes and the removal of a run, so that two of them cannot mix.

    Raises
    ------
    RunNotFoundError
        The run has been removed, perhaps while this process waited for the lock.
    """
    with ExitStack() as held:
        try:
            held.enter_context(lock(folder.path / "resume.lock"))
        except FileNotFoundError:
            raise folder.gone() from None
        folder.check_exists()
        yield


def write_resume(folder: RunFolder, request: ResumeRequest) -> None:
    """Write the request for the next driver, and remove older requests."""
    for path in folder.control.iterdir():
        path.unlink()
    write_atomically(folder.control / _NAME, json.dumps(asdict(request)))


def read_resume(folder: RunFolder) -> ResumeRequest:
    """Return the request; the defaults if there is none.

    Raises
    ------
    RunFolderError
        The request is damaged.
    """
    path = folder.control / _NAME
    try:
        return ResumeRequest(**json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return ResumeRequest()
    except (ValueError, TypeError) as error:
        msg = f"{path} is not a request to resume ({error}). Delete this file, then resume the run."
        raise RunFolderError(msg, folder.run_id) from error


def request_version(folder: RunFolder) -> tuple[int, int]:
    """Return what changes whenever a resume is requested; (0, 0) if none was."""
    try:
        stat = os.stat(folder.control / _NAME)
    except FileNotFoundError:
        return 0, 0
    return stat.st_ino, stat.st_mtime_ns


def write_refusal(folder: RunFolder, reason: str) -> None:
    """Write the driver's reason for refusing, for the process that requested the resume."""
    write_atomically(folder.control / _REFUSED, reason)


def read_refusal(folder: RunFolder) -> str:
    """Return why the last resume was refused; empty if it was not."""
    try:
        return (folder.control / _REFUSED).read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""
