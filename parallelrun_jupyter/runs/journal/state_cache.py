"""``state.json``: the fold of a journal with its offset, a cache that may be deleted at any time.

It spares whoever attaches to a run of a million mini-batches the reading of its whole journal.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections import deque
from dataclasses import asdict, fields
from typing import Any

from ...files import write_atomically
from ..run_folder import RunFolder
from .state import KEPT_ATTEMPTS, FailureGroup, RunState, WorkerState
from .throughput import KEPT_POINTS, Throughput

STATE_SCHEMA = 4


def write_state(folder: RunFolder, state: RunState, journal_bytes: int) -> None:
    """Write the fold of the first ``journal_bytes`` bytes of the journal."""
    record: dict[str, Any] = {"schema": STATE_SCHEMA, "journal_bytes": journal_bytes}
    for field in fields(RunState):
        value = getattr(state, field.name)
        if field.name == "statuses":
            value = base64.b85encode(zlib.compress(bytes(value), 1)).decode("ascii")
        elif field.name in {"workers", "groups"}:
            value = [{f.name: getattr(row, f.name) for f in fields(row)} for row in value.values()]
        elif field.name in {"tries", "failed_in"}:
            value = list(value.items())
        elif field.name == "throughput":
            value = {**asdict(value), "points": list(value.points)}
        elif isinstance(value, deque):
            value = list(value)
        record[field.name] = value
    write_atomically(folder.state, json.dumps(record, separators=(",", ":")))


def read_state(folder: RunFolder) -> tuple[RunState, int]:
    """Return the cached fold and how many bytes of the journal it stands for.

    A cache that is missing, damaged, of another version or ahead of the journal counts for nothing:
    the fold begins at the first event.
    """
    try:
        record = json.loads(folder.state.read_text(encoding="utf-8"))
        if record.pop("schema") != STATE_SCHEMA:
            return RunState(), 0
        journal_bytes = int(record.pop("journal_bytes"))
        if journal_bytes > folder.journal.stat().st_size:
            return RunState(), 0
        record["statuses"] = bytearray(zlib.decompress(base64.b85decode(record["statuses"])))
        record["workers"] = {row["worker"]: WorkerState(**row) for row in record["workers"]}
        record["groups"] = {row["group"]: FailureGroup(**row) for row in record["groups"]}
        record["tries"] = dict(record["tries"])
        record["failed_in"] = dict(record["failed_in"])
        record["warnings"] = deque(record["warnings"], maxlen=RunState().warnings.maxlen)
        for worker in record["workers"].values():
            worker.uses = list(map(tuple, worker.uses))
        record["lately"] = deque(map(tuple, record["lately"]), maxlen=KEPT_ATTEMPTS)
        kept = record["throughput"]
        kept["pace"] = list(map(tuple, kept["pace"]))
        kept["points"] = deque(map(tuple, kept["points"]), maxlen=KEPT_POINTS)
        record["throughput"] = Throughput(**kept)
        return RunState(**record), journal_bytes
    except (OSError, ValueError, KeyError, TypeError, zlib.error):
        return RunState(), 0
