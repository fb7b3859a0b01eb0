"""A node's way into the store: a process that makes parts of the rows it keeps, and puts them there.

It is a process so that a store that stalls can be left: it is killed, and the part is tried again.
"""

from __future__ import annotations

import importlib.util
import json
import os
import selectors
import socket
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

from ...data.storage.credentials import look_up
from ...data.storage.storage import StorageSpec
from ...errors import ConfigError, MissingExtraError
from ...runs.output.manifest import PART_NAME
from ...runs.run_record import RunRecord
from ..child_process import ChildProcess
from ..scheduling.signals import PartUploaded, PartUploadFailed, Piece, Signal
from .publisher import limit_s
from .spool import Spool

_TRIES = 3
_DELAYS_S = (1.0, 5.0)
_PACKAGES = {"az": ("fsspec", "adlfs")}


@dataclass(frozen=True, slots=True)
class UploadTarget:
    """What a node needs to put parts: where they go, and the variables with the credentials."""

    storage: Mapping[str, Any]
    url: str
    overhead_s: float
    environ: Mapping[str, str]

    def check(self) -> None:
        """See that it can be done here, as far as that can be seen at once.

        Raises
        ------
        MissingExtraError
            A package is not installed.
        ConfigError
            A credential is not where it is said to be.
        """
        storage, host = StorageSpec.of_spec(self.storage), socket.gethostname()
        for package in ("pyarrow", *_PACKAGES.get(storage.protocol, ("fsspec",))):
            if importlib.util.find_spec(package) is None:
                msg = (
                    f"nodes put output_format='parquet' into {storage.title} themselves, and "
                    f"{host} has no {package}. Install it there: "
                    "pip install 'parallelrun-jupyter[azure,dask,parquet]'"
                )
                raise MissingExtraError(msg)
        try:
            for where in storage.secrets.values():
                look_up(where, storage.title, self.environ)
        except ConfigError as error:
            msg = f"nodes put the output into its store themselves, and on {host} {error}"
            raise ConfigError(msg) from error


def put_spec(record: RunRecord, environ: Mapping[str, str]) -> UploadTarget | None:
    """Return how the nodes of a run put its output; None where the driver does."""
    if not record.output.in_parts or record.output.storage is None:
        return None
    overhead_s = record.limits.task_overhead_timeout
    return UploadTarget(record.output.storage, record.output.url, overhead_s, dict(environ))


@dataclass(slots=True)
class _Job:
    """Something to be put: a part of a node, or at the start a trial."""

    node: str
    first: int
    name: str
    size_bytes: int = 0
    pieces: tuple[Piece, ...] = ()
    tries: int = 0
    not_before: float = 0.0
    words: dict[str, Any] = field(default_factory=dict)


class PartUploader:
    """Puts parts one after another; like a worker it is listened to by the node's selector.

    Parameters
    ----------
    spec
        Where to.
    folder
        Where rows are kept meanwhile.
    nodes
        The nodes it is for; the first one says what goes wrong with the store itself.
    selector
        Where its descriptor is registered, with itself as the data.
    new_suffix
        Makes what no other part's name ends with.
    """

    def __init__(
        self,
        spec: UploadTarget,
        folder: Path,
        nodes: Sequence[str],
        selector: selectors.BaseSelector,
        new_suffix: Callable[[], str] = lambda: uuid4().hex[:12],
    ) -> None:
        self.spool = Spool(folder)
        self._spec = spec
        self._node = nodes[0]
        self._selector = selector
        self._new_suffix = new_suffix
        self._helper: ChildProcess | None = None
        self._deadline = float("inf")
        self._is_late = False
        self._busy: _Job | None = None
        self._has_failed = False
        trial = _Job(self._node, -1, f"_trial-{new_suffix()}")
        self._waiting: deque[_Job] = deque([trial])

    @property
    def is_empty(self) -> bool:
        """Whether nothing is kept, and nothing is on its way."""
        return self.spool.is_empty and self._busy is None and not self._waiting

    def put(self, node: str, first: int, pieces: Sequence[Piece]) -> None:
        """Put the part that begins with mini-batch ``first``: rows that are kept here, in order."""
        name = PART_NAME.format(first, self._new_suffix())
        size_bytes = sum(piece[2] for piece in pieces)
        self._waiting.append(_Job(node, first, name, size_bytes, tuple(pieces)))

    # Its course

    def next_step_at(self) -> float:
        """Return the ``time.monotonic()`` by which ``step`` is wanted."""
        if self._busy is not None:
            return self._deadline
        if not self._waiting or self._has_failed:
            return float("inf")
        return self._waiting[0].not_before

    def step(self) -> list[Signal]:
        """Begin what is due, and end what takes too long; the end is seen in ``handle``."""
        now = time.monotonic()
        if self.spool.trouble and not self._has_failed:
            return self._give_up(self._node, f"its rows could not be kept: {self.spool.trouble}.")
        if self._busy is not None:
            if now >= self._deadline:
                self._is_late, self._deadline = True, float("inf")
                if self._helper is not None:
                    self._helper.kill()
        elif self._waiting and now >= self._waiting[0].not_before and not self._has_failed:
            return self._begin(self._waiting.popleft())
        return []

    def _begin(self, job: _Job) -> list[Signal]:
        if self._helper is None:
            self._helper = self._spawn()
        self._busy, self._is_late = job, False
        job.tries += 1
        self._deadline = time.monotonic() + limit_s(self._spec.overhead_s, job.size_bytes)
        places = [(k, *self.spool.place(at), n, crc) for k, at, n, crc in job.pieces]
        paths = list(dict.fromkeys(place[1] for place in places))
        words = {
            "storage": self._spec.storage,
            "url": f"{self._spec.url}/{job.name}",
            "files": paths,
            "pieces": [[k, paths.index(path), *rest] for k, path, *rest in places],
            "temporary": str(self.spool.folder / "part.parquet"),
        }
        path = self.spool.folder / "job.json"  # a pipe is too small for it
        try:
            path.write_text(json.dumps(words), encoding="ascii")
            self._helper.send(["put", str(path)])
        except OSError as error:
            self._busy = None
            return self._give_up(job.node, f"{error.strerror or error} ({path}).")
        return []

    def _spawn(self) -> ChildProcess:
        module = "parallelrun_jupyter.engine.output.part_process"
        helper = ChildProcess(module, self.spool.folder, self._spec.environ)
        os.set_blocking(helper.replies, False)
        self._selector.register(helper.replies, selectors.EVENT_READ, self)
        return helper

    # What the process says

    def handle(self, fd: int) -> list[Signal]:
        """Take an answer, or the process's end."""
        helper = self._helper
        if helper is None or fd != helper.replies:
            return []
        answers = helper.read()
        if answers is None:
            return self._died(helper)
        found: list[Signal] = []
        for answer in answers:
            found += self._take(answer)
        return found + self.step()

    def _take(self, answer: list[Any]) -> list[Signal]:
        job, self._busy = self._busy, None
        if job is None:
            return []
        match answer:
            case ["done", rows, size_bytes]:
                for _, offset, length, _ in job.pieces:
                    self.spool.release(offset, length)
                if job.first < 0:
                    return []
                return [PartUploaded(job.node, job.first, job.name, rows, size_bytes)]
            case [_, reason, may_pass]:
                return self._again(job, reason, may_pass=may_pass)
        return []

    def _died(self, helper: ChildProcess) -> list[Signal]:
        self._forget()
        end = helper.died()
        job, self._busy = self._busy, None
        if job is None:
            return []
        reason, trace = end.sentence, end.traceback
        if self._is_late:
            trace = ""
            reason = (
                f"{self._spec.url!r} did not take {job.name} within "
                f"{limit_s(self._spec.overhead_s, job.size_bytes):.0f} s (task_overhead_timeout, "
                "5 s to begin, and a second for each MB)."
            )
        return self._again(job, reason, may_pass=True, trace=trace)

    def _again(self, job: _Job, reason: str, *, may_pass: bool, trace: str = "") -> list[Signal]:
        """Try it once more, where that may help, or report that it cannot be put."""
        if may_pass and job.tries < _TRIES:
            job.not_before = time.monotonic() + _DELAYS_S[job.tries - 1]
            self._waiting.appendleft(job)
            return []
        return self._give_up(job.node, reason, trace)

    def _give_up(self, node: str, reason: str, trace: str = "") -> list[Signal]:
        self._has_failed = True
        kept = "What is in the store is kept: put that right, and run.resume() goes on"
        text = f"a part of the output could not be put from {socket.gethostname()}: {reason} {kept}"
        return [PartUploadFailed(node, text, trace)]

    # Its end

    def _forget(self) -> None:
        """Listen to the process no more."""
        helper, self._helper = self._helper, None
        if helper is not None:
            self._selector.unregister(helper.replies)

    def close(self) -> None:
        """End it where it is, and forget what was kept."""
        helper = self._helper
        self._forget()
        if helper is not None:
            helper.end()
        self.spool.close()
