"""Parts: stretches of the output that nodes upload to the object store."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ...runs.journal.events import Event, PartStored, WarningRaised
from . import limits
from .actions import UploadPart
from .allocation import Allocation
from .signals import PartUploaded


class Parts:
    """The parts of a run, if its nodes upload any.

    Parameters
    ----------
    allocation
        Knows which node holds which rows.
    record
        Records an event.
    """

    def __init__(self, allocation: Allocation, record: Callable[[Event], None]) -> None:
        self._allocation = allocation
        self._record = record
        #: when the last lost node has shut itself down
        self._lost_nodes_end_ms = 0
        self._has_warned_of_lost_nodes = False

    def uploads(self, now_ms: int) -> Iterator[UploadPart]:
        """Yield the uploads that can start; a part without rows needs none."""
        for part in self._allocation.ready_parts():
            if part.size_bytes:
                yield UploadPart(part.node, part.first, part.pieces())
            else:
                self.commit(PartUploaded(part.node, part.first, "", 0, 0), now_ms)

    def commit(self, stored: PartUploaded, now_ms: int) -> None:
        """Record the attempts of a stored part; the part's own event, the last one, commits them."""
        part = self._allocation.part_stored(stored.first, stored.node)
        if part is None:
            return  # a late signal of a lost node: the publisher deletes the part
        committed = part.committed()
        for event in committed:
            self._record(event)
        of_part = len(committed), stored.rows, stored.size_bytes
        self._record(PartStored(now_ms, stored.name, stored.first, *of_part))
        for failed in part.failures():
            self._record(failed)

    def node_lost(self, now_ms: int) -> None:
        """Wait for the uploads of a node that was lost, and may not have shut down."""
        self._lost_nodes_end_ms = now_ms + limits.LOST_NODE_GRACE_MS

    def wait_for_lost_nodes(self, now_ms: int) -> bool:
        """Return whether a lost node may still be uploading a part; warn of it once."""
        left_ms = self._lost_nodes_end_ms - now_ms if self._allocation.uploads_parts else 0
        if left_ms > 0 and not self._has_warned_of_lost_nodes:
            self._has_warned_of_lost_nodes = True
            self._record(WarningRaised(now_ms, limits.lost_nodes_warning(left_ms)))
        return left_ms > 0
