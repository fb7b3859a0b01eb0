"""Starts the workers of a node: at once from a spare process, or later after failures."""

from __future__ import annotations

import logging
import selectors
import time

from .worker_process import WorkerProcess, WorkerSpec

SPARE_AHEAD_S = 0.5
"""A spare process is started so many seconds before a timeout ends a worker."""

_log = logging.getLogger(__name__)

_RESTART_DELAYS_S = (0.0, 0.0, 0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0)


class RestartBackoff:
    """Delays the start of workers, increasingly longer while they end without a result.

    Parameters
    ----------
    slots
        Number of workers: each may fail once before the delay grows.
    """

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._failed = 0
        #: ``time.monotonic()`` of the next start
        self.due_at = 0.0

    def record_end(self, *, had_result: bool) -> None:
        """Record the end of a worker, with or without a result of its own."""
        self._failed = 0 if had_result else self._failed + 1
        round_number = max(0, self._failed - 1) // max(1, self._slots)
        delay_s = _RESTART_DELAYS_S[min(round_number, len(_RESTART_DELAYS_S) - 1)]
        self.due_at = time.monotonic() + delay_s


class WorkerStarts:
    """Starts workers, and keeps one spare process if it is wanted.

    A spare process has started its interpreter and imported the code of a worker, but none of the
    user's: it holds no model and no memory of a GPU. So a lost worker is replaced by one that only has to
    run ``init()``. A run without losses has none.

    Parameters
    ----------
    node
        The name of the node.
    selector
        Reports ready descriptors of workers.
    started
        Number of workers that the node was given.
    """

    def __init__(self, node: str, selector: selectors.BaseSelector, *, started: int = 0) -> None:
        self._node = node
        self._selector = selector
        self._started = started
        self._spare: WorkerProcess | None = None
        #: whether a worker was lost, or probably will be
        self.wants_spare = False
        self._can_have_spare = True

    def start(self, spec: WorkerSpec, slot: int, *, kills_before: int) -> WorkerProcess:
        """Start a worker in a slot."""
        spare, self._spare = self._spare, None
        if spare is not None and spare.has_ended():
            spare.close()
        elif spare is not None:
            spare.start(spec, slot, kills_before=kills_before)
            return spare
        return self._new(spec, slot, kills_before=kills_before)

    def prepare(self, spec: WorkerSpec) -> None:
        """Start a spare process, if it is wanted and saves time.

        A fork server is as fast, and the variables of a GPU are those of a slot.
        """
        is_forked = spec.fork_server is not None and not spec.fork_server.reason
        is_of_use = self.wants_spare and not is_forked and not spec.gpus
        if self._spare is not None or not is_of_use or not self._can_have_spare:
            return
        try:
            self._spare = self._new(spec, waits=True)
        except OSError as error:  # such as a limit on processes
            _log.warning("no spare process could be started: %s", error)
            self._can_have_spare = False

    def close(self) -> None:
        """End the spare process."""
        if self._spare is not None:
            self._spare.kill("")
            self._spare.close()
            self._spare = None

    def _new(
        self, spec: WorkerSpec, slot: int = 0, *, kills_before: int = 0, waits: bool = False
    ) -> WorkerProcess:
        number, self._started = self._started, self._started + 1
        return WorkerProcess(
            self._node,
            number,
            spec,
            self._selector,
            slot,
            kills_before=kills_before,
            waits=waits,
        )
