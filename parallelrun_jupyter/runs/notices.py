"""The notices of a run's ends: what the receivers of ``notify`` are told, and which of them were told.

There is one file for each end, by the number of the driver that ended the run. It is written once the end is in
the journal. The process that sends the notice adds each receiver after it was told, so a repeated start sends
to the others only.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..errors import visible
from ..files import write_atomically
from ..formatting import format_duration, plural
from .journal.failure_groups import costliest_first
from .journal.state import RunState
from .run_folder import RunFolder
from .run_record import RunRecord

_MESSAGE_CHARS = 500


@dataclass(slots=True)
class Notice:
    """The notice of one end of a run.

    Parameters
    ----------
    content
        What receivers are told: JSON values, with ``text`` and ``id``.
    receivers
        All who are to be told, as in the run's record.
    told
        The receivers that were told or could not be, with the error or an empty text.
    """

    content: dict[str, Any]
    receivers: list[str]
    told: dict[str, str] = field(default_factory=dict)

    @property
    def untold(self) -> list[str]:
        """The receivers that are still to be told."""
        return [receiver for receiver in self.receivers if receiver not in self.told]

    @property
    def warnings(self) -> list[str]:
        """A text for each receiver that could not be told."""
        return [
            f"{receiver} was not notified that the run has ended: {error}"
            for receiver, error in self.told.items()
            if error
        ]

    def write(self, path: Path) -> None:
        """Write the file of the notice.

        Raises
        ------
        OSError
            It could not be written; the earlier one is unchanged.
        """
        write_atomically(path, json.dumps(asdict(self)), mode=0o600)


def notice_path(folder: RunFolder, driver: int) -> Path:
    """Return the file of the notice of the end under a driver, counted from 1."""
    return folder.path / "notices" / f"{driver}.json"


def lock_path(path: Path) -> Path:
    """Return the file whose lock the process holds that sends a notice."""
    return path.with_suffix(".lock")


def read_notice(path: Path) -> Notice | None:
    """Return a notice; None if there is none, or it is damaged."""
    try:
        return Notice(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def is_untold(folder: RunFolder, record: RunRecord, state: RunState) -> bool:
    """Return whether a receiver has not been told of the last end of a run."""
    if not record.notify or not state.is_final:
        return False
    notice = read_notice(notice_path(folder, state.drivers))
    return notice is None or bool(notice.untold)


def warnings_of(folder: RunFolder, record: RunRecord, state: RunState) -> list[str]:
    """Return the warnings about receivers that could not be told of the last end of a run."""
    if not record.notify or not state.is_final:
        return []
    notice = read_notice(notice_path(folder, state.drivers))
    return notice.warnings if notice else []


def notice_of(record: RunRecord, state: RunState) -> Notice:
    """Return the notice of the end of a run."""
    groups = costliest_first(state.groups.values())
    first = groups[0] if groups and (state.items_failed or state.state != "Completed") else None
    elapsed_s = state.throughput.elapsed_ms(state.at_ms) / 1000  # without pauses, as in the views
    name, reason = visible(record.name), visible(state.reason)
    text = (
        f"{name}: {state.state} after {format_duration(elapsed_s)}, "
        f"{state.items_succeeded:,} of {plural(state.planned_items, 'item')} succeeded"
    )
    text += f", {state.items_failed:,} failed" if state.items_failed else ""
    text += f"\n{reason[:_MESSAGE_CHARS]}" if reason else ""
    failure = (
        None
        if first is None
        else {
            "group": visible(first.group),
            "error": first.error,
            "message": visible(first.message)[:_MESSAGE_CHARS],
            "attempts": first.attempts,
        }
    )
    if failure is not None:
        text += f"\nFirst failure: {failure['group']}: {failure['message']}"
    content = {
        "schema": 1,
        "id": f"{record.run_id}/{state.drivers}",
        "text": f"{text}\nRun {record.run_id}",
        "run_id": record.run_id,
        "name": name,
        "state": state.state,
        "reason": reason,
        "elapsed_s": elapsed_s,
        "items": state.planned_items,
        "items_succeeded": state.items_succeeded,
        "items_failed": state.items_failed,
        "mini_batches": state.planned,
        "succeeded": state.succeeded,
        "failed": state.failed,
        "first_failure": failure,
        "output": visible(state.output),
    }
    return Notice(content, list(record.notify))
