"""The driver's end of one node: it starts the node, sends commands, and receives messages."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ...engine.scheduling.signals import NodeStopped
from ...files import replacing
from ...runs.run_folder import RunFolder
from .commands import Command, shifted
from .mailbox import Message
from .node import HEARTBEAT_S, DaskNode, NodeCrash, NodeSpec, Tail

SILENCE_S = 15.0
"""Seconds of silence after which a node is lost: it sends a message every two seconds."""

_PIECE_BYTES = 4 << 20
_HALT_S = 5.0

_releases: set[asyncio.Future[Any]] = set()
"""Running releases of actors: the event loop holds weak references only."""


class NodeClient:
    """A node on one Dask worker, from its start to its end.

    Parameters
    ----------
    client
        An asynchronous client of the cluster.
    address
        The address of the Dask worker.
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
        self._release: asyncio.Future[Any] | None = None
        self._actor: Any = None
        self._commands: list[Command] = []
        self._has_commands = asyncio.Event()
        #: worker -> the bytes of its log that were fetched
        self._log_ends: dict[str, int] = {}
        #: the name that the cluster has given its Dask worker
        self.worker = ""
        self.has_begun = False
        self.has_stopped = False
        self.is_leaving = False
        self.is_paused = False
        #: whether it had nothing to do when it sent its last message, and got nothing since
        self.is_idle = False
        #: the error that has ended the node, and its traceback
        self.crash: tuple[str, str] | None = None

    @property
    def is_spare(self) -> bool:
        """Whether the node has nothing to do, or is leaving already."""
        return self.is_leaving or (self.has_begun and self.is_idle)

    async def begin(self, snapshot: int, spec: NodeSpec) -> str:
        """Start the node; return a description of its location, for display.

        Parameters
        ----------
        snapshot
            The descriptor of the archive that the node unpacks.
        spec
            The run, and the node's part in it.

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
        if spec.data and not await self._call(self._actor.sees, spec):
            await self._send_data(spec)
        place: str = await self._call(self._actor.begin, spec)
        self.has_begun = True
        return place

    async def _send_data(self, spec: NodeSpec) -> None:
        """Send the values of variables to a machine that does not see the run folder."""
        folder = RunFolder(Path(spec.run_folder)).data
        for data_file in spec.data:
            with await asyncio.to_thread(open, folder / data_file.name, "rb") as file:
                while piece := await asyncio.to_thread(file.read, _PIECE_BYTES):
                    await self._call(self._actor.load_data, data_file.name, piece)

    async def serve(self, deliver: Callable[[Message], Any], linger_s: Callable[[], float]) -> None:
        """Receive the node's messages until it has stopped.

        Parameters
        ----------
        deliver
            Receives a message; the next one is requested once its awaitable is done.
        linger_s
            Returns the number of seconds for which the node batches its signals.

        Raises
        ------
        OSError, RuntimeError, asyncio.TimeoutError
            The node is lost.
        """
        sending = asyncio.create_task(self._send_commands())
        try:
            while not self.has_stopped:
                receiving = asyncio.create_task(self._call(self._actor.listen, linger_s()))
                await asyncio.wait({receiving, sending}, return_when=asyncio.FIRST_COMPLETED)
                if sending.done():
                    receiving.cancel()
                    sending.result()
                try:
                    message = await receiving
                except NodeCrash as error:
                    self.crash = (str(error.args[0]), str(error.args[1]))
                    raise
                self.has_stopped = any(isinstance(s, NodeStopped) for s in message.signals)
                self.is_idle = message.is_idle and not self._commands
                await deliver(message)
        finally:
            sending.cancel()

    def send(self, commands: Sequence[Command]) -> None:
        """Queue commands for the node, in order."""
        self.is_idle = False
        self._commands.extend(commands)
        self._has_commands.set()

    async def _send_commands(self) -> None:
        while True:
            await self._has_commands.wait()
            self._has_commands.clear()
            commands, self._commands = self._commands, []
            if commands:
                commands = shifted(commands, -time.monotonic() * 1000)
                await self._call(self._actor.execute, commands)

    async def tails(self) -> list[Tail]:
        """Return the new ends of the logs of its workers."""
        tails: list[Tail] = await self._call(self._actor.tails, self._log_ends)
        return tails

    def record_tail(self, tail: Tail) -> int:
        """Record that a tail was stored; return the number of bytes skipped before it."""
        skipped = tail.start - self._log_ends.get(tail.worker, 0)
        self._log_ends[tail.worker] = tail.start + len(tail.text)
        return skipped

    async def fetch_written(self, target: Path) -> int:
        """Copy the files that exist only on the node to a folder on this machine.

        Returns
        -------
        int
            The number of files.

        Raises
        ------
        OSError
            The node is lost, or a file cannot be written on this machine.
        """
        files: list[tuple[str, int]] = await self._call(self._actor.written)
        for name, size_bytes in files:
            path = target / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(path, owner=self.name) as temporary:
                await self._fetch_file(name, size_bytes, temporary)
        return len(files)

    async def _fetch_file(self, name: str, size_bytes: int, path: Path) -> None:
        with await asyncio.to_thread(open, path, "wb") as file:
            while file.tell() < size_bytes:
                piece = await self._call(self._actor.read_written, name, file.tell(), _PIECE_BYTES)
                if not piece:
                    break  # the file was truncated meanwhile
                await asyncio.to_thread(file.write, piece)

    async def end(self) -> None:
        """End the node immediately if it still runs, and release the actor."""
        if self._actor is not None and not self.has_stopped:
            try:
                await asyncio.wait_for(self._call(self._actor.halt), _HALT_S)
            except (OSError, RuntimeError, KeyError, asyncio.TimeoutError):
                pass  # it is lost, or shuts itself down when its lease expires
        self.release()
        if self._release is not None:
            await asyncio.wait({self._release}, timeout=_HALT_S)

    def release(self) -> None:
        """Release the actor: the Dask worker forgets it."""
        self._actor = None
        future, self._future = self._future, None
        if future is not None and self._client.status == "running":
            # A released future alone would keep the actor until its last proxy is collected.
            self._release = asyncio.ensure_future(self._client.cancel([future], force=True))
            _releases.add(self._release)  # it outlives this object
            self._release.add_done_callback(_releases.discard)

    async def _call(self, method: Callable[..., Any], *arguments: Any) -> Any:
        async def call() -> Any:
            return await method(*arguments)

        return await asyncio.wait_for(call(), SILENCE_S + HEARTBEAT_S)
