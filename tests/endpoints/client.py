"""A small HTTP client for asyncio: connections that are kept, and the errors of ``urllib``.

It is standard library only, and starts in workers of Python 3.7 too.
"""

from __future__ import annotations

import asyncio
import io
import json
import urllib.error
from collections import deque
from email.message import Message
from typing import Any, Deque  # noqa: UP035 # Python 3.7


class Client:
    """Asks a server on loopback; one for each event loop.

    Parameters
    ----------
    port
        The port of the server.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._free: Deque[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = deque()  # noqa: UP006

    async def post(self, path: str, body: Any, **headers: str) -> Any:
        """Return the decoded answer.

        Raises
        ------
        urllib.error.HTTPError
            The status is not 200.
        ConnectionError
            The connection was cut.
        """
        content = json.dumps(body).encode()
        lines = [f"POST {path} HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {len(content)}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        if self._free:
            reader, writer = self._free.pop()
        else:
            reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        is_kept = False
        try:
            writer.write("\r\n".join([*lines, "", ""]).encode() + content)
            status, found, answer = await _answer(reader)
            is_kept = True
        finally:
            if is_kept:
                self._free.append((reader, writer))
            else:
                writer.close()
        if status != 200:
            url = f"http://127.0.0.1:{self._port}{path}"
            raise urllib.error.HTTPError(
                url, status, answer.decode()[:200], found, io.BytesIO(answer)
            )
        return json.loads(answer)

    def close(self) -> None:
        """Close the connections."""
        while self._free:
            self._free.pop()[1].close()


async def _answer(reader: asyncio.StreamReader) -> tuple[int, Message, bytes]:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.split("\r\n")
        headers = Message()
        for line in lines:
            name, colon, value = line.partition(":")
            if colon:
                headers[name] = value.strip()
        body = await reader.readexactly(int(headers["Content-Length"]))
    except asyncio.IncompleteReadError as error:
        msg = f"the server has closed the connection after {len(error.partial)} bytes"
        raise ConnectionError(msg) from error
    return int(first.split()[1]), headers, body
