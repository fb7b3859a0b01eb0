"""The frames of a recorded run: what its views showed at moments of its past, within a limit of bytes."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any, TypedDict

from ..runs.journal.files import JournalReader
from ..runs.journal.state import RunState
from ..runs.resume_request import read_resume
from ..runs.run_folder import RunFolder
from ..runs.snapshot.replay import Moment, Replay
from ..runs.snapshot.snapshot import Snapshot
from .mime_bundle import RunOutput, run_output

STEPS = 180
"""Moments of a recording, evenly over its time; the turns of the run are added to them."""

FRAMES_LIMIT_BYTES = 400_000


class Frames(TypedDict):
    """The past of a run, which a page can play.

    ``packed`` is Base64 of gzip of a JSON list. Each frame of it is a position in milliseconds (see `Moment`), then the
    fields of `RunOutput` and those of its snapshot that differ from the frame before. ``ends`` has a mini-batch,
    an attempt, and the time in milliseconds since the run's creation at which this attempt ended.
    """

    packed: str
    ends: list[list[int]]


@dataclass(frozen=True, slots=True)
class _Frame:
    position_ms: int
    output: RunOutput
    is_turn: bool


def frames(
    folder: RunFolder, state: RunState, snapshot: Snapshot, noted: Collection[int]
) -> Frames:
    """Return the past of a run up to a snapshot.

    Parameters
    ----------
    folder
        The run.
    state
        Its state.
    snapshot
        The snapshot of this state, which becomes the last frame.
    noted
        The mini-batches whose attempts ``ends`` has.
    """
    at_ms = round(snapshot["at_s"] * 1000)
    record = folder.read_record()
    later = read_resume(folder).applied_to(record) if state.drivers > 1 else record
    step_ms = max(1, state.throughput.elapsed_ms(at_ms) // STEPS)
    records = (record, later)
    replay = Replay(folder.run_id, records, step_ms, frozenset(noted), state.drivers)
    moments = list(replay.moments(JournalReader(folder.journal).read()))
    last = Moment(replay.position_ms(at_ms), snapshot, is_turn=True)
    # An event may be newer than the snapshot.
    known = [moment for moment in moments if moment.position_ms < last.position_ms]
    shown = [_frame(record.created_at, moment) for moment in [*known, last]]
    ends = [[mini_batch, attempt, ms] for (mini_batch, attempt), ms in replay.ends.items()]
    return Frames(packed=_packed(_without_repeats(shown)), ends=sorted(ends))


def _frame(created_at: float, moment: Moment) -> _Frame:
    output = run_output(moment.snapshot, created_at + moment.snapshot["at_s"])
    return _Frame(moment.position_ms, output, moment.is_turn)


def _without_repeats(shown: list[_Frame]) -> list[_Frame]:
    """Return the last frame of each position, in order; it is a turn if one of them is."""
    turns = {frame.position_ms for frame in shown if frame.is_turn}
    latest = {
        frame.position_ms: replace(frame, is_turn=frame.position_ms in turns) for frame in shown
    }
    return sorted(latest.values(), key=lambda frame: frame.position_ms)


def _packed(shown: list[_Frame]) -> str:
    """Return the frames within the limit: every second one is left out until they fit, save for turns."""
    while True:
        text = json.dumps(_changes(shown), separators=(",", ":"))
        packed = base64.b64encode(gzip.compress(text.encode("ascii"), 9, mtime=0))
        if len(packed) <= FRAMES_LIMIT_BYTES or len(shown) <= 2:
            return packed.decode("ascii")
        fewer = [frame for k, frame in enumerate(shown) if frame.is_turn or k % 2 == 0]
        shown = fewer if len(fewer) < len(shown) else [*shown[:-1:2], shown[-1]]


def _changes(shown: list[_Frame]) -> list[list[Any]]:
    frames: list[list[Any]] = []
    before: dict[str, Any] = {}
    for frame in shown:
        output = {**frame.output}
        snapshot = dict(output.pop("snapshot"))  # type: ignore[call-overload]
        after = {"output": output, "snapshot": snapshot}
        frames.append(
            [
                frame.position_ms,
                *(
                    {k: v for k, v in part.items() if k not in old or old[k] != v}
                    for part, old in ((after[name], before.get(name, {})) for name in after)
                ),
            ]
        )
        before = after
    return frames
