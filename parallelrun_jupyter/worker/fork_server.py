"""A template: a process with the script's imports done, which forks workers that have them too.

``python <this folder> template SOCKET MODULE ...``, from a node's process. Messages are JSON lines.
The template says ``["ready", [modules that could not be imported]]`` once. For each worker the node
sends ``["fork", {variable: text or null, ...}]`` and six descriptors with it: those of a worker, then
its standard output and error. The answer is ``["forked", pid]``; the worker is by then a child of the
node's process, as one that was started plainly. At the end of the stream the template ends.
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

from .parent import set_death_signal

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing is not worth its import in a worker
    from typing import Any

DESCRIPTORS = 6
_ADOPTION_S = 5.0


class ForkServer:
    """Serves one node's process over a socket."""

    def __init__(self, node: socket.socket) -> None:
        self._node = node
        self._parent = os.getppid()
        self._buffer = b""
        self._fds: list[int] = []

    def serve(self, names: list[str]) -> list[int] | None:
        """Import modules, then fork until told to end.

        Returns
        -------
        list or None
            In a forked worker its four descriptors; in the template, at the end, nothing.
        """
        failed = []
        gc.disable()  # as `gc_free_imports` says
        for name in names:
            try:
                importlib.import_module(name)
            except BaseException:  # code of others; the script's own import will say it
                failed.append(name)
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
        """Fork a worker that has the node's process as its parent; say whether this is the worker."""
        told, pen = os.pipe()
        between = os.fork()
        if between == 0:
            try:
                is_between = os.fork() > 0
            except OSError:
                os._exit(71)  # no more processes: the pipe stays empty
            if is_between:
                os._exit(0)  # its child goes to the nearest process that takes in orphans
            os.setsid()  # first: the node may end the group as soon as it has the number
            os.write(pen, b"%d" % os.getpid())
            os.close(told)
            os.close(pen)
            return True
        os.close(pen)
        number = os.read(told, 20)
        os.close(told)
        _, status = os.waitpid(between, 0)
        if not number:
            raise RuntimeError("no worker could be forked (status %d)" % status)
        self._send(["forked", int(number)])
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
        if numpy is not None:  # random has its own way to differ from fork to fork
            numpy.random.seed()

    def _read(self) -> bytes:
        """Return the next line, its descriptors kept; nothing at the end of the stream."""
        while b"\n" not in self._buffer:
            room = socket.CMSG_SPACE(DESCRIPTORS * array.array("i").itemsize)
            data, extra, _, _ = self._node.recvmsg(1 << 16, room)
            for level, kind, body in extra:
                if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                    found = array.array("i")
                    found.frombytes(body[: len(body) - len(body) % found.itemsize])
                    self._fds.extend(found)
            if not data:
                return b""
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line

    def _send(self, message: list[Any]) -> None:
        self._node.sendall(json.dumps(message).encode("ascii") + b"\n")


def main(words: list[str]) -> list[int] | None:
    """Be a template; return the descriptors of the worker that this has become, if it has."""
    parent = os.getppid()
    set_death_signal()
    if parent == 1:
        return None
    node = socket.socket(fileno=int(words[0]))
    os.set_inheritable(node.fileno(), False)  # noqa: FBT003 - what modules start must not hold it
    try:
        return ForkServer(node).serve(words[1:])
    except ConnectionError:
        return None  # the node's process is gone
