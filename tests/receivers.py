"""Receivers of notices on loopback: a webhook and a mail server."""

from __future__ import annotations

import asyncio
import email
import email.policy
import json
import threading
from email.message import EmailMessage
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult

from tests.post_server import PostServer


class Webhook(PostServer):
    """A web server that keeps the bodies posted to it."""

    def __init__(self, status: int = 200, hold_s: float = 0.0) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.paths: list[str] = []
        super().__init__(status, hold_s)

    @property
    def url(self) -> str:
        """Its address."""
        return f"{self.origin}/hook"

    def take(self, path: str, body: bytes) -> None:
        """Keep a body."""
        self.bodies.append(json.loads(body))
        self.paths.append(path)


class MailServer:
    """A mail server that accepts one user and keeps the messages."""

    def __init__(self, user: str, password: str) -> None:
        self.messages: list[EmailMessage] = []
        self.recipients: list[list[str]] = []

        def check(
            _server: Any, _session: Any, _envelope: Any, _mechanism: str, data: Any
        ) -> AuthResult:
            is_known = (data.login, data.password) == (user.encode(), password.encode())
            return AuthResult(success=is_known, handled=False)

        def make() -> SMTP:
            return SMTP(self, authenticator=check, auth_require_tls=False)

        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        starting = self._loop.create_server(make, "127.0.0.1", 0)
        self._server = asyncio.run_coroutine_threadsafe(starting, self._loop).result()

    @property
    def address(self) -> str:
        """Its host and port."""
        host, port = self._server.sockets[0].getsockname()[:2]
        return f"{host}:{port}"

    async def handle_DATA(self, _server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        """Keep a message."""
        if not session.authenticated:
            return "530 log in first"
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        assert isinstance(message, EmailMessage)
        self.messages.append(message)
        self.recipients.append(envelope.rcpt_tos)
        return "250 OK"

    def close(self) -> None:
        """Stop it."""
        self._loop.call_soon_threadsafe(self._server.close)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
