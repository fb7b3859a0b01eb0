"""A fork server: imports the script's modules once, then forks workers that share them.

A node starts it as ``python <this folder> fork_server SOCKET MODULE ...``. Messages are JSON lines.
The fork server sends ``["ready", [modules that could not be imported]]`` once. For each worker the
node sends ``["fork", {variable: text or null, ...}]`` with six descriptors: the four of a worker, its
standard output and its standard error. The reply is ``["forked", pid]``; the worker is then a child
of the node's process, like one that was started directly. The fork server ends when the node closes
the socket. The other side is ``engine/node/fork_server.py``.
"""

from __future__ import annotations

import array
import gc
import importlib
import json
import os
import socket
import sys
import time

from .child_loop import set_death_signal
from .protocol import encode

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing is not worth its import in a worker
    from typing import Any

DESCRIPTORS = 6
_ADOPTION_S = 5.0


class ForkServer:
    """Serves one node over a socket."""

    def __init__(self, node: socket.socket) -> None:
        self._node = node
        self._parent = os.getppid()
        self._buffer = b""
        self._fds: list[int] = []

    def serve(self, names: list[str]) -> list[int] | None:
        """Import modules, then fork workers until the node closes the socket.

        Returns
        -------
        list or None
            In a forked worker its four descriptors; in the fork server None.
        """
        failed = []
        gc.disable()  # see `gc_free_imports`
        for name in names:
            try:
                importlib.import_module(name)
            except BaseException:  # user code; the script's own import will report it
                failed.append(name)
        # What every worker imports of its own package; those of functions import the others, too.
        from . import function_script, memory_items, serve, uses  # noqa: F401

        gc.freeze()  # a collection in a worker would touch, and so copy, every page
        gc.enable()
        self._send(["ready", failed])
        while True:
            line = self._read()
            if not line:
                return None
            fds, self._fds = self._fds[:DESCRIPTORS], self._fds[DESCRIPTORS:]
            if self._fork():
                self._become_worker(fds, json.loads(line.decode("ascii"))[1])
                return fds[:4]
            for fd in fds:
                os.close(fd)

    def _fork(self) -> bool:
        """Fork a worker that becomes a child of the node's process; return whether this is the worker."""
        pid_out, pid_in = os.pipe()
        middle = os.fork()
        if middle == 0:
            try:
                is_middle = os.fork() > 0
            except OSError:
                os._exit(71)  # no more processes: the pipe stays empty
            if is_middle:
                os._exit(0)  # its child is adopted by the node's process
            os.setsid()  # first: the node may kill the group as soon as it has the process id
            os.write(pid_in, b"%d" % os.getpid())
            os.close(pid_out)
            os.close(pid_in)
            return True
        os.close(pid_in)
        text = os.read(pid_out, 20)
        os.close(pid_out)
        _, status = os.waitpid(middle, 0)
        if not text:
            raise RuntimeError("no worker could be forked (status %d)" % status)
        self._send(["forked", int(text)])
        return False

    def _become_worker(self, fds: list[int], changes: dict[str, Any]) -> None:
        self._node.close()
        until = time.monotonic() + _ADOPTION_S
        while os.getppid() != self._parent:
            if time.monotonic() > until:
                os._exit(70)
            time.sleep(0.0002)
        null = os.open(os.devnull, os.O_RDONLY)
        for fd, place in ((null, 0), (fds[4], 1), (fds[5], 2)):
            os.dup2(fd, place)
            os.close(fd)
        for name, text in changes.items():
            if text is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = text
        numpy = sys.modules.get("numpy")
        if numpy is not None:  # Python's own random module reseeds itself after a fork
            numpy.random.seed()

    def _read(self) -> bytes:
        """Return the next line and store its descriptors; b"" at the end of the stream."""
        while b"\n" not in self._buffer:
            room = socket.CMSG_SPACE(DESCRIPTORS * array.array("i").itemsize)
            data, extra, _, _ = self._node.recvmsg(1 << 16, room)
            for level, kind, body in extra:
                if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                    fds = array.array("i")
                    fds.frombytes(body[: len(body) - len(body) % fds.itemsize])
                    self._fds.extend(fds)
            if not data:
                return b""
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line

    def _send(self, message: list[Any]) -> None:
        self._node.sendall(encode(message))


def main(words: list[str]) -> list[int] | None:
    """Run a fork server; return the descriptors of the worker that this process has become, if any."""
    parent = os.getppid()
    set_death_signal()
    if parent == 1:
        return None
    node = socket.socket(fileno=int(words[0]))
    os.set_inheritable(node.fileno(), False)  # noqa: FBT003 - processes that modules start must not hold it
    try:
        return ForkServer(node).serve(words[1:])
    except ConnectionError:
        return None  # the node's process has ended
