"""What a resume was asked for: a small request that the driver finds when it starts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from ..errors import Remedy, RunFolderError
from ..files import lock, write_atomically
from .run_folder import RunFolder
from .run_record import RunRecord

_NAME = "resume.json"
_REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class ResumeRequest:
    """How to go on with a run.

    ``group`` leaves alone what failed in another one. ``script`` is the SHA-256 of a corrected entry script. ``place`` holds what of the record is
    different where the run goes on elsewhere: backend, compute and the numbers of nodes and workers.
    """

    failed_only: bool = False
    group: str = ""
    script: str = ""
    place: dict[str, Any] = field(default_factory=dict)

    def applied_to(self, record: RunRecord) -> RunRecord:
        """Return the record as it holds from now on."""
        return record.on(**self.place)


@contextmanager
def one_at_a_time(folder: RunFolder) -> Iterator[None]:
    """Hold a run for one resume, in any process: no request or refusal is taken for another's."""
    with lock(folder.path / "resume.lock"):
        yield


def write_resume(folder: RunFolder, request: ResumeRequest) -> None:
    """Leave the request for the driver that is about to start, and take back older ones.

    A place that an earlier resume has moved the run to stays, until another one is given.
    """
    if not request.place:
        request = replace(request, place=read_resume(folder).place)
    for path in folder.control.iterdir():
        path.unlink()
    write_atomically(folder.control / _NAME, json.dumps(asdict(request)))


def read_resume(folder: RunFolder) -> ResumeRequest:
    """Return what was asked for; the defaults where nothing was.

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
        msg = f"{path} is not a request to resume ({error})."
        raise RunFolderError(msg, folder.run_id, remedy=[Remedy.RESUME]) from error


def write_refusal(folder: RunFolder, reason: str) -> None:
    """Leave the reason why a driver did not take up the run, for the process that asked."""
    write_atomically(folder.control / _REFUSED, reason)


def read_refusal(folder: RunFolder) -> str:
    """Return why the last resume was refused; nothing where it was not, or not yet."""
    try:
        return (folder.control / _REFUSED).read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""
