"""Tells the receivers of ``notify`` that a run has ended; a process sends, and the driver notes it.

The notice is sent once the end is in the journal, and noted there once it has been sent. If the driver is
killed in between, the next driver of the run sends it again: at least once. Each has an id, by which a
receiver knows a repeated one.
"""

from __future__ import annotations

import logging
import time
from typing import Any

from ..formatting import format_duration, plural
from ..runs.journal.events import EndNotified
from ..runs.journal.failure_groups import costliest_first
from ..runs.journal.state import RunState
from ..runs.run_folder import RunFolder
from ..runs.run_record import RunRecord
from .child_process import ChildProcess
from .notice_process import SEND_LIMIT_S

_log = logging.getLogger(__name__)

_PROCESS = "parallelrun_jupyter.engine.notice_process"
_WAIT_LIMIT_S = SEND_LIMIT_S + 3.0
_POLL_S = 0.05
_MESSAGE_CHARS = 500


class Notices:
    """The notices of one end of a run.

    Parameters
    ----------
    folder
        The run.
    notice
        What they are told, as `notice_of` returns it.
    end
        Which end, counted from 1.
    receivers
        Who is told.
    """

    def __init__(
        self, folder: RunFolder, notice: dict[str, Any], end: int, receivers: list[str]
    ) -> None:
        self.end = end
        self._open = receivers
        self._child: ChildProcess | None = None
        self._until = time.monotonic() + _WAIT_LIMIT_S
        try:
            self._child = ChildProcess.start(_PROCESS, folder.path)
        except OSError as error:  # no more processes
            _log.warning("nobody was notified of the run's end: %s", error)
            return
        self._child.send({"notice": notice, "receivers": receivers})

    def received(self, at_ms: int, wait_s: float = 0.0) -> list[EndNotified]:
        """Return the events of the receivers that were told, or could not be.

        Parameters
        ----------
        at_ms
            The time of the events.
        wait_s
            Seconds to wait for one.
        """
        if self._child is None:
            return []
        replies = self._child.receive(wait_s)
        if replies is None or time.monotonic() >= self._until:
            end = self._child.end()
            self._child = None
            reason = end.sentence if replies is None else f"no answer within {_WAIT_LIMIT_S:.0f} s."
            replies = [[receiver, reason] for receiver in self._open]
        events = []
        for receiver, error in replies:
            if receiver in self._open:
                self._open.remove(receiver)
                events.append(EndNotified(at_ms, self.end, receiver, error))
            if error:
                _log.warning("%s was not notified of the run's end: %s", receiver, error)
        return events

    @property
    def is_open(self) -> bool:
        """Whether a receiver has not been told yet, and may still be."""
        return self._child is not None and bool(self._open)

    def close(self) -> None:
        """End the process; receivers left out are told by the run's next driver."""
        if self._child is not None:
            self._child.end(patience_s=0.0 if self._open else 1.0)
            self._child = None


def notice_of(record: RunRecord, state: RunState) -> dict[str, Any]:
    """Return what receivers are told: JSON values, and ``text`` with the same in a few lines."""
    groups = costliest_first(state.groups.values())
    first = groups[0] if groups and (state.items_failed or state.state != "Completed") else None
    elapsed_s = state.at_ms / 1000
    text = (
        f"{record.name}: {state.state} after {format_duration(elapsed_s)}, "
        f"{state.items_succeeded:,} of {plural(state.planned_items, 'item')} succeeded"
    )
    text += f", {state.items_failed:,} failed" if state.items_failed else ""
    text += f"\n{state.reason[:_MESSAGE_CHARS]}" if state.reason else ""
    if first is not None:
        text += f"\nFirst failure: {first.group}: {first.message[:_MESSAGE_CHARS]}"
    return {
        "schema": 1,
        "id": f"{record.run_id}/{state.ends}",
        "text": f"{text}\nRun {record.run_id}",
        "run_id": record.run_id,
        "name": record.name,
        "state": state.state,
        "reason": state.reason,
        "elapsed_s": elapsed_s,
        "items": state.planned_items,
        "items_succeeded": state.items_succeeded,
        "items_failed": state.items_failed,
        "mini_batches": state.planned,
        "succeeded": state.succeeded,
        "failed": state.failed,
        "first_failure": None
        if first is None
        else {
            "group": first.group,
            "error": first.error,
            "message": first.message[:_MESSAGE_CHARS],
            "attempts": first.attempts,
        },
        "output": state.output,
    }
