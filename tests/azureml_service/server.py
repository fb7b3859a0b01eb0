"""The service: HTTPS on loopback, Azurite behind it, and the proxy that leads its clients there."""

from __future__ import annotations

import http.client
import json
import re
import socket
import ssl
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from tests.azureml_service.answers import Answer, Request, Routes, not_found
from tests.azureml_service.ledger import Ledger
from tests.azureml_service.names import ACCOUNT, BLOB_HOST
from tests.azureml_service.script import Fault, Faults
from tests.azureml_service.tokens import is_valid

_HOP = {"transfer-encoding", "connection", "content-length", "keep-alive"}


_WITH_TOKEN = ("/subscriptions/", "/history/", "/data/")


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    allow_reuse_address = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print nothing: connections end badly here on purpose."""


class TlsServer(_Server):
    """Makes each connection a TLS one, in the thread of the connection.

    Parameters
    ----------
    port
        Its port, 0 for one of the system's.
    certificate, key
        Files.
    routes, faults, ledger
        Its answers, the faults, and the ledger of its requests.
    azurite_port
        Azurite's.
    """

    def __init__(
        self,
        port: int,
        certificate: tuple[Path, Path],
        routes: Routes,
        faults: Faults,
        ledger: Ledger,
        azurite_port: int,
    ) -> None:
        self.routes, self.faults, self.ledger = routes, faults, ledger
        self.azurite_port = azurite_port
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(*certificate)
        super().__init__(("127.0.0.1", port), _Handler)

    def get_request(self) -> tuple[Any, Any]:
        """Accept a connection; the handshake follows in its own thread."""
        connection, address = super().get_request()
        wrapped = self._context.wrap_socket(
            connection, server_side=True, do_handshake_on_connect=False
        )
        return wrapped, address


class _Handler(BaseHTTPRequestHandler):
    server: TlsServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = 120

    def log_message(self, *_: Any) -> None:
        pass

    def _handle(self) -> None:
        started = time.time()
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        asked = f"{self.command} {self.path}"
        is_control = self.path.startswith("/_control/")
        fault = None if is_control else self.server.faults.of(asked)
        if fault:
            time.sleep(fault.wait_s)
        if fault and (fault.cut == "before" or fault.status):
            status = self._fail(fault)
        else:
            status = self._pass(body, half=fault is not None and fault.cut == "within")
        if not is_control:
            host = self.headers.get("Host", "")
            self.server.ledger.add(started, self.command, host, self.path, status)

    def _fail(self, fault: Fault) -> int:
        if fault.cut:
            self._cut()
            return 0
        error = {"error": {"code": str(fault.status), "message": "a fault of the test"}}
        self._send(fault.status, json.dumps(error).encode(), fault.headers)
        return fault.status

    def _pass(self, body: bytes, *, half: bool) -> int:
        host = self.headers.get("Host", "").partition(":")[0]
        if host == BLOB_HOST:
            return self._ask_azurite(f"/{ACCOUNT}{self.path}", body, half=half)
        if self.path.startswith(f"/{ACCOUNT}/"):
            return self._ask_azurite(self.path, body, half=half)
        answer = self._answer(body)
        data = answer.data
        self._send(answer.status, data, answer.headers, half=half)
        return answer.status

    def _answer(self, body: bytes) -> Answer:
        parts = urlsplit(self.path)
        path = unquote(re.sub("//+", "/", parts.path)).rstrip("/")
        found = self.server.routes.find(self.command, path)
        if found is None:
            return not_found(f"{self.command} {path}")
        headers = {name.lower(): text for name, text in self.headers.items()}
        if path.startswith(_WITH_TOKEN) and not is_valid(headers.get("authorization", "")):
            message = "expected a bearer token that has not expired"
            return Answer(
                401, {"error": {"code": "InvalidAuthenticationToken", "message": message}}
            )
        function, groups = found
        value = json.loads(body) if body else None
        query = dict(parse_qsl(parts.query))
        return function(Request(self.command, path, query, headers, value, groups))

    def _ask_azurite(self, path: str, body: bytes, *, half: bool) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.azurite_port)
        headers = {n: v for n, v in self.headers.items() if n.lower() not in {"connection", "host"}}
        try:
            connection.request(self.command, path, body, headers)
            answer = connection.getresponse()
            data = answer.read()
        finally:
            connection.close()
        sent = {name: v for name, v in answer.getheaders() if name.lower() not in _HOP}
        length = answer.getheader("Content-Length") if self.command == "HEAD" else None
        self._send(answer.status, data, sent, half=half, length=length)
        return answer.status

    def _send(
        self,
        status: int,
        data: bytes,
        headers: dict[str, str],
        *,
        half: bool = False,
        length: str | None = None,
    ) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if not any(name.lower() == "content-type" for name in headers):
            self.send_header("Content-Type", "application/json; charset=utf-8")
        self.send_header("Content-Length", length or str(len(data)))
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

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = do_PATCH = _handle  # noqa: N815


class Proxy(_Server):
    """Leads ``CONNECT`` to the blob host to the service; every other host is refused and noted."""

    def __init__(self, port: int, target: int, ledger: Ledger) -> None:
        self.target, self.ledger = target, ledger
        super().__init__(("127.0.0.1", port), _ProxyHandler)


class _ProxyHandler(BaseHTTPRequestHandler):
    server: Proxy
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def do_CONNECT(self) -> None:
        self.close_connection = True
        if self.path.partition(":")[0] != BLOB_HOST:
            self._refuse()
            return
        with socket.create_connection(("127.0.0.1", self.server.target)) as onward:
            self.send_response_only(200)
            self.end_headers()
            back = threading.Thread(target=_copy, args=(onward, self.connection), daemon=True)
            back.start()
            _copy(self.connection, onward)
            back.join()

    def _refuse(self) -> None:
        self.server.ledger.add(time.time(), self.command, self.path, "", 403)
        self.send_response_only(403)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_POST = do_PUT = do_HEAD = _refuse  # noqa: N815


def _copy(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(1 << 16):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        return
