"""A proxy before a store that delays, cuts and refuses requests."""

from __future__ import annotations

import http.client
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

Fate = Literal["pass", "cut", "half", "403", "503", "stall", "slow"]
"""The fate of a request: it passes; the connection is cut before or within the response; the store
refuses or is busy; no response ever comes; it takes 0.1 s more."""

Rule = Callable[[str, str, int], Fate]
"""Tells the fate of a request from its method, its path, and how often that path was asked for."""


class BadNetwork:
    """Listens on a port of the system's and passes on to a store on loopback.

    Parameters
    ----------
    port
        The store's.
    rule
        The fate of each request; it may be changed at any time.
    """

    def __init__(self, port: int, rule: Rule) -> None:
        self.rule = rule
        self.asked: Counter[str] = Counter()
        self.is_closed = threading.Event()
        handler = type("Handler", (_Handler,), {"network": self, "store": port})
        self._server = _Server(("127.0.0.1", 0), handler)
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}/{{account}}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def close(self) -> None:
        self.is_closed.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print nothing: connections end badly here on purpose."""


class _Handler(BaseHTTPRequestHandler):
    network: BadNetwork
    store: int
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_: Any) -> None:
        pass

    def _handle(self) -> None:
        path = (
            self.path.partition("?")[0]
            if self.command != "GET" or "comp=" not in self.path
            else "list"
        )
        network = self.network
        network.asked[f"{self.command} {path}"] += 1
        fate = network.rule(self.command, path, network.asked[f"{self.command} {path}"])
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if fate == "stall":
            network.is_closed.wait(60)
        if fate in {"cut", "stall"}:
            self._cut()
            return
        if fate == "slow":
            time.sleep(0.1)
        if fate in {"403", "503"}:
            self.send_response(int(fate))
            self.send_header("Content-Length", "0")
            code = "AuthenticationFailed" if fate == "403" else "ServerBusy"
            self.send_header("x-ms-error-code", code)
            self.end_headers()
            return
        self._pass_on(body, half=fate == "half")

    def _pass_on(self, body: bytes, *, half: bool) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.store)
        try:
            connection.request(self.command, self.path, body, dict(self.headers.items()))
            answer = connection.getresponse()
            data = answer.read()
        finally:
            connection.close()
        self.send_response_only(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in {"transfer-encoding", "connection", "content-length"}:
                self.send_header(name, value)
        if self.command == "HEAD":
            self.send_header("Content-Length", answer.getheader("Content-Length") or "0")
        else:
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data[: len(data) // 2] if half else data)
        if half:
            self._cut()

    def _cut(self) -> None:
        self.wfile.flush()
        self.close_connection = True
        try:
            self.connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

    def __getattr__(self, name: str) -> Any:
        if name in {"do_GET", "do_PUT", "do_HEAD", "do_DELETE", "do_POST"}:
            return self._handle
        raise AttributeError(name)
