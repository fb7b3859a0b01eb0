"""A Dask cluster: one node on each of its workers, driven by direct calls of an actor."""

from __future__ import annotations

import asyncio
import concurrent.futures
import json
import os
import tarfile
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from ...config.dask_compute import TLS_VARIABLE, DaskCompute, require_dask
from ...engine.node.fork_server import ForkServerCache
from ...engine.scheduling import signals
from ...engine.scheduling.signals import Piece, Signal
from ...runs.logs import remote_logs
from ...runs.run_folder import RunFolder
from ...runs.run_record import RunRecord
from ...worker.child_loop import traceback_text
from .cluster import Cluster
from .mailbox import Inbox, Mailbag
from .membership import ClusterLimits, Membership
from .node import Command, NodeSpec
from .node_client import NodeClient

_CLOSE_S = 30.0
_TRAVELS = ("script", "models")
"""What of a run's folder every node gets, once."""


@dataclass(slots=True)
class _Delivery:
    """News of a node, and what to set when it was taken."""

    node: str
    news: Mailbag
    taken: asyncio.Event


class DaskPool:
    """The nodes of a run on a Dask cluster.

    One thread holds the connection, in an event loop of its own, which the driver's loop never
    waits for. A node's next message is asked for when the driver has taken the last one: rows
    never pile up.
    """

    nodes: tuple[str, ...] = ()
    """There are none at the start: they join."""

    def __init__(
        self,
        folder: RunFolder,
        record: RunRecord,
        keep_rows: Callable[[bytes], tuple[int, int]],
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        require_dask()
        self._folder = folder
        self._record = record
        self._keep_rows = keep_rows
        # Nodes read from stores, and the driver writes, unless they put the output there themselves.
        staged = record if record.output_parts else replace(record, output_storage=None)
        names = {*record.environment_variables, *staged.secret_variables()}
        self._environment = {name: environ[name] for name in names if name in environ}
        compute = DaskCompute.of_spec(record.compute)
        texts = json.loads(environ.get(TLS_VARIABLE, "{}"))
        self._cluster = Cluster(compute, record.node_count, {**compute.tls, **texts}, environ)
        self._terms = ClusterLimits(
            folder.run_id,
            record.node_count,
            max(1, record.process_count_per_node),
            compute.scheduler_timeout_s,
        )
        self._inboxes: dict[str, Inbox] = {}
        self._arrived: deque[_Delivery | Signal] = deque()
        #: calls that only the driver's thread can make
        self._errands: deque[Callable[[], None]] = deque()
        self._bell = threading.Event()
        self._outgoing: dict[str, list[Command]] = {}
        self._snapshot = _pack(folder)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._members: Membership | None = None
        self._closing: asyncio.Event | None = None
        self._thread: threading.Thread | None = None
        self._background: set[asyncio.Task[None]] = set()
        remote_logs.begin(folder)

    # The driver's thread

    def assign(self, node: str, first: int, attempt: int, lines: list[bytes]) -> None:
        """Give mini-batches from ``first`` on to a node; they leave with the next ``wait``."""
        self._outgoing.setdefault(node, []).append(("assign", first, attempt, lines))

    def put(self, node: str, first: int, pieces: Sequence[Piece]) -> None:
        """Let a node put a part of the output; it is told with the next ``wait``."""
        self._outgoing.setdefault(node, []).append(("put", first, pieces))

    def pause(self) -> list[Signal]:
        """Let all nodes finish what runs and give back the rest; they say so themselves."""
        self._send_off()
        self._call(lambda members: members.pause())
        return []

    def stop(self, *, drain: bool) -> None:
        """End the workers of all nodes."""
        self._send_off()
        self._call(lambda members: members.stop(drain=drain))

    def wait(self, timeout_s: float) -> list[Signal]:
        """Return what has happened, waiting at most so long for something to happen."""
        if self._thread is None:
            self._start()
        self._send_off()
        if not self._arrived:
            self._bell.wait(timeout_s)
        self._bell.clear()
        while self._errands:
            self._errands.popleft()()
        found: list[Signal] = []
        while self._arrived:
            item = self._arrived.popleft()
            if isinstance(item, _Delivery):
                inbox = self._inboxes.setdefault(item.node, Inbox(self._keep_rows))
                found += inbox.signals_of(item.news)
                self._call_loop(item.taken.set)
            else:
                if isinstance(item, signals.NodeGone):
                    self._inboxes.pop(item.node, None)
                found.append(item)
        return found

    def wake(self) -> None:
        """Let a ``wait`` return now."""
        self._bell.set()

    def expect(self, mini_batches: int) -> None:
        """Note how many mini-batches are left: a cluster that adapts grows and shrinks with them."""
        if self._members is not None:
            self._members.mini_batches_left = mini_batches

    def bring_logs(self) -> None:
        """Begin to bring what is new in the nodes' logs."""
        self._call(self._begin_to_bring)

    def close(self) -> None:
        """End what still runs, disconnect, and close the cluster where the run made it."""
        if self._thread is not None:
            if self._closing is not None:
                self._call_loop(self._closing.set)
            self._thread.join(_CLOSE_S)
        os.close(self._snapshot)

    def _start(self) -> None:
        """Start the thread, not before the driver has forked its planner."""
        self._cluster.prepare(self._on_main_thread)
        ready = threading.Event()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._run(ready)), name="dask-members", daemon=True
        )
        self._thread.start()
        ready.wait()

    def _send_off(self) -> None:
        outgoing, self._outgoing = self._outgoing, {}
        if self._members is not None:
            for node, commands in outgoing.items():
                self._call_loop(partial(self._members.tell, node, commands))

    def _call(self, function: Callable[[Membership], None]) -> None:
        members = self._members
        if members is not None:
            self._call_loop(lambda: function(members))

    def _call_loop(self, function: Callable[[], Any]) -> None:
        if self._loop is not None:
            try:
                self._loop.call_soon_threadsafe(function)
            except RuntimeError:
                pass  # the loop is closed: there is nobody left to tell

    # The loop's thread

    async def _run(self, ready: threading.Event) -> None:
        self._loop = asyncio.get_running_loop()
        closing = self._closing = asyncio.Event()
        members = self._members = Membership(
            self._cluster,
            self._terms,
            snapshot=self._snapshot,
            order=self._order,
            deliver=self._take_news,
            say=self._say,
            store_tails=self._store_tails,
            bring_written=self._bring_written,
        )
        ready.set()
        course = asyncio.create_task(members.run())
        ending = asyncio.create_task(closing.wait())
        await asyncio.wait({course, ending}, return_when=asyncio.FIRST_COMPLETED)
        error = course.exception() if course.done() else None
        if error is not None:
            text = (
                f"the connection to the Dask cluster failed ({error!r}); "
                f"see {self._folder.driver_log}. run.resume() goes on"
            )
            self._say(signals.PoolLost(text, is_resumable=True, traceback=traceback_text(error)))
        await ending
        course.cancel()
        await asyncio.gather(course, return_exceptions=True)
        await members.close()

    async def _on_main_thread(self, function: Callable[[], Any]) -> Any:
        """Call a function in the driver's thread, at its next ``wait``, and return what it returns."""
        called: concurrent.futures.Future[Any] = concurrent.futures.Future()
        task = partial(_call_for, called, function)
        self._errands.append(task)
        self._bell.set()
        return await asyncio.wrap_future(called)

    def _order(self) -> NodeSpec:
        return NodeSpec(
            self._record.to_json(), str(self._folder.path), self._environment, time.time()
        )

    def _say(self, signal: Signal) -> None:
        self._arrived.append(signal)
        self._bell.set()

    async def _take_news(self, node: str, news: Mailbag) -> None:
        if not (news.signals or news.piece):
            return
        taken = asyncio.Event()
        self._arrived.append(_Delivery(node, news, taken))
        self._bell.set()
        await taken.wait()

    def _begin_to_bring(self, members: Membership) -> None:
        async def bring() -> None:
            await members.bring_logs()
            remote_logs.mark(self._folder)

        task = asyncio.get_running_loop().create_task(bring())
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _store_tails(self, link: NodeClient) -> None:
        for tail in await link.tails():
            skipped = link.note(tail)
            remote_logs.store(self._folder, tail.worker, tail.text, skipped)

    async def _bring_written(self, link: NodeClient) -> None:
        """Bring the files that the script wrote on a machine which does not see the run's folder."""
        target = Path(self._folder.script_output(self._record))
        try:
            await link.bring_written(target)
        except (OSError, RuntimeError, asyncio.TimeoutError) as error:
            text = f"files that the script wrote on {link.address} could not be brought: {error!r}"
            self._say(signals.Warned(text))


def _call_for(called: concurrent.futures.Future[Any], function: Callable[[], Any]) -> None:
    """Call a function, and let the future have its value or its exception."""
    try:
        called.set_result(function())
    except Exception as error:  # passed to the caller that waits for it
        called.set_exception(error)


def _pack(folder: RunFolder) -> int:
    """Return the descriptor of an archive of what travels to every node."""
    with tempfile.TemporaryFile() as file:
        with tarfile.open(fileobj=file, mode="w") as archive:
            for name in _TRAVELS:
                if (folder.path / name).is_dir():
                    archive.add(folder.path / name, name)
        file.flush()
        return os.dup(file.fileno())


def make_pool(
    folder: RunFolder,
    record: RunRecord,
    keep_rows: Callable[[bytes], tuple[int, int]],
    fork_servers: ForkServerCache | None = None,  # noqa: ARG001 - a Dask worker adopts no orphans
) -> DaskPool:
    """Make the pool of a run."""
    return DaskPool(folder, record, keep_rows)
