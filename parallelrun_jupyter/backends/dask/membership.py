"""Who of the cluster takes part in a run: nodes that come, are paused, leave, and are lost."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from math import ceil
from typing import Any

from ...engine.scheduling import signals
from ...engine.scheduling.signals import Signal
from ...errors import ConfigError, ParallelRunError
from ...formatting import plural
from ...worker.child_loop import traceback_text
from .cluster import ASK_S, Cluster, can_reach, refusals
from .mailbox import Mailbag
from .node import Command, NodeSpec
from .node_client import NodeClient

_log = logging.getLogger(__name__)

CENSUS_S = 1.0
FIRST_CONNECT_S = 30.0
RETIRED_S = 60.0
"""A Dask worker that was to be retired is left alone for so long; its cluster wants it to go."""

_LONELY_S = 20.0
_RETRY_S = 1.0
_MESSAGES_PER_S = 2000
_LINGER_S = 0.005
_LONGEST_LINGER_S = 0.25
_BACK_OFF_S = (1.0, 2.0, 5.0, 15.0, 60.0)


@dataclass(frozen=True, slots=True)
class ClusterLimits:
    """What a run wants of its cluster: at most ``nodes`` (0: all), with ``slots`` each (or more)."""

    run_id: str
    nodes: int
    slots: int
    scheduler_timeout_s: float


class Membership:
    """Keeps one `NodeClient` for each Dask worker that takes part; it all runs in one event loop.

    Parameters
    ----------
    cluster
        Where they are.
    terms
        What the run wants.
    snapshot
        Descriptor of the archive that every node gets.
    order
        Makes what a node is begun with.
    deliver
        Takes a node's news, by its name; the awaitable is done when there is room for more.
    say
        Takes a signal that no node says.
    store_tails, bring_written
        Bring the ends of a node's logs, and at its end the files that its script has written.
    """

    def __init__(
        self,
        cluster: Cluster,
        terms: ClusterLimits,
        *,
        snapshot: int,
        order: Callable[[], NodeSpec],
        deliver: Callable[[str, Mailbag], Awaitable[None]],
        say: Callable[[Signal], None],
        store_tails: Callable[[NodeClient], Awaitable[None]],
        bring_written: Callable[[NodeClient], Awaitable[None]],
    ) -> None:
        self._cluster = cluster
        self._terms = terms
        self._snapshot = snapshot
        self._order = order
        self._deliver = deliver
        self._say = say
        self._store_tails = store_tails
        self._bring_written = bring_written
        self._client: Any = None
        self._links: dict[str, NodeClient] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._losses: set[asyncio.Task[None]] = set()
        self._numbers = 0
        self._refused: dict[str, str] = {}
        self._checked: set[str] = set()
        self._not_before: dict[str, float] = {}
        self._failures: dict[str, int] = {}
        self._stopping: bool | None = None
        self._has_joined = False
        self._began = time.monotonic()
        self._said_lonely = False
        self.mini_batches_left = 0

    # What the driver says

    def tell(self, name: str, commands: list[Command]) -> None:
        """Pass commands on to a node, where it is still there."""
        for link in self._links.values():
            if link.name == name:
                link.send(commands)

    def stop(self, *, drain: bool) -> None:
        """Stop all nodes, and let no more begin."""
        self._stopping = drain
        for address, link in list(self._links.items()):
            if link.has_begun:
                link.send([("stop", drain)])
            else:
                self._tasks[address].cancel()

    def pause(self) -> None:
        """Let all nodes finish what runs, and give back the rest."""
        for link in self._links.values():
            if link.has_begun:
                link.send([("pause",)])

    async def bring_logs(self) -> None:
        """Bring what is new in the logs of all nodes."""
        links = [link for link in self._links.values() if link.has_begun]
        await asyncio.gather(*map(self._store_tails, links), return_exceptions=True)

    # Their course

    async def run(self) -> None:
        """Take part until cancelled; a cluster that cannot be had is said, and ends it."""
        try:
            await self._cluster.open()
            await self._connect(FIRST_CONNECT_S)
        except ParallelRunError as error:
            cause = error.__cause__
            trace = "" if cause is None else traceback_text(cause)
            self._say(signals.PoolLost(str(error), is_resumable=False, traceback=trace))
            return
        except (OSError, ValueError, asyncio.TimeoutError) as error:
            said = f"{type(error).__name__}: {error}" if str(error) else "no answer"
            text = (
                f"no Dask scheduler answers at {self._cluster.name} ({said}). Is it "
                "running, and is this the address that it prints? run.resume() tries again"
            )
            self._say(signals.PoolLost(text, is_resumable=False))
            return
        while True:
            try:
                await self._cluster.want(ceil(self.mini_batches_left / self._terms.slots))
                await asyncio.wait_for(self._census(), 3 * ASK_S)
            except (OSError, asyncio.TimeoutError) as error:
                _log.warning("the scheduler does not answer: %r", error)
                if not await self._wait_for_scheduler():
                    return
            await asyncio.sleep(self._census_pause_s())

    def _census_pause_s(self) -> float:
        """Return how long to wait: a scheduler of many workers is asked less often."""
        return CENSUS_S + len(self._links) / 100

    async def _connect(self, timeout_s: float) -> None:
        self._client = await self._cluster.connect(timeout_s)
        self._client.subscribe_topic("all", self._on_cluster_event)

    async def _wait_for_scheduler(self) -> bool:
        """Wait for a lost scheduler; return whether it is back."""
        limit_s = self._terms.scheduler_timeout_s
        name = self._cluster.name
        text = f"the Dask scheduler at {name} was lost; it is waited for, up to {limit_s:g} s"
        self._say(signals.Warned(text))
        await self._drop_all(f"the Dask scheduler at {name} was lost")
        until = time.monotonic() + limit_s
        while time.monotonic() < until:
            try:
                await self._connect(min(ASK_S, limit_s))
            except (OSError, ValueError, asyncio.TimeoutError):
                await asyncio.sleep(_RETRY_S)
            else:
                self._say(signals.Warned(f"the Dask scheduler at {name} is back"))
                self._began = time.monotonic()
                return True
        reason = (
            f"the Dask scheduler at {name} was lost and did not come back within {limit_s:g} s; "
            "run.resume() goes on when it is there, and run.resume(compute=...) on another cluster"
        )
        self._say(signals.PoolLost(reason, is_resumable=True))
        return False

    async def _drop_all(self, reason: str) -> None:
        """Take leave of all nodes: they are not to blame."""
        for address, link in list(self._links.items()):
            task = self._tasks.pop(address)
            del self._links[address]
            task.cancel()
            if link.has_begun:
                self._say(signals.NodeGone(link.name, reason, blames=False))
        self._refused.clear()
        self._checked.clear()
        await self._cluster.disconnect()

    async def _census(self) -> None:
        """Look who is there; begin nodes on those that are new."""
        workers = await self._cluster.workers()
        for address in [a for a in self._links if a not in workers]:
            self._lose(address, "it has left the cluster")
        if self._stopping is not None:
            return
        now = time.monotonic()
        free = [
            address
            for address, row in sorted(workers.items(), key=lambda item: str(item[1].get("name")))
            if row["status"] == "running"
            and address not in self._links
            and now >= self._not_before.get(address, 0)
        ]
        if self._terms.nodes:
            free = free[: max(0, self._terms.nodes - len(self._links))]
        for address in await self._usable(free):
            self._begin(address)
        self._say_if_lonely(workers)

    async def _usable(self, addresses: list[str]) -> list[str]:
        """Leave out Dask workers that have not the same version as the driver."""
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
            self._say(signals.Warned(why))

    def _say_if_lonely(self, workers: Mapping[str, Any]) -> None:
        """End a run that no Dask worker can take; say of one that has none yet that it waits."""
        if self._links or self._has_joined:
            return
        refused = [self._refused[address] for address in workers if address in self._refused]
        if refused and len(refused) == len(workers):
            more = f" ({plural(len(refused), 'Dask worker')} in all)" if len(refused) > 1 else ""
            self._say(signals.PoolLost(refused[0] + more, is_resumable=False))
            self._stopping = False
        elif not self._said_lonely and time.monotonic() - self._began > _LONELY_S:
            self._said_lonely = True
            self._say(
                signals.Warned(
                    f"the Dask cluster at {self._cluster.name} has no worker that is free for this "
                    f"run yet ({len(workers)} connected, {len(refused)} not usable); it is waited for"
                )
            )

    # One node

    def _begin(self, address: str) -> None:
        name = f"n{self._numbers}"
        self._numbers += 1
        key = f"parallelrun-{self._terms.run_id}-{name}"
        link = NodeClient(self._client, address, name, key)
        self._links[address] = link
        task = asyncio.create_task(self._serve(link))
        self._tasks[address] = task
        task.add_done_callback(lambda done: self._ended(link, done))

    async def _serve(self, link: NodeClient) -> None:
        place = await link.begin(self._snapshot, self._order())
        self._has_joined = True
        self._failures.pop(link.address, None)
        self._say(signals.NodeConnected(link.name, place))
        if self._stopping is not None:
            link.send([("stop", self._stopping)])
        else:
            self._client.subscribe_topic(link.address, lambda e: self._on_status(link, e[1]))

        async def deliver(news: Mailbag) -> None:
            if link.has_stopped:
                await asyncio.gather(self._store_tails(link), return_exceptions=True)
                await self._bring_written(link)
            await self._deliver(link.name, news)

        await link.serve(deliver, self._linger_s)

    def _linger_s(self) -> float:
        """Return how long a node's news gather: a driver hears some two thousand messages a second."""
        return min(max(_LINGER_S, len(self._links) / _MESSAGES_PER_S), _LONGEST_LINGER_S)

    def _ended(self, link: NodeClient, task: asyncio.Task[None]) -> None:
        """Take note of a link's end: it has stopped, or its node is lost."""
        if self._links.get(link.address) is not link:
            link.release()  # it was dropped before
            return
        error = None if task.cancelled() else task.exception()
        if error is None:
            self._forget(link)
            if link.is_leaving:
                reason = f"the Dask worker {link.address} is being retired"
                self._not_before[link.address] = time.monotonic() + RETIRED_S
                self._say(signals.NodeGone(link.name, reason, blames=False))
            return
        if isinstance(error, ConfigError):
            self._forget(link)
            self._refuse(link.address, str(error))
            return
        _log.warning("node %s on %s is lost: %r", link.name, link.address, error)
        if link.crash:
            reason, trace = link.crash
            text = f"node {link.name} on {link.address} failed, and is started again: {reason}"
            self._say(signals.Warned(text, trace))
            self._lose(link.address, f"the node failed: {reason}")
            return
        self._lose(link.address, f"no connection to it ({type(error).__name__})")

    def _forget(self, link: NodeClient) -> None:
        link.release()
        self._links.pop(link.address, None)
        self._tasks.pop(link.address, None)

    def _lose(self, address: str, why: str) -> None:
        """Take leave of a lost node, and of its Dask worker for a while."""
        link, task = self._links.pop(address), self._tasks.pop(address)
        task.cancel()
        link.release()
        count = self._failures.get(address, 0)
        self._failures[address] = count + 1
        pause_s = _BACK_OFF_S[min(count, len(_BACK_OFF_S) - 1)]
        self._not_before[address] = time.monotonic() + pause_s
        if link.has_begun:
            reason = f"the Dask worker {address} is gone: {why}"
            blames = not (link.is_leaving or link.is_paused)
            task = asyncio.create_task(self._tell_loss(link, reason, blames=blames))
            self._losses.add(task)  # the event loop itself would let it be collected
            task.add_done_callback(self._losses.discard)

    async def _tell_loss(self, link: NodeClient, reason: str, *, blames: bool) -> None:
        """Say that a node is lost; where the scheduler is lost as well, that is to blame."""
        if blames:
            try:
                await asyncio.wait_for(self._client.scheduler.identity(n_workers=0), ASK_S)
            except (OSError, asyncio.TimeoutError):
                blames = False
        self._say(signals.NodeGone(link.name, reason, blames=blames))

    # What the cluster says

    def _on_status(self, link: NodeClient, event: Mapping[str, Any]) -> None:
        """Follow a Dask worker that is paused, goes on, or is about to be retired."""
        if event.get("action") != "worker-status-change" or link.has_stopped:
            return
        status = event.get("status")
        if status == "closing_gracefully":
            self._leave(link)
        elif status == "paused" and not link.is_paused:
            link.is_paused = True
            link.send([("pause",)])
            self._say(signals.Warned(f"the Dask worker {link.address} is paused: it gets no more"))
        elif status == "running" and link.is_paused and not link.is_leaving:
            link.is_paused = False
            link.send([("unpause",)])

    def _leave(self, link: NodeClient) -> None:
        if not link.is_leaving:
            link.is_leaving = True
            link.send([("leave",)])

    def _on_cluster_event(self, timed: tuple[float, Mapping[str, Any]]) -> None:
        """See at once who has left the cluster as it was meant to, or cannot for our actor's sake."""
        event = timed[1]
        if event.get("action") == "remove-worker":
            link = self._links.get(str(event.get("worker")))
            if link is not None:
                link.is_leaving = link.is_leaving or bool(event.get("expected"))
                self._lose(link.address, "it has left the cluster")
        elif event.get("action") == "retire-workers":
            for address in event.get("could-not-retire", ()):
                if address in self._links:
                    self._leave(self._links[address])

    async def close(self) -> None:
        """End what is still there."""
        tasks = list(self._tasks.values())
        stopped = [
            task for address, task in self._tasks.items() if self._links[address].has_stopped
        ]
        if stopped:
            await asyncio.wait(stopped, timeout=_RETRY_S)
        links = list(self._links.values())
        await asyncio.gather(*(link.end() for link in links), return_exceptions=True)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._cluster.close()
