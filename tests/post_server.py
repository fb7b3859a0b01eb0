"""A web server on loopback that receives posted requests."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class PostServer:
    """Takes posted requests, and answers each with the same status.

    Parameters
    ----------
    status
        Status of its answers.
    hold_s
        Seconds before it answers.
    """

    def __init__(self, status: int = 200, hold_s: float = 0.0) -> None:
        self._stop = threading.Event()
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                server.take(self.path, body)
                server._stop.wait(hold_s)
                try:
                    self.send_response(status)
                    self.end_headers()
                except OSError:
                    pass  # the sender has given up

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    @property
    def origin(self) -> str:
        """Its address, without a path."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def take(self, path: str, body: bytes) -> None:
        """Keep a request, before its answer."""

    def close(self) -> None:
        """Stop it."""
        self._stop.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
