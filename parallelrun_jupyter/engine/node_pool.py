"""The pool: the nodes of a run, as a backend provides them to the driver."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from ..runs.run_folder import RunFolder
from ..runs.run_record import RunRecord
from .node.fork_server import ForkServerCache
from .scheduling.actions import Piece
from .scheduling.signals import Signal


class Pool(Protocol):
    """The nodes of a run.

    Methods return immediately; `wait` returns their results as signals.
    Only `wake` may be called from other threads.
    """

    @property
    def nodes(self) -> tuple[str, ...]:
        """Names of the initial nodes; others connect by signal."""

    def assign(
        self,
        node: str,
        first: int,
        attempt: int,
        lines: list[bytes],
        *,
        after_ms: float = 0.0,
        every_ms: float = 0.0,
    ) -> None:
        """Assign consecutive mini-batches from ``first`` on to a node, by their plan lines.

        The first of them starts ``after_ms`` milliseconds from now at the earliest, and each other one
        ``every_ms`` after the one before.
        """

    def upload_part(self, node: str, first: int, pieces: Sequence[Piece]) -> None:
        """Upload from a node the part of the output that begins with mini-batch ``first``."""

    def pause(self) -> None:
        """Pause all nodes: they finish running mini-batches and return the others."""

    def stop(self, *, drain: bool) -> None:
        """Stop the workers of all nodes: after their mini-batches (drain), or immediately."""

    def wait(self, timeout_s: float) -> list[Signal]:
        """Return pending signals, waiting up to ``timeout_s`` for the first one."""

    def wake(self) -> None:
        """Let the current or next ``wait`` return."""

    def set_mini_batches_left(self, count: int) -> None:
        """Set the number of planned mini-batches that are left; a cluster may scale by it."""

    def fetch_logs(self) -> None:
        """Start copying new text of the workers' logs to the run folder."""

    def close(self) -> None:
        """End all workers, and release all resources."""


class PoolFactory(Protocol):
    """Makes the pool of a run; each module in ``backends`` has one, named ``make_pool``."""

    def __call__(
        self,
        folder: RunFolder,
        record: RunRecord,
        keep_rows: Callable[[bytes], tuple[int, int]],
        fork_servers: ForkServerCache | None = None,
    ) -> Pool:
        """Return a pool.

        Parameters
        ----------
        folder, record
            The run.
        keep_rows
            Stores the rows of finished mini-batches; returns the number of the part file and
            their offset in it.
        fork_servers
            Fork servers to fork workers from, for runs with imports to preload.
        """
