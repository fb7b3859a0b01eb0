"""What a resume was asked for: a small request that the driver finds when it starts."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from ..errors import RunFolderError
from .store import RunFolder, write_atomically

_NAME = "resume.json"


@dataclass(frozen=True, slots=True)
class ResumeRequest:
    """How to go on with a run; ``script`` is the SHA-256 of a corrected entry script."""

    failed_only: bool = False
    script: str = ""


def write_resume(folder: RunFolder, request: ResumeRequest) -> None:
    """Leave the request for the driver that is about to start, and take back older ones."""
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
        msg = f"{path} is not a request to resume ({error}); ask again with run.resume()."
        raise RunFolderError(msg) from error
