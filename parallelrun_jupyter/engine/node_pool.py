"""What the driver wants of a backend: the nodes of a run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from ..runs.run_folder import RunFolder
from ..runs.run_record import RunRecord
from .node.fork_server import ForkServerCache
from .scheduling.signals import Piece, Signal


class Pool(Protocol):
    """The nodes of a run, wherever they are."""

    @property
    def nodes(self) -> tuple[str, ...]:
        """Names of the nodes that are there from the start; others join by signal."""

    def assign(self, node: str, first: int, attempt: int, lines: list[bytes]) -> None:
        """Give mini-batches from ``first`` on to a node, a plan line each."""

    def put(self, node: str, first: int, pieces: Sequence[Piece]) -> None:
        """Let a node put the part of the output that begins with mini-batch ``first``."""

    def pause(self) -> list[Signal]:
        """Let all nodes finish what runs and give back the rest; return what is to be said of it."""

    def stop(self, *, drain: bool) -> None:
        """End the workers of all nodes: after what they have (drain), or at once."""

    def wait(self, timeout_s: float) -> list[Signal]:
        """Return what has happened, waiting at most so long for something to happen."""

    def wake(self) -> None:
        """Let a ``wait`` return now; may be called from any thread."""

    def expect(self, mini_batches: int) -> None:
        """Take note of how many mini-batches are left, as far as is known by now."""

    def bring_logs(self) -> None:
        """Begin to bring what is new in the workers' logs into the run's folder."""

    def close(self) -> None:
        """Give everything back, ending what still runs."""


class PoolFactory(Protocol):
    """Makes the pool of a run; a module in ``backends`` has one by the name ``make_pool``."""

    def __call__(
        self,
        folder: RunFolder,
        record: RunRecord,
        keep_rows: Callable[[bytes], tuple[int, int]],
        fork_servers: ForkServerCache | None = None,
    ) -> Pool:
        """Make a pool that stores the rows of finished mini-batches by ``keep_rows``.

        If workers can be forked, their fork server is cached in ``fork_servers``.
        """
