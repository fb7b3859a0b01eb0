"""The nodes of a run on a cluster: they join, are paused, leave, and are lost."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from typing import Any, Protocol

from ...engine.scheduling import signals
from ...engine.scheduling.signals import Signal
from ...errors import ConfigError, ParallelRunError
from ...formatting import plural
from ...worker.child_loop import traceback_text
from .cluster import ASK_S, Cluster, can_reach, refusals
from .commands import Command
from .mailbox import Message
from .node import NodeSpec
from .node_client import NodeClient

_log = logging.getLogger(__name__)

POLL_S = 1.0
FIRST_CONNECT_S = 30.0
RETIRED_S = 60.0
"""Seconds for which a retiring Dask worker gets no new node."""

_UNUSED_S = 20.0
_RETRY_S = 1.0
_MESSAGES_PER_S = 2000
_LINGER_S = 0.005
_LONGEST_LINGER_S = 0.25
_BACK_OFF_S = (1.0, 2.0, 5.0, 15.0, 60.0)


@dataclass(frozen=True, slots=True)
class ClusterLimits:
    """The share of a cluster: at most ``nodes`` (0: all), each with at least ``slots`` workers."""

    run_id: str
    nodes: int
    slots: int
    scheduler_timeout_s: float


class NodeEvents(Protocol):
    """Receives everything that nodes send, and provides their specification."""

    def node_spec(self) -> NodeSpec:
        """Return the specification of a node that starts now."""

    def post(self, signal: Signal) -> None:
        """Receive a signal about the cluster."""

    async def deliver(self, node: str, message: Message) -> None:
        """Receive a message from a node; return once the driver can accept the next one."""

    async def store_logs(self, node: NodeClient) -> None:
        """Fetch and store the new ends of the logs of a node's workers."""

    async def store_written(self, node: NodeClient) -> None:
        """Fetch the files that the script wrote on a node that has stopped."""


class Membership:
    """Keeps one `NodeClient` for each Dask worker of the run; everything runs in one event loop.

    Parameters
    ----------
    cluster
        The cluster.
    limits
        The run's share of the cluster.
    snapshot
        Descriptor of the archive that every node unpacks.
    events
        The receiver of messages and signals.
    """

    def __init__(
        self,
        cluster: Cluster,
        limits: ClusterLimits,
        *,
        snapshot: int,
        events: NodeEvents,
    ) -> None:
        self._cluster = cluster
        self._limits = limits
        self._snapshot = snapshot
        self._events = events
        self._client: Any = None
        self._nodes: dict[str, NodeClient] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        #: running reports of losses; the event loop holds weak references only
        self._reports: set[asyncio.Task[None]] = set()
        self._numbers = 0
        self._refused: dict[str, str] = {}
        self._checked: set[str] = set()
        self._usable_at: dict[str, float] = {}
        self._failures: dict[str, int] = {}
        #: whether a stop lets running mini-batches finish; None before a stop
        self._drains: bool | None = None
        self._has_joined = False
        self._unused_at = time.monotonic()
        self._has_warned = False
        self._upkeep: asyncio.Task[None] | None = None
        self._said: set[str] = set()
        self.mini_batches_left = 0

    # Commands of the driver

    def send(self, name: str, commands: list[Command]) -> None:
        """Send commands to a node; a lost node is ignored."""
        for node in self._nodes.values():
            if node.name == name:
                node.send(commands)

    def stop(self, *, drain: bool) -> None:
        """Stop all nodes, and start no more."""
        self._drains = drain
        for address, node in list(self._nodes.items()):
            if node.has_begun:
                node.send([("stop", drain)])
            else:
                self._tasks[address].cancel()

    def pause(self) -> None:
        """Let all nodes finish their running mini-batches and return the rest."""
        for node in self._nodes.values():
            if node.has_begun:
                node.send([("pause",)])

    async def fetch_logs(self) -> None:
        """Fetch the new ends of the logs of all nodes."""
        nodes = [node for node in self._nodes.values() if node.has_begun]
        await asyncio.gather(*map(self._events.store_logs, nodes), return_exceptions=True)

    # The cluster

    async def run(self) -> None:
        """Follow the cluster until canceled; an unusable cluster is reported, and ends it."""
        try:
            await self._cluster.open()
            await self._connect(FIRST_CONNECT_S)
        except ParallelRunError as error:
            cause = error.__cause__
            trace = "" if cause is None else traceback_text(cause)
            self._events.post(signals.PoolLost(str(error), is_resumable=False, traceback=trace))
            return
        except (OSError, ValueError, asyncio.TimeoutError) as error:
            cause_text = f"{type(error).__name__}: {error}" if str(error) else "no answer"
            text = (
                f"no Dask scheduler answers at {self._cluster.name} ({cause_text}). Is it "
                "running, and is this the address that it prints? Resume the run to try again"
            )
            self._events.post(signals.PoolLost(text, is_resumable=False))
            return
        while True:
            try:
                await self._scale()
                await asyncio.wait_for(self._poll(), 3 * ASK_S)
            except (OSError, asyncio.TimeoutError) as error:
                _log.warning("the scheduler does not answer: %r", error)
                if not await self._wait_for_scheduler():
                    return
            await asyncio.sleep(self._poll_pause_s())

    async def _scale(self) -> None:
        """Scale an adaptive cluster; it shrinks by the Dask workers whose nodes have nothing to do.

        Dask itself cannot tell which these are, and would close any: one whose node has left holds
        nothing, and is closed first.
        """
        # A run needs a node, also before anything is planned.
        nodes = max(1, ceil(self.mini_batches_left / self._limits.slots))
        size = self._cluster.size_for(nodes)
        if size is None or self._drains is not None:
            return
        surplus = len(self._nodes) - size
        if surplus > 0:
            for node in self._spare_nodes(surplus):
                self._leave(node)
            if any(node.is_leaving for node in self._nodes.values()):
                return  # the next poll goes on, once they have left
            size = len(self._nodes)  # the others work
        await self._cluster.resize(size)

    def _spare_nodes(self, most: int) -> list[NodeClient]:
        """Return nodes with nothing to do, together with all others of the same job of a queue."""
        groups: dict[str, list[NodeClient]] = {}
        for node in self._nodes.values():
            groups.setdefault(self._cluster.group_of(node.worker), []).append(node)
        spare: list[NodeClient] = []
        for group in groups.values():
            if len(spare) + len(group) <= most and all(node.is_spare for node in group):
                spare += group
        return spare

    def _poll_pause_s(self) -> float:
        """Return the seconds until the next poll: a scheduler of many workers is polled less often."""
        return POLL_S + len(self._nodes) / 100

    async def _connect(self, timeout_s: float) -> None:
        self._client = await self._cluster.connect(timeout_s)
        self._client.subscribe_topic("all", self._on_cluster_event)

    async def _wait_for_scheduler(self) -> bool:
        """Wait for a lost scheduler; return whether it is back."""
        limit_s = self._limits.scheduler_timeout_s
        name = self._cluster.name
        text = f"the Dask scheduler at {name} was lost; waiting for it, up to {limit_s:g} s"
        self._events.post(signals.Warned(text))
        await self._drop_all(f"the Dask scheduler at {name} was lost")
        until = time.monotonic() + limit_s
        while time.monotonic() < until:
            try:
                await self._connect(min(ASK_S, limit_s))
            except (OSError, ValueError, asyncio.TimeoutError):
                await asyncio.sleep(_RETRY_S)
            else:
                self._events.post(signals.Warned(f"the Dask scheduler at {name} is back"))
                self._unused_at = time.monotonic()
                return True
        reason = (
            f"the Dask scheduler at {name} was lost and did not come back within {limit_s:g} s; "
            "resume the run when it is back, or on another cluster with another compute"
        )
        self._events.post(signals.PoolLost(reason, is_resumable=True))
        return False

    async def _drop_all(self, reason: str) -> None:
        """Drop all nodes; their mini-batches are not suspected of the loss."""
        for address, node in list(self._nodes.items()):
            task = self._tasks.pop(address)
            del self._nodes[address]
            task.cancel()
            if node.has_begun:
                self._events.post(signals.NodeGone(node.name, reason, blames=False))
        self._refused.clear()
        self._checked.clear()
        await self._cluster.disconnect()

    async def _poll(self) -> None:
        """Compare the cluster's workers with the nodes; start nodes on new ones."""
        workers = await self._cluster.workers()
        for address in [a for a in self._nodes if a not in workers]:
            self._drop(address, "it has left the cluster")
        if self._drains is not None:
            return
        self._cluster.show_use()
        if self._upkeep is None or self._upkeep.done():
            names = [str(row.get("name")) for row in workers.values()]
            self._upkeep = asyncio.create_task(self._keep_up(names))
        now = time.monotonic()
        free = [
            address
            for address, row in sorted(workers.items(), key=lambda item: str(item[1].get("name")))
            if row["status"] == "running"
            and address not in self._nodes
            and now >= self._usable_at.get(address, 0)
        ]
        if self._limits.nodes:
            free = free[: max(0, self._limits.nodes - len(self._nodes))]
        for address in await self._usable(free):
            self._start(address, str(workers[address].get("name")))
        self._check_unused(workers)

    async def _keep_up(self, names: list[str]) -> None:
        """Let a created cluster start its workers again; if it has none and cannot, the run ends."""
        started, error = await self._cluster.keep_up(names)
        if started:
            self._warn_once(f"{', '.join(started)} of the cluster has ended, and is started again")
        if not error:
            return
        text = f"the cluster {self._cluster.name} cannot start its workers: {error}"
        if names or self._has_joined:
            self._warn_once(f"{text}. It tries again every 30 s")
        elif self._drains is None:
            reason = f"{text}. Resume the run to try again"
            self._events.post(signals.PoolLost(reason, is_resumable=False))
            self._drains = False

    def _warn_once(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            self._events.post(signals.Warned(text))

    async def _usable(self, addresses: list[str]) -> list[str]:
        """Return the Dask workers with the driver's version; warn once about each of the others."""
        new = [address for address in addresses if address not in self._checked]
        if new:
            if not self._checked and not await can_reach(new[0]):
                self._client.direct_to_workers = False
            for address, why in (await refusals(self._client, new)).items():
                self._refuse(address, why)
            self._checked.update(new)
        return [address for address in addresses if address not in self._refused]

    def _refuse(self, address: str, why: str) -> None:
        if address not in self._refused:
            self._refused[address] = why
            self._events.post(signals.Warned(why))

    def _check_unused(self, workers: Mapping[str, Any]) -> None:
        """End the run if no Dask worker is usable; warn once while it waits for one."""
        if self._nodes:
            self._unused_at, self._has_warned = time.monotonic(), False
            return
        refused = [self._refused[address] for address in workers if address in self._refused]
        if refused and len(refused) == len(workers) and not self._has_joined:
            more = f" ({plural(len(refused), 'Dask worker')} in all)" if len(refused) > 1 else ""
            self._events.post(signals.PoolLost(refused[0] + more, is_resumable=False))
            self._drains = False
        elif not self._has_warned and time.monotonic() - self._unused_at > _UNUSED_S:
            self._has_warned = True
            free = "any more" if self._has_joined else "yet"
            self._events.post(
                signals.Warned(
                    f"the Dask cluster at {self._cluster.name} has no worker that is free for this "
                    f"run {free} ({len(workers)} connected, {len(refused)} not usable); waiting for "
                    f"one{self._cluster.hint()}"
                )
            )

    # One node

    def _start(self, address: str, worker: str) -> None:
        name = f"n{self._numbers}"
        self._numbers += 1
        key = f"parallelrun-{self._limits.run_id}-{name}"
        node = NodeClient(self._client, address, name, key)
        node.worker = worker
        self._nodes[address] = node
        task = asyncio.create_task(self._serve(node))
        self._tasks[address] = task
        task.add_done_callback(lambda done: self._on_ended(node, done))

    async def _serve(self, node: NodeClient) -> None:
        place = await node.begin(self._snapshot, self._events.node_spec())
        self._has_joined = True
        self._failures.pop(node.address, None)
        self._events.post(signals.NodeConnected(node.name, place))
        if self._drains is not None:
            node.send([("stop", self._drains)])
        else:
            self._client.subscribe_topic(node.address, lambda e: self._on_status(node, e[1]))

        async def deliver(message: Message) -> None:
            if node.has_stopped:
                await asyncio.gather(self._events.store_logs(node), return_exceptions=True)
                await self._events.store_written(node)
            await self._events.deliver(node.name, message)

        await node.serve(deliver, self._linger_s)

    def _linger_s(self) -> float:
        """Return the seconds for which a node batches signals: the driver receives 2,000 messages a second."""
        return min(max(_LINGER_S, len(self._nodes) / _MESSAGES_PER_S), _LONGEST_LINGER_S)

    def _on_ended(self, node: NodeClient, task: asyncio.Task[None]) -> None:
        """Handle the end of a node's task: the node has stopped, or it is lost."""
        if self._nodes.get(node.address) is not node:
            node.release()  # dropped before
            return
        error = None if task.cancelled() else task.exception()
        if error is None:
            self._forget(node)
            if node.is_leaving:
                reason = f"the Dask worker {node.address} is being retired"
                self._usable_at[node.address] = time.monotonic() + RETIRED_S
                self._events.post(signals.NodeGone(node.name, reason, blames=False))
            return
        if isinstance(error, ConfigError):
            self._forget(node)
            self._refuse(node.address, str(error))
            return
        _log.warning("node %s on %s is lost: %r", node.name, node.address, error)
        if node.crash:
            reason, trace = node.crash
            text = f"node {node.name} on {node.address} failed, and is restarted: {reason}"
            self._events.post(signals.Warned(text, trace))
            self._drop(node.address, f"the node failed: {reason}")
            return
        self._drop(node.address, f"no connection to it ({type(error).__name__})")

    def _forget(self, node: NodeClient) -> None:
        node.release()
        self._nodes.pop(node.address, None)
        self._tasks.pop(node.address, None)

    def _drop(self, address: str, why: str) -> None:
        """Drop a lost node, and avoid its Dask worker for a while."""
        node, task = self._nodes.pop(address), self._tasks.pop(address)
        task.cancel()
        node.release()
        count = self._failures.get(address, 0)
        self._failures[address] = count + 1
        pause_s = _BACK_OFF_S[min(count, len(_BACK_OFF_S) - 1)]
        self._usable_at[address] = time.monotonic() + pause_s
        if node.has_begun:
            reason = f"the Dask worker {address}{self._cluster.job_of(node.worker)} is lost: {why}"
            blames = not (node.is_leaving or node.is_paused)
            task = asyncio.create_task(self._report_loss(node, reason, blames=blames))
            self._reports.add(task)
            task.add_done_callback(self._reports.discard)

    async def _report_loss(self, node: NodeClient, reason: str, *, blames: bool) -> None:
        """Report a lost node; if the scheduler is lost too, its mini-batches are not suspected."""
        if blames:
            try:
                await asyncio.wait_for(self._client.scheduler.identity(n_workers=0), ASK_S)
            except (OSError, asyncio.TimeoutError):
                blames = False
        self._events.post(signals.NodeGone(node.name, reason, blames=blames))

    # Events of the cluster

    def _on_status(self, node: NodeClient, event: Mapping[str, Any]) -> None:
        """Handle a Dask worker that is paused, resumed, or about to be retired."""
        if event.get("action") != "worker-status-change" or node.has_stopped:
            return
        status = event.get("status")
        if status == "closing_gracefully":
            self._leave(node)
        elif status == "paused" and not node.is_paused:
            node.is_paused = True
            node.send([("pause",)])
            self._events.post(
                signals.Warned(
                    f"the Dask worker {node.address} is paused: it receives no more work"
                )
            )
        elif status == "running" and node.is_paused and not node.is_leaving:
            node.is_paused = False
            node.send([("unpause",)])

    def _leave(self, node: NodeClient) -> None:
        if not node.is_leaving:
            node.is_leaving = True
            node.send([("leave",)])

    def _on_cluster_event(self, timed: tuple[float, Mapping[str, Any]]) -> None:
        """Handle workers that were removed as planned, or cannot be retired because of our actor."""
        event = timed[1]
        if event.get("action") == "remove-worker":
            node = self._nodes.get(str(event.get("worker")))
            if node is not None:
                node.is_leaving = node.is_leaving or bool(event.get("expected"))
                self._drop(node.address, "it has left the cluster")
        elif event.get("action") == "retire-workers":
            for address in event.get("could-not-retire", ()):
                if address in self._nodes:
                    self._leave(self._nodes[address])

    async def close(self) -> None:
        """End all nodes, and disconnect."""
        tasks = list(self._tasks.values())
        stopped = [
            task for address, task in self._tasks.items() if self._nodes[address].has_stopped
        ]
        if stopped:
            await asyncio.wait(stopped, timeout=_RETRY_S)
        if self._upkeep is not None:
            tasks.append(self._upkeep)
        nodes = list(self._nodes.values())
        await asyncio.gather(*(node.end() for node in nodes), return_exceptions=True)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._cluster.close()
