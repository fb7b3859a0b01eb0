"""Uploads parts of the output from a node: a spool of rows, and a process that uploads them.

Since it is a process of its own, an upload to a stalled store can be killed and repeated. The other
side is ``part_process``.
"""

from __future__ import annotations

import importlib.util
import json
import os
import selectors
import shutil
import socket
import time
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from ...data.storage.credentials import look_up
from ...data.storage.storage import StorageSpec
from ...errors import ConfigError, MissingExtraError
from ...runs.output.manifest import PART_NAME
from ...runs.run_record import RunRecord
from ..child_process import ChildProcess
from ..scheduling.actions import Piece
from ..scheduling.signals import PartUploaded, PartUploadFailed, Signal
from .publisher import upload_limit_s

_FILE_BYTES = 64 << 20
_MAX_TRIES = 3
_DELAYS_S = (1.0, 5.0)
_PACKAGES = {"az": ("fsspec", "adlfs")}


class Spool:
    """Stores the rows of a node in files until they are uploaded.

    A file is deleted when all rows in it are released.

    Parameters
    ----------
    folder
        The folder of the files; it is emptied.
    file_bytes
        A file that has reached this size receives no more rows. Default: 64 MiB.
    """

    def __init__(self, folder: Path, file_bytes: int = _FILE_BYTES) -> None:
        self.folder = folder
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(mode=0o700, parents=True)
        self._file_bytes = file_bytes
        self._fd = -1
        self._end = 0
        #: the offsets at which files start, and the bytes of each file that are not released
        self._starts: list[int] = []
        self._held_bytes: dict[int, int] = {}
        #: why rows could not be stored; the node then fails
        self.error = ""

    @property
    def is_empty(self) -> bool:
        """Whether all rows are released."""
        return not any(self._held_bytes.values())

    def append(self, rows: bytes) -> tuple[int, int]:
        """Store rows; return part 0, as they are in no part file yet, and their offset.

        If the disk refuses them, ``error`` is set.
        """
        offset = self._end
        self._end += len(rows)
        try:
            if self._fd < 0 or offset - self._starts[-1] >= self._file_bytes:
                self._start_file(offset)
            data = memoryview(rows)
            while data:
                data = data[os.write(self._fd, data) :]
        except OSError as error:
            self.error = f"{error.strerror or error} ({self.folder})"
        else:
            self._held_bytes[self._starts[-1]] += len(rows)
        return 0, offset

    def _start_file(self, offset: int) -> None:
        self._close_file()
        path = self.folder / f"{offset}.rows"
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        self._starts.append(offset)
        self._held_bytes[offset] = 0
        if len(self._starts) > 1:
            self._delete_if_released(self._starts[-2])

    def locate(self, offset: int) -> tuple[str, int]:
        """Return the file with the rows at an offset, and their offset in that file."""
        start = self._start_of(offset)
        return str(self.folder / f"{start}.rows"), offset - start

    def release(self, offset: int, length: int) -> None:
        """Release rows."""
        start = self._start_of(offset)
        self._held_bytes[start] -= length
        self._delete_if_released(start)

    def _delete_if_released(self, start: int) -> None:
        if not self._held_bytes[start] and start != self._starts[-1]:
            self._starts.remove(start)
            del self._held_bytes[start]
            (self.folder / f"{start}.rows").unlink(missing_ok=True)

    def _start_of(self, offset: int) -> int:
        return self._starts[bisect_right(self._starts, offset) - 1]

    def _close_file(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def close(self) -> None:
        """Delete all rows."""
        self._close_file()
        shutil.rmtree(self.folder, ignore_errors=True)


@dataclass(frozen=True, slots=True)
class UploadTarget:
    """The destination of a node's parts, and the variables that hold the credentials."""

    storage: Mapping[str, Any]
    url: str
    overhead_s: float
    environ: Mapping[str, str]

    def check(self) -> None:
        """Check that the packages and credentials are available on this machine.

        Raises
        ------
        MissingExtraError
            A package is not installed.
        ConfigError
            A credential is not available.
        """
        storage, host = StorageSpec.of_spec(self.storage), socket.gethostname()
        for package in ("pyarrow", *_PACKAGES.get(storage.protocol, ("fsspec",))):
            if importlib.util.find_spec(package) is None:
                msg = (
                    f"nodes upload output_format='parquet' to {storage.title} themselves, and "
                    f"{host} has no {package}. Install it there: "
                    "pip install 'parallelrun-jupyter[azure,dask,parquet]'"
                )
                raise MissingExtraError(msg)
        try:
            for reference in storage.secrets.values():
                look_up(reference, storage.title, self.environ)
        except ConfigError as error:
            msg = f"nodes upload the output to its store themselves, and on {host} {error}"
            raise ConfigError(msg) from error


def upload_target(record: RunRecord, environ: Mapping[str, str]) -> UploadTarget | None:
    """Return the destination of the parts of a run; None if the driver writes the output."""
    if not record.output.in_parts or record.output.storage is None:
        return None
    overhead_s = record.limits.task_overhead_timeout
    return UploadTarget(record.output.storage, record.output.url, overhead_s, dict(environ))


@dataclass(slots=True)
class _Upload:
    """A part of a node to upload, or a trial file without rows."""

    node: str
    first: int
    name: str
    size_bytes: int = 0
    pieces: tuple[Piece, ...] = ()
    tries: int = 0
    not_before: float = 0.0


class PartUploader:
    """Uploads the parts of a node, one after another; a trial file shows early if that fails.

    Parameters
    ----------
    target
        The destination.
    folder
        The folder of the spool.
    nodes
        The nodes to upload for; failures that do not concern a part are reported for the first
        node.
    selector
        Reports ready descriptors, with this object as their data, for `handle`.
    new_suffix
        Returns a unique suffix for the name of a part.
    """

    def __init__(
        self,
        target: UploadTarget,
        folder: Path,
        nodes: Sequence[str],
        selector: selectors.BaseSelector,
        new_suffix: Callable[[], str] = lambda: uuid4().hex[:12],
    ) -> None:
        self.spool = Spool(folder)
        self._target = target
        self._node = nodes[0]
        self._selector = selector
        self._new_suffix = new_suffix
        self._child: ChildProcess | None = None
        self._current: _Upload | None = None
        self._has_failed = False
        trial = _Upload(self._node, -1, f"_trial-{new_suffix()}")
        self._queue: deque[_Upload] = deque([trial])

    @property
    def is_idle(self) -> bool:
        """Whether all rows are uploaded."""
        return self.spool.is_empty and self._current is None and not self._queue

    def upload(self, node: str, first: int, pieces: Sequence[Piece]) -> None:
        """Queue the part that starts with mini-batch ``first``: rows of the spool, in order."""
        name = PART_NAME.format(first, self._new_suffix())
        size_bytes = sum(piece[2] for piece in pieces)
        self._queue.append(_Upload(node, first, name, size_bytes, tuple(pieces)))

    def next_step_at(self) -> float:
        """Return the ``time.monotonic()`` at which to call `step`."""
        if self._current is not None:
            return self._child.deadline if self._child is not None else float("inf")
        if not self._queue or self._has_failed:
            return float("inf")
        return self._queue[0].not_before

    def step(self) -> list[Signal]:
        """Start the next upload, or kill the process if it takes too long; `handle` then retries."""
        if self.spool.error and not self._has_failed:
            return self._give_up(self._node, f"its rows could not be stored: {self.spool.error}.")
        if self._current is not None:
            if self._child is not None:
                self._child.enforce_deadline()
        elif self._queue and time.monotonic() >= self._queue[0].not_before and not self._has_failed:
            return self._start(self._queue.popleft())
        return []

    def _start(self, upload: _Upload) -> list[Signal]:
        if self._child is None:
            module = "parallelrun_jupyter.engine.output.part_process"
            self._child = ChildProcess.start(module, self.spool.folder, self._target.environ)
            self._child.listen(self._selector, self)
        self._current = upload
        upload.tries += 1
        places = [(k, *self.spool.locate(at), n, crc) for k, at, n, crc in upload.pieces]
        paths = list(dict.fromkeys(place[1] for place in places))
        job = {
            "storage": self._target.storage,
            "url": f"{self._target.url}/{upload.name}",
            "files": paths,
            "pieces": [[k, paths.index(path), *rest] for k, path, *rest in places],
            "temporary": str(self.spool.folder / "part.parquet"),
        }
        path = self.spool.folder / "job.json"
        try:
            path.write_text(json.dumps(job), encoding="ascii")
        except OSError as error:
            self._current = None
            return self._give_up(upload.node, f"{error.strerror or error} ({path}).")
        self._child.send(["put", str(path)])
        self._child.deadline = time.monotonic() + self._limit_s(upload)
        return []

    def _limit_s(self, upload: _Upload) -> float:
        return upload_limit_s(self._target.overhead_s, upload.size_bytes)

    def handle(self, fd: int) -> list[Signal]:
        """Serve a ready descriptor of the process."""
        if self._child is None:
            return []
        replies = self._child.handle(fd)
        if replies is None:
            return self._on_death(self._child)
        emitted: list[Signal] = []
        for reply in replies:
            emitted += self._handle_reply(reply)
        return emitted + self.step()

    def _handle_reply(self, reply: list[Any]) -> list[Signal]:
        upload, self._current = self._current, None
        if upload is None:
            return []
        match reply:
            case ["done", rows, size_bytes]:
                for _, offset, length, _ in upload.pieces:
                    self.spool.release(offset, length)
                if upload.first < 0:
                    return []
                return [PartUploaded(upload.node, upload.first, upload.name, rows, size_bytes)]
            case [_, reason, is_transient]:
                return self._retry(upload, reason, is_transient=is_transient)
        return []

    def _on_death(self, child: ChildProcess) -> list[Signal]:
        end = child.died()
        self._child = None
        upload, self._current = self._current, None
        if upload is None:
            return []
        reason, trace = end.sentence, end.traceback
        if child.is_overdue:
            trace = ""
            reason = (
                f"uploading {upload.name} to {self._target.url!r} timed out after "
                f"{self._limit_s(upload):.0f} s (task_overhead_timeout, 5 s to begin, and a second "
                "for each MB)."
            )
        return self._retry(upload, reason, is_transient=True, trace=trace)

    def _retry(
        self, upload: _Upload, reason: str, *, is_transient: bool, trace: str = ""
    ) -> list[Signal]:
        """Queue an upload again if a retry may help; otherwise report the failure."""
        if is_transient and upload.tries < _MAX_TRIES:
            upload.not_before = time.monotonic() + _DELAYS_S[upload.tries - 1]
            self._queue.appendleft(upload)
            return []
        return self._give_up(upload.node, reason, trace)

    def _give_up(self, node: str, reason: str, trace: str = "") -> list[Signal]:
        self._has_failed = True
        text = (
            f"a part of the output could not be uploaded from {socket.gethostname()}: {reason} "
            "The parts in the store are kept: fix this and resume the run"
        )
        return [PartUploadFailed(node, text, trace)]

    def close(self) -> None:
        """Abort the upload and delete the spool."""
        if self._child is not None:
            self._child.end()
            self._child = None
        self.spool.close()
