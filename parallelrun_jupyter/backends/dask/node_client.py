"""The driver's end of one node: it begins it, passes commands on, and listens."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ...engine.scheduling.signals import NodeStopped
from ...files import replacing
from .mailbox import Mailbag
from .node import HEARTBEAT_S, Command, DaskNode, NodeCrash, NodeSpec, Tail

SILENCE_S = 15.0
"""A node that has said nothing for so long is lost: it says something every two seconds."""

_PIECE_BYTES = 4 << 20
_HALT_S = 5.0

_letting_go: set[asyncio.Future[Any]] = set()
"""Actors that are being let go; the event loop itself would let these tasks be collected."""


class NodeClient:
    """A node on one Dask worker, from its beginning to its end.

    Parameters
    ----------
    client
        An asynchronous client of the cluster.
    address
        The Dask worker.
    name
        The node's name.
    key
        The actor's name in the cluster.
    """

    def __init__(self, client: Any, address: str, name: str, key: str) -> None:
        self._client = client
        self.address = address
        self.name = name
        self._key = key
        self._future: Any = None
        self._letting_go: asyncio.Future[Any] | None = None
        self._actor: Any = None
        self._commands: list[Command] = []
        self._bell = asyncio.Event()
        self._known: dict[str, int] = {}
        self.has_begun = False
        self.has_stopped = False
        self.is_leaving = False
        self.is_paused = False
        #: the error that has ended the node, and its traceback
        self.crash: tuple[str, str] | None = None

    async def begin(self, snapshot: int, order: NodeSpec) -> str:
        """Start the node, and return where it is; the snapshot is a descriptor of its archive.

        Raises
        ------
        ConfigError
            The node cannot run there.
        OSError, RuntimeError, asyncio.TimeoutError
            The Dask worker is lost.
        """
        self._future = self._client.submit(
            DaskNode, self.name, actor=True, key=self._key, workers=[self.address],
            allow_other_workers=False, retries=0,
        )  # fmt: skip
        self._actor = await self._future  # waits until the Dask worker has a thread for it
        offset = 0
        while piece := os.pread(snapshot, _PIECE_BYTES, offset):
            await self._call(self._actor.load, piece)
            offset += len(piece)
        place: str = await self._call(self._actor.begin, order)
        self.has_begun = True
        return place

    async def serve(self, deliver: Callable[[Mailbag], Any], linger_s: Callable[[], float]) -> None:
        """Pass on what the node says, until it has stopped; ``deliver`` waits until it is taken.

        ``linger_s`` says how long its news are to gather.

        Raises
        ------
        OSError, RuntimeError, asyncio.TimeoutError
            The node is lost.
        """
        telling = asyncio.create_task(self._tell())
        try:
            while not self.has_stopped:
                hearing = asyncio.create_task(self._call(self._actor.listen, linger_s()))
                await asyncio.wait({hearing, telling}, return_when=asyncio.FIRST_COMPLETED)
                if telling.done():
                    hearing.cancel()
                    telling.result()
                try:
                    news = await hearing
                except NodeCrash as error:
                    self.crash = (str(error.args[0]), str(error.args[1]))
                    raise
                self.has_stopped = any(isinstance(s, NodeStopped) for s in news.signals)
                await deliver(news)
        finally:
            telling.cancel()

    def send(self, commands: Sequence[Command]) -> None:
        """Pass commands on, in order, as soon as the node takes them."""
        self._commands.extend(commands)
        self._bell.set()

    async def _tell(self) -> None:
        while True:
            await self._bell.wait()
            self._bell.clear()
            commands, self._commands = self._commands, []
            if commands:
                await self._call(self._actor.tell, commands)

    async def tails(self) -> list[Tail]:
        """Return what is new in the logs of its workers."""
        found: list[Tail] = await self._call(self._actor.tails, self._known)
        return found

    def note(self, tail: Tail) -> int:
        """Note that a tail was stored; return how many bytes before it were left out."""
        skipped = tail.start - self._known.get(tail.worker, 0)
        self._known[tail.worker] = tail.start + len(tail.text)
        return skipped

    async def bring_written(self, target: Path) -> int:
        """Copy what the script has written there, and nobody else sees, below a folder here.

        Returns
        -------
        int
            The number of files.

        Raises
        ------
        OSError
            The node is lost, or a file cannot be written here.
        """
        found: list[tuple[str, int]] = await self._call(self._actor.written)
        for name, size_bytes in found:
            path = target / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(path, owner=self.name) as temporary:
                await self._bring_file(name, size_bytes, temporary)
        return len(found)

    async def _bring_file(self, name: str, size_bytes: int, path: Path) -> None:
        with await asyncio.to_thread(open, path, "wb") as file:
            while file.tell() < size_bytes:
                words = (name, file.tell(), _PIECE_BYTES)
                piece = await self._call(self._actor.read_written, *words)
                if not piece:
                    break  # it was cut off meanwhile: what is there is brought
                await asyncio.to_thread(file.write, piece)

    async def end(self) -> None:
        """End the node at once, where it is still there, and let the actor go."""
        if self._actor is not None and not self.has_stopped:
            try:
                await asyncio.wait_for(self._call(self._actor.halt), _HALT_S)
            except (OSError, RuntimeError, KeyError, asyncio.TimeoutError):
                pass  # it is gone, or ends by itself when nobody listens
        self.release()
        if self._letting_go is not None:
            await asyncio.wait({self._letting_go}, timeout=_HALT_S)

    def release(self) -> None:
        """Let the actor go: the Dask worker forgets it."""
        self._actor = None
        future, self._future = self._future, None
        if future is not None and self._client.status == "running":
            # Released alone, it would live on until the last proxy of it is collected.
            self._letting_go = asyncio.ensure_future(self._client.cancel([future], force=True))
            _letting_go.add(self._letting_go)  # it outlives this link, which nobody holds any more
            self._letting_go.add_done_callback(_letting_go.discard)

    async def _call(self, method: Callable[..., Any], *arguments: Any) -> Any:
        async def call() -> Any:
            return await method(*arguments)

        return await asyncio.wait_for(call(), SILENCE_S + HEARTBEAT_S)
