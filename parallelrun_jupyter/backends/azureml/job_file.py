"""``azureml/job.json`` in the run folder: the jobs of the run, for drivers that come after this one."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ...errors import RunFolderError
from ...files import replacing
from ...runs.run_folder import RunFolder


@dataclass(slots=True)
class JobNote:
    """A job of the run.

    Parameters
    ----------
    name
        Its name in Azure ML, which is noted before the job exists.
    code
        A digest of its code: a job with other code is not waited for.
    spans
        ``[first, count, attempt]`` of the mini-batches that it was sent.
    is_submitted
        Whether Azure ML has accepted it.
    is_over
        Whether this run has ended, or gone on, without it: a later driver uses the results that it left,
        and sends the other mini-batches again.
    """

    name: str
    code: str
    spans: list[list[int]] = field(default_factory=list)
    is_submitted: bool = False
    is_over: bool = False

    def first_attempts(self) -> dict[int, int]:
        """Return the first attempt of each mini-batch that the job was sent."""
        return {
            mini_batch: attempt
            for first, count, attempt in self.spans
            for mini_batch in range(first, first + count)
        }


def spans_of(attempts: Iterable[tuple[int, int]]) -> list[list[int]]:
    """Return ``[first, count, attempt]`` of (mini-batch, attempt) pairs in increasing order."""
    return list(_spans_of(attempts))


def _spans_of(attempts: Iterable[tuple[int, int]]) -> Iterator[list[int]]:
    span: list[int] = []
    for mini_batch, attempt in attempts:
        if span and (span[0] + span[1], span[2]) == (mini_batch, attempt):
            span[1] += 1
            continue
        if span:
            yield span
        span = [mini_batch, 1, attempt]
    if span:
        yield span


class JobFile:
    """The jobs of a run, the last one last."""

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder.path / "azureml"
        self._path = self.folder / "job.json"
        self._run_id = folder.run_id
        self.jobs = self._read()

    def _read(self) -> list[JobNote]:
        try:
            values = json.loads(self._path.read_text(encoding="utf-8"))
            return [JobNote(**value) for value in values["jobs"]]
        except FileNotFoundError:
            return []
        except (ValueError, TypeError, KeyError) as error:
            msg = (
                f"{self._path} is not a list of the run's jobs ({error}). Delete this file, cancel the "
                "run's job in Azure ML if it is still active, and resume the run."
            )
            raise RunFolderError(msg, self._run_id) from error

    @property
    def last(self) -> JobNote | None:
        """The last job, if there is one."""
        return self.jobs[-1] if self.jobs else None

    def job_folder(self, job: JobNote) -> Path:
        """Return the folder that the job is compiled to."""
        return self.folder / job.name

    def new_name(self) -> str:
        """Return the name of the next job: unique, since a run folder may be a copy."""
        return f"{self._run_id}-{len(self.jobs) + 1}-{secrets.token_hex(3)}"

    def save(self) -> None:
        """Write the file, so that it survives the end of this process at any moment."""
        self.folder.mkdir(mode=0o700, exist_ok=True)
        text = json.dumps({"jobs": [asdict(job) for job in self.jobs]})
        with (
            replacing(self._path, owner="driver") as draft,
            open(draft, "w", encoding="utf-8") as file,
        ):
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
