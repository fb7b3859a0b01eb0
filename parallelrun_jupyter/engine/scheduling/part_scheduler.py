"""The scheduler of a run whose nodes put the output into its store themselves, part by part.

Rows never come to the driver. A finished mini-batch is held by its node until the part with its
rows is in the store; only then it has succeeded. So what the journal calls succeeded is committed,
here as everywhere, and what a node had not put when it was lost runs again elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ...runs.journal.events import (
    FINAL_STATES,
    IN_STORE,
    AttemptSucceeded,
    PartStored,
    WarningRaised,
)
from . import limits, signals
from .range_allocator import RangeAllocator
from .scheduler import Scheduler
from .signals import Action, PauseNodes, StopNodes, UploadPart

LET_GO_MS = 2_000
"""A node that takes nothing and has nothing for so long, being paused or about to leave, puts what
it keeps, and the rest of its ranges goes to others."""


class PartsScheduler(Scheduler):
    """Hands out ranges of mini-batches, each to one node, and commits them by the part.

    The parameters are those of `Scheduler`.
    """

    def __init__(self, *given: Any, **settings: Any) -> None:
        super().__init__(*given, **settings)
        self._ranges = RangeAllocator(self.state)
        #: nodes that take nothing and have nothing, and since when
        self._idle: dict[str, int] = {}
        self._is_settled = False
        self._is_draining = False
        self._has_said_to_wait = False
        #: when the last node that may still be putting something has ended by itself
        self._quiet_at = 0

    def start(self, now_ms: int, pid: int, host: str, script: str = "") -> list[Action]:
        """Record that a driver took up the run; see `Scheduler.start`."""
        if self.state.drivers and self.state.state not in FINAL_STATES:
            self._quiet_at = (
                now_ms + limits.LOST_NODE_GRACE_MS
            )  # the nodes of the driver that is gone
        return super().start(now_ms, pid, host, script)

    # Ranges and parts

    def _take_up(self, again: list[int]) -> None:
        if self._failed_only:
            self._ranges = RangeAllocator(self.state, again)

    @property
    def _is_busy(self) -> bool:
        return bool(self._ranges) or self._nodes.holds_any

    def _assign(self) -> None:
        for name, free in self._nodes.with_capacity():
            if not self._ranges.is_full(name):
                self._give(name, self._ranges.take(name, free))

    def _keep(self, event: AttemptSucceeded) -> None:
        self._ranges.keep(event)

    def _try_again(self, attempts: Iterable[tuple[int, int]]) -> None:
        for mini_batch, _ in attempts:
            self._ranges.again(mini_batch)

    def _give_up(self, mini_batch: int) -> None:
        self._ranges.drop(mini_batch)

    def _put_ready(self) -> None:
        """Let nodes put their parts that are complete; one without any row needs no file."""
        for part in self._ranges.ready():
            if not part.size_bytes:
                self._commit(part.first, part.owner, "", 0, 0)
                continue
            pieces = tuple(
                (k, event.offset, event.length, event.crc)
                for k, event in sorted(part.kept.items())
                if event.length
            )
            self._actions.append(UploadPart(part.owner, part.first, pieces))

    def _part_told(self, signal: signals.PartUploaded | signals.PartUploadFailed) -> None:
        match signal:
            case signals.PartUploaded(node, first, name, rows, size_bytes):
                self._commit(first, node, name, rows, size_bytes)
            case signals.PartUploadFailed(node, reason, traceback):
                if self._nodes.get(node) is not None:
                    if (
                        self._ending is not None
                    ):  # what it ends as stays; why rows are missing is told
                        self._record(WarningRaised(self._now, reason, traceback))
                    self._end("Failed", reason, drain=False, traceback=traceback)

    def _commit(self, first: int, node: str, name: str, rows: int, size_bytes: int) -> None:
        """Let the attempts of a part hold, as it is in the store: its own line comes last."""
        part = self._ranges.stored(first, node)
        if part is None:
            return  # late news of a node that is gone: the part is nobody's, and will be deleted
        offsets, before = {}, 0
        for mini_batch, event in sorted(part.kept.items()):
            offsets[mini_batch] = before
            before += event.rows
        for mini_batch, event in part.kept.items():
            self._record(event._replace(part=IN_STORE, offset=offsets[mini_batch]))
        self._record(PartStored(self._now, name, first, len(part.kept), rows, size_bytes))
        for (
            event
        ) in part.kept.values():  # behind the part's own line, before which they do not hold
            if event.items_succeeded < event.items:
                self._tell_short(event)

    # Nodes that leave

    def _lose(self, name: str, reason: str, *, blames: bool) -> list[int]:
        node = self._nodes.get(name)
        charged = super()._lose(name, reason, blames=blames)
        if node is not None:
            self._ranges.lose(name, charged)
            self._idle.pop(name, None)
            if not node.stopped:
                self._quiet_at = self._now + limits.LOST_NODE_GRACE_MS
        return charged

    def _check_stall(self) -> None:
        super()._check_stall()
        for name in self._nodes.names():
            node = self._nodes.get(name)
            if node is None or node.capacity or node.held or not self._ranges.has(name):
                self._idle.pop(name, None)
            elif self._now >= self._idle.setdefault(name, self._now) + LET_GO_MS:
                self._ranges.flush(name)

    # Its end

    def _end(self, state: str, reason: str, *, drain: bool, traceback: str = "") -> None:
        super()._end(state, reason, drain=drain, traceback=traceback)
        self._is_draining = drain and self._is_busy
        if self._is_draining:
            # Nodes that stop are gone; these are to put what they keep before they do.
            assert isinstance(self._actions[-1], StopNodes)
            self._actions[-1] = PauseNodes()

    def _go_on(self) -> None:
        if self.state.plan_finished and not self._is_settled:
            self._is_settled = True
            self._ranges.settle()
        if self._is_draining and not self._nodes.holds_any:
            for name in self._nodes.names():
                self._ranges.flush(name)
        self._put_ready()
        if self._is_draining and not self._nodes.holds_any and not self._ranges.is_putting:
            self._is_draining = False
            self._actions.append(StopNodes(drain=True))
        super()._go_on()
        self._put_ready()

    def _finish(self, state: str, reason: str) -> None:
        """End the run; what is published waits until no node can put anything any more."""
        left_ms = self._quiet_at - self._now
        if not (self._publishes_late and state == "Completed" and left_ms > 0):
            super()._finish(state, reason)
        elif not self._has_said_to_wait:
            self._has_said_to_wait = True
            text = (
                f"the output is made of its parts in {left_ms // 1000} s: by then every node that "
                "was lost has ended, and puts nothing any more"
            )
            self._record(WarningRaised(self._now, text))
