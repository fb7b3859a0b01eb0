"""The backend of this machine: its nodes live in the driver's process and share the driver's loop."""

from __future__ import annotations

import os
import selectors
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from ..engine.node.fork_server import CAN_FORK, ForkServerCache, ForkServerClient
from ..engine.node.node import Node
from ..engine.node.stager import StagerClient, staging_spec
from ..engine.output.part_uploader import PartUploader, UploadTarget, upload_target
from ..engine.scheduling import signals
from ..engine.scheduling.actions import Piece
from ..engine.scheduling.limits import NodeLimits
from ..engine.scheduling.signals import Signal
from ..runs.run_folder import RunFolder
from ..runs.run_record import RunRecord
from .early_workers import EarlyWorkers
from .worker_spec import worker_spec


class LocalPool:
    """The nodes of a run on this machine.

    Parameters
    ----------
    folder, record, keep_rows
        As for `PoolFactory`.
    environ
        The variables that workers inherit.
    names
        Names of the nodes. Default: ``node_count`` of them, from ``n0`` on.
    fork_servers
        The cache of fork servers. Default: workers are started directly.
    early
        Workers of the only node that run already. Default: none.
    target
        The object store to which nodes upload parts of the output. Default: the driver stores the
        rows.
    """

    def __init__(
        self,
        folder: RunFolder,
        record: RunRecord,
        keep_rows: Callable[[bytes], tuple[int, int]],
        environ: Mapping[str, str] = os.environ,
        *,
        names: Sequence[str] = (),
        fork_servers: ForkServerCache | None = None,
        early: EarlyWorkers | None = None,
        target: UploadTarget | None = None,
    ) -> None:
        names = names or [f"n{number}" for number in range(record.placement.node_count)]
        self._selector = selectors.DefaultSelector() if early is None else early.selector
        self._wake_out, self._wake_in = os.pipe()
        os.set_blocking(self._wake_out, False)
        os.set_blocking(self._wake_in, False)
        self._selector.register(self._wake_out, selectors.EVENT_READ, None)
        self._uploader: PartUploader | None = None
        if target is not None:
            self._uploader = PartUploader(target, folder.path / "kept", names, self._selector)
            keep_rows = self._uploader.spool.append
        origin = time.monotonic() - (time.time() - record.created_at)
        spec = worker_spec(folder, record, environ) if early is None else early.spec
        workers = [] if early is None else early.take()
        #: signals for the next `wait` or `step`
        self._queued: list[Signal] = [
            signals.WorkerSpawned(worker.node, worker.name, worker.pid) for worker in workers
        ]
        self._fork_server: ForkServerClient | None = None
        if fork_servers is not None and record.script.preload and CAN_FORK:
            self._fork_server = fork_servers.get(spec.python, record.script.preload, spec.environ)
            self._fork_server.attach(self._selector)
            spec = replace(spec, fork_server=self._fork_server)
        limits = NodeLimits(
            record.limits.run_invocation_timeout,
            record.limits.first_task_creation_timeout,
            record.limits.task_overhead_timeout,
        )
        self._nodes = {
            name: Node(
                name,
                record.placement.process_count_per_node,
                spec,
                limits,
                selector=self._selector,
                keep_rows=keep_rows,
                origin=origin,
                stager=_start_stager(record, name, environ, self._selector),
                workers=workers,
            )
            for name in names
        }

    @property
    def nodes(self) -> tuple[str, ...]:
        """Names of the nodes."""
        return tuple(self._nodes)

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
        """Assign mini-batches from ``first`` on to a node, by their plan lines."""
        self._nodes[node].assign(first, attempt, lines, after_ms=after_ms, every_ms=every_ms)

    def upload_part(self, node: str, first: int, pieces: Sequence[Piece]) -> None:
        """Upload the part of the output that starts with mini-batch ``first`` from a node."""
        if self._uploader is not None:
            self._uploader.upload(node, first, pieces)

    def stop(self, *, drain: bool) -> None:
        """End the workers of all nodes."""
        for node in self._nodes.values():
            node.stop(drain=drain)

    def wait(self, timeout_s: float) -> list[Signal]:
        """Return new signals, waiting up to ``timeout_s`` seconds for one."""
        emitted, self._queued = self._queued, []
        due = min(node.next_step_at() for node in self._nodes.values())
        if self._uploader is not None:
            due = min(due, self._uploader.next_step_at())
        timeout_s = 0.0 if emitted else max(0.0, min(timeout_s, due - time.monotonic()))
        for key, _ in self._selector.select(timeout_s):
            if key.data is None:
                self._drain_wake_pipe()
            elif isinstance(key.data, ForkServerClient):
                emitted += [
                    signals.WorkerSpawned(worker.node, worker.name, worker.pid)
                    for worker in key.data.handle(key.fd)
                ]
            elif isinstance(key.data, PartUploader):
                emitted += key.data.handle(key.fd)
            else:
                emitted += self._nodes[key.data.node].handle(key.data, key.fd)
        return emitted + self.step() + self._report_fork_server()

    def _report_fork_server(self) -> list[Signal]:
        """Warn, once, when the fork server has ended."""
        if self._fork_server is None or not self._fork_server.reason:
            return []
        fork_server, self._fork_server = self._fork_server, None
        text = (
            f"workers are no longer forked by the fork server ({fork_server.reason}): they are "
            "started directly, and each imports the modules itself"
        )
        return [signals.Warned(text, fork_server.traceback)]

    def step(self) -> list[Signal]:
        """Do the work that is due, without reading rows, and return the resulting signals.

        A caller that cannot accept more rows calls this in place of `wait`.
        """
        emitted, self._queued = self._queued, []
        now = time.monotonic()
        for node in self._nodes.values():
            if now >= node.next_step_at():
                emitted += node.step()
        return emitted + (self._uploader.step() if self._uploader is not None else [])

    def set_latency(self, latency_s: float) -> None:
        """Set the driver's latency: the nodes hold enough mini-batches to bridge one round trip."""
        for node in self._nodes.values():
            node.feeder.latency_s = latency_s

    @property
    def mean_run_s(self) -> float:
        """Mean seconds of a mini-batch on the slowest node; 0 before the first has ended."""
        return max(node.feeder.mean_run_s for node in self._nodes.values())

    def pause(self) -> None:
        """Accept no more mini-batches, and return the mini-batches not yet sent to a worker."""
        for node in self._nodes.values():
            self._queued += node.pause()

    def unpause(self) -> None:
        """Accept mini-batches again."""
        for node in self._nodes.values():
            self._queued += node.unpause()

    @property
    def is_idle(self) -> bool:
        """Whether the workers have nothing to do, and all rows are uploaded."""
        is_uploading = self._uploader is not None and not self._uploader.is_idle
        return not is_uploading and all(node.is_idle for node in self._nodes.values())

    def set_mini_batches_left(self, count: int) -> None:
        """Do nothing: a single machine does not scale."""

    def fetch_logs(self) -> None:
        """Do nothing: the logs are on this machine."""

    def wake(self) -> None:
        """Let a running `wait` return."""
        try:
            os.write(self._wake_in, b"!")
        except BlockingIOError:
            pass  # earlier calls have filled the pipe

    def _drain_wake_pipe(self) -> None:
        try:
            os.read(self._wake_out, 4096)
        except BlockingIOError:
            pass

    def close(self) -> None:
        """Kill the workers, and release all resources."""
        self.stop(drain=False)
        uploader, self._uploader = self._uploader, None
        if uploader is not None:
            uploader.close()  # first, so that nothing more is uploaded
        while any(node.next_step_at() != float("inf") for node in self._nodes.values()):
            self.wait(0.05)
        if self._fork_server is not None:
            self._fork_server.detach()
        self._selector.close()
        os.close(self._wake_out)
        os.close(self._wake_in)


def _start_stager(
    record: RunRecord, node: str, environ: Mapping[str, str], selector: selectors.BaseSelector
) -> StagerClient | None:
    spec = staging_spec(record, node, environ)
    return StagerClient(spec, environ, selector) if spec else None


def make_pool(
    folder: RunFolder,
    record: RunRecord,
    keep_rows: Callable[[bytes], tuple[int, int]],
    fork_servers: ForkServerCache | None = None,
    early: EarlyWorkers | None = None,
) -> LocalPool:
    """Return the pool of a run on this machine."""
    target = upload_target(record, os.environ)
    return LocalPool(
        folder, record, keep_rows, fork_servers=fork_servers, early=early, target=target
    )
