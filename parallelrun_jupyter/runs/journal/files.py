"""``events.jsonl``, written by one driver, and ``state.json``, a cache of its fold."""

from __future__ import annotations

import base64
import json
import os
import zlib
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from ...files import write_atomically
from ..run_folder import RunFolder
from .answers import Answers
from .call_events import CallsHeld, CallsLimited
from .calls import CallsState
from .crew import Crew
from .events import IN_STORE, AttemptSucceeded, Event, ItemsSucceeded, PartStored, ResultsReused
from .failure_groups import FailureGroup
from .job_events import JobState
from .lines import END_START, decode_lines, encode
from .state import KEPT_ATTEMPTS, RunState
from .throughput import KEPT_POINTS, Throughput
from .worker_state import WorkerState

STATE_SCHEMA = 9

_RESULTS = (AttemptSucceeded, ItemsSucceeded)
_BLOCK_BYTES = 1 << 20
_TAIL_BYTES = 1 << 12
_DECODED_AT_ONCE = 1000


class JournalWriter:
    """Appends events. Only a driver creates one.

    Opening truncates an incomplete last line, which a killed driver may have left.
    """

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        _truncate_incomplete_line(self._fd)

    def append(self, events: Iterable[Event]) -> None:
        """Write events, one line each; they may still be in the operating system's buffers.

        Raises
        ------
        OSError
            The write failed; none of the events is in the journal.
        """
        lines = [encode(event) for event in events]
        if not lines:
            return
        size = self.size_bytes()
        data = memoryview("\n".join([*lines, ""]).encode("ascii"))
        try:
            while data:
                data = data[os.write(self._fd, data) :]
        except OSError:
            os.ftruncate(self._fd, size)
            raise

    def size_bytes(self) -> int:
        """Return the size of the journal."""
        return os.fstat(self._fd).st_size

    def sync(self) -> None:
        """Wait until all appended events are on disk."""
        os.fsync(self._fd)

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)


def _truncate_incomplete_line(fd: int) -> None:
    size = os.fstat(fd).st_size
    end = size
    while end > 0:
        start = max(0, end - _BLOCK_BYTES)
        newline = os.pread(fd, end - start, start).rfind(b"\n")
        if newline >= 0:
            end = start + newline + 1
            break
        end = start
    if end < size:
        os.ftruncate(fd, end)


def has_end(path: Path) -> bool:
    """Return whether the last line of a journal is the end of the run; few bytes are read.

    A resume appends to the journal, so that an ended run may go on.
    """
    try:
        with open(path, "rb", buffering=0) as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _TAIL_BYTES))
            tail = file.read(_TAIL_BYTES)
    except FileNotFoundError:  # the driver has not created it yet
        return False
    # A longer last line, with a traceback of the driver, is found by the next whole read.
    return tail.endswith(b"\n") and tail[:-1].rpartition(b"\n")[2].startswith(END_START)


class JournalReader:
    """Reads the new events of a journal. A line without its end is left for the next read.

    Attempts whose rows are in an object store are returned together with the `PartStored` that
    names their part. They are dropped if the driver died before it wrote that event.
    """

    def __init__(self, path: Path, offset: int = 0) -> None:
        self._path = path
        self.offset = offset
        #: attempts whose `PartStored` was not read yet
        self._held: list[AttemptSucceeded | ItemsSucceeded] = []

    def behind_bytes(self) -> int:
        """Return the number of bytes not read yet."""
        try:
            return os.stat(self._path).st_size - self.offset
        except FileNotFoundError:
            return 0

    def read(self) -> Iterator[Event]:
        """Yield the events appended since the last call."""
        try:
            file = open(self._path, "rb")  # noqa: SIM115 - closed by the with below
        except FileNotFoundError:  # the driver has not created it yet
            return
        self._held = []
        with file:
            file.seek(self.offset)
            position = self.offset
            rest = b""
            while block := file.read(_BLOCK_BYTES):
                *lines, rest = (rest + block).split(b"\n")
                for start in range(0, len(lines), _DECODED_AT_ONCE):
                    some = lines[start : start + _DECODED_AT_ONCE]
                    for event, line in zip(decode_lines(some), some, strict=True):
                        position += len(line) + 1
                        if event.__class__ in _RESULTS and event.part == IN_STORE:
                            self._held.append(event)
                            continue
                        self.offset = position
                        if self._held or event.__class__ is PartStored:
                            yield from self._with_held(event)
                        else:
                            yield event

    def _with_held(self, event: Event) -> list[Event]:
        """Yield an event after the pending attempts, which only count if it names their part."""
        held, self._held = self._held, []
        if not isinstance(event, PartStored):
            return [event]
        return [*held, event] if len(held) == event.count else []


def write_state(folder: RunFolder, state: RunState, journal_bytes: int) -> None:
    """Write ``state.json``: the fold of the first ``journal_bytes`` bytes of the journal.

    It is a cache that may be deleted at any time. With it, a view of a run with a million
    mini-batches need not read the whole journal.
    """
    record: dict[str, Any] = {"schema": STATE_SCHEMA, "journal_bytes": journal_bytes}
    for field in fields(RunState):
        value = getattr(state, field.name)
        if field.name == "statuses":
            value = base64.b85encode(zlib.compress(bytes(value), 1)).decode("ascii")
        elif field.name == "groups":
            value = [{f.name: getattr(row, f.name) for f in fields(row)} for row in value.values()]
        elif field.name in {"tries", "failed_in"}:
            value = list(value.items())
        elif field.name == "answers":
            value = [[mini_batch, answers.to_json()] for mini_batch, answers in value.items()]
        elif field.name in {"reused", "calls", "job", "crew"}:
            value = value and asdict(value)
        elif field.name == "throughput":
            value = {**asdict(value), "points": list(value.points)}
        elif isinstance(value, deque):
            value = list(value)
        record[field.name] = value
    write_atomically(folder.state, json.dumps(record, separators=(",", ":")))


def read_state(folder: RunFolder) -> tuple[RunState, int]:
    """Return the cached fold and the size in bytes of the journal that it covers.

    A cache that is missing, damaged, of another version or ahead of the journal is ignored: the
    result is an empty state and 0.
    """
    try:
        record = json.loads(folder.state.read_text(encoding="utf-8"))
        journal_bytes = int(record.pop("journal_bytes"))
        is_ahead = journal_bytes > folder.journal.stat().st_size
        if record.pop("schema") != STATE_SCHEMA or is_ahead:
            return RunState(), 0
        record["statuses"] = bytearray(zlib.decompress(base64.b85decode(record["statuses"])))
        record["crew"] = _crew_of(record["crew"])
        record["groups"] = {row["group"]: FailureGroup(**row) for row in record["groups"]}
        record["tries"] = dict(record["tries"])
        record["failed_in"] = dict(record["failed_in"])
        record["answers"] = {k: Answers.of_json(values) for k, values in record["answers"]}
        record["reused"] = record["reused"] and ResultsReused(**record["reused"])
        record["calls"] = record["calls"] and _calls_of(record["calls"])
        record["job"] = record["job"] and JobState(**record["job"])
        record["warnings"] = deque(record["warnings"], maxlen=RunState().warnings.maxlen)
        attempts = map(tuple, record["recent_attempts"])
        record["recent_attempts"] = deque(attempts, maxlen=KEPT_ATTEMPTS)
        throughput = record["throughput"]
        throughput["pace"] = list(map(tuple, throughput["pace"]))
        throughput["points"] = deque(map(tuple, throughput["points"]), maxlen=KEPT_POINTS)
        record["throughput"] = Throughput(**throughput)
        return RunState(**record), journal_bytes
    except (OSError, ValueError, KeyError, TypeError, zlib.error):
        return RunState(), 0


def fold(folder: RunFolder) -> RunState:
    """Return the state of a run: the cached fold, and the events after it."""
    state, offset = read_state(folder)
    state.apply_all(JournalReader(folder.journal, offset).read())
    return state


def _crew_of(values: dict[str, Any]) -> Crew:
    for row in values["workers"].values():
        row["uses"] = list(map(tuple, row["uses"]))
        row["progress"] = row["progress"] and tuple(row["progress"])
        row["calls"] = row["calls"] and tuple(row["calls"])
    workers = {name: WorkerState(**row) for name, row in values["workers"].items()}
    return Crew(**{**values, "workers": workers})


def _calls_of(values: dict[str, Any]) -> CallsState:
    values["limits"] = CallsLimited(**values["limits"])
    values["held"] = values["held"] and CallsHeld(**values["held"])
    values["durations"] = {int(kind): count for kind, count in values["durations"].items()}
    values["open"] = {int(mini_batch): tuple(spent) for mini_batch, spent in values["open"].items()}
    return CallsState(**values)
