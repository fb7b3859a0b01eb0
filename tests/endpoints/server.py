"""A server on loopback that limits, fails and bills as those of language models do.

``python server.py LEDGER [SCRIPT]`` prints its port, and ends when its standard input does. LEDGER is a file to
which it appends a JSON line for each request before it answers; SCRIPT is a JSON object with fields of `Script`.
It needs nothing but Python, so that a notebook can start it too.

Routes: ``POST /v1/call`` ({"id", "prompt"}), ``POST /v1/embeddings`` and ``POST /v1/chat/completions`` (as OpenAI
has them), ``POST /script`` (replaces fields of the script) and ``GET /state``; these two are not in the ledger.
"""

from __future__ import annotations

import asyncio
import dataclasses
import email.utils
import json
import math
import os
import random
import resource
import sys
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any

_REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 429: "Too Many Requests", 500: "Internal Server Error",
            503: "Service Unavailable"}  # fmt: skip


@dataclass
class Script:
    """What the server does; times are in seconds.

    Parameters
    ----------
    latency_s, sigma
        The time of an answer, or with a sigma above 0 the median of lognormal times.
    limits
        ``{"of": "requests" or "tokens", "count": 300, "seconds": 1, "kind": "window" or "bucket"}``: a sliding
        window, or a bucket that holds ``count`` and is filled in ``seconds``. A request beyond gets a 429.
    most_in_flight
        A request beyond gets a 503; 0 for no limit.
    retry_after
        How the header tells when to come again: ``seconds``, ``date``, or empty for no header.
    retry_after_s
        The least that it tells; the limits tell the rest.
    faults
        What the first requests for an item get, in order: ``500``, ``503``, ``503:2`` (Retry-After: 2),
        ``429:1.5``, ``cut-before`` and ``cut-after`` (closed without an answer, before or after the work),
        ``hang``, ``ok``.
    first
        The same for the first requests of all.
    answer_tokens
        The tokens of an answer; those of a prompt are its words.
    """

    latency_s: float = 0.2
    sigma: float = 0.0
    limits: list[dict[str, Any]] = field(default_factory=list)
    most_in_flight: int = 0
    retry_after: str = "seconds"
    retry_after_s: float = 0.0
    faults: dict[str, list[str]] = field(default_factory=dict)
    first: list[str] = field(default_factory=list)
    answer_tokens: int = 20


class Window:
    """Admits so many in any window of so many seconds."""

    def __init__(self, of: str, count: float, seconds: float) -> None:
        self.of, self._count, self._seconds = of, count, seconds
        self._taken: deque[tuple[float, float]] = deque()
        self._sum = 0.0

    def wait_s(self, now: float, amount: float) -> float:
        """Return how long an amount has to wait, 0 if not at all."""
        while self._taken and self._taken[0][0] <= now - self._seconds:
            self._sum -= self._taken.popleft()[1]
        if self._sum + amount <= self._count:
            return 0.0
        return self._taken[0][0] + self._seconds - now if self._taken else self._seconds

    def take(self, now: float, amount: float) -> None:
        """Count an amount that is admitted."""
        self._taken.append((now, amount))
        self._sum += amount


class Bucket:
    """Holds so many, and is filled in so many seconds."""

    def __init__(self, of: str, count: float, seconds: float) -> None:
        self.of, self._count, self._per_s = of, count, count / seconds
        self._left, self._at = float(count), 0.0

    def wait_s(self, now: float, amount: float) -> float:
        """Return how long an amount has to wait, 0 if not at all."""
        self._left = min(self._count, self._left + (now - self._at) * self._per_s)
        self._at = now
        return max(0.0, (amount - self._left) / self._per_s)

    def take(self, now: float, amount: float) -> None:  # noqa: ARG002 # as Window has it
        """Take an amount that is admitted."""
        self._left -= amount


class _CutError(Exception):
    """The connection is to be closed without an answer."""


class _HangError(Exception):
    """The request is to get no answer."""


@dataclass
class _Request:
    path: str
    headers: dict[str, str]
    body: dict[str, Any]

    @property
    def texts(self) -> list[str]:
        if self.path == "/v1/embeddings":
            given = self.body["input"]
            return [given] if isinstance(given, str) else list(given)
        if self.path == "/v1/chat/completions":
            return [str(self.body["messages"][-1]["content"])]
        return [str(self.body.get("prompt", ""))]

    @property
    def items(self) -> list[str]:
        """The identifiers of the items: their texts, where the route has none."""
        return [str(self.body["id"])] if "id" in self.body else self.texts


class Server:
    """The server: its script, its ledger, and what it has answered."""

    def __init__(self, ledger: str, script: dict[str, Any]) -> None:
        self._ledger = os.open(ledger, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._random = random.Random(1)
        self._answers: dict[str, asyncio.Future[dict[str, Any]]] = {}
        self._tries: dict[str, int] = {}
        self._script = Script()
        self._limits: list[Window | Bucket] = []
        self._requests = self._billed = self._in_flight = self._most_in_flight = 0
        self._rewrite(script)

    def _rewrite(self, fields: dict[str, Any]) -> None:
        self._script = dataclasses.replace(self._script, **fields)
        if "limits" in fields:
            kinds: dict[str, type[Window | Bucket]] = {"window": Window, "bucket": Bucket}
            self._limits = [
                kinds[limit.get("kind", "window")](
                    limit.get("of", "requests"), limit["count"], limit.get("seconds", 1)
                )
                for limit in self._script.limits
            ]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of a connection, one after the other."""
        try:
            while (request := await _read(reader)) is not None:
                status, headers, answer = await self._answer(request)
                body = json.dumps(answer).encode()
                lines = [f"HTTP/1.1 {status} {_REASONS[status]}", "Content-Type: application/json",
                         f"Content-Length: {len(body)}", *headers]  # fmt: skip
                writer.write("\r\n".join([*lines, "", ""]).encode() + body)
                await writer.drain()
        except _HangError:
            await reader.read()  # until the client gives up
        except (_CutError, ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _answer(self, request: _Request) -> tuple[int, list[str], dict[str, Any]]:
        if request.path == "/state":
            return 200, [], {"requests": self._requests, "billed": self._billed,
                             "in_flight": self._in_flight, "most_in_flight": self._most_in_flight}  # fmt: skip
        if request.path == "/script":
            self._rewrite(request.body)
            return 200, [], dataclasses.asdict(self._script)
        if not request.path.startswith("/v1/"):
            return 404, [], {"error": {"message": f"there is no {request.path}"}}
        try:
            items = request.items
        except (LookupError, TypeError) as error:
            return 400, [], {"error": {"message": f"{type(error).__name__}: {error}"}}
        self._requests += 1
        self._in_flight += 1
        self._most_in_flight = max(self._most_in_flight, self._in_flight)
        entry = {"arrived": time.monotonic(), "items": items, "in_flight": self._in_flight,
                 "key": request.headers.get("idempotency-key", ""),
                 "attempt": request.headers.get("x-attempt", ""),
                 "status": 0, "tokens": 0, "wait_s": 0.0}  # fmt: skip
        try:
            return await self._work(request, entry)
        finally:
            self._in_flight -= 1
            entry["at"] = time.monotonic()
            os.write(self._ledger, (json.dumps(entry) + "\n").encode())

    async def _work(
        self, request: _Request, entry: dict[str, Any]
    ) -> tuple[int, list[str], dict[str, Any]]:
        """Admit a request, fail it as the script says, do its work, and fill in its entry."""
        tokens = sum(len(text.split()) + self._script.answer_tokens for text in request.texts)
        now, fault = time.monotonic(), self._fault_of(request)
        told, _, wait = fault.partition(":")
        wait_s = float(wait or 0)
        if told in {"500", "503", "429"}:
            return self._refusal(int(told), wait_s, entry)
        amounts = [(limit, tokens if limit.of == "tokens" else 1) for limit in self._limits]
        wait_s = max([limit.wait_s(now, amount) for limit, amount in amounts], default=0.0)
        if wait_s > 0:
            return self._refusal(429, wait_s, entry)
        if self._script.most_in_flight and self._in_flight > self._script.most_in_flight:
            return self._refusal(503, 0.0, entry)
        for limit, amount in amounts:
            limit.take(now, amount)
        if told == "cut-before":
            raise _CutError
        if told == "hang":
            raise _HangError
        known = self._answers.get(entry["key"]) if entry["key"] else None
        if known is not None:  # the work is done once: a repeated request waits for its answer
            answer = await known
            entry["status"] = 200
            return 200, ["Idempotent-Replayed: true"], answer
        stored = asyncio.get_running_loop().create_future()
        if entry["key"]:
            self._answers[entry["key"]] = stored
        await asyncio.sleep(self._latency_s())
        answer = _content(request, self._script.answer_tokens)
        stored.set_result(answer)
        entry["tokens"] = tokens
        self._billed += 1
        if told == "cut-after":
            raise _CutError
        entry["status"] = 200
        return 200, [], answer

    def _fault_of(self, request: _Request) -> str:
        """Return what the script has for this request."""
        item = request.items[0]
        tries = self._tries[item] = self._tries.get(item, 0) + 1
        if self._requests <= len(self._script.first):
            return self._script.first[self._requests - 1]
        faults = self._script.faults.get(item, [])
        return faults[tries - 1] if tries <= len(faults) else "ok"

    def _refusal(
        self, status: int, wait_s: float, entry: dict[str, Any]
    ) -> tuple[int, list[str], dict[str, Any]]:
        """Return an answer that asks to come again, after some time if one is known."""
        if status == 429:
            wait_s = max(wait_s, self._script.retry_after_s)
        entry |= {"status": status, "wait_s": wait_s}
        headers = []
        if wait_s and self._script.retry_after == "seconds":
            headers = [f"Retry-After: {math.ceil(wait_s * 1000) / 1000:g}"]
        elif wait_s and self._script.retry_after == "date":
            until = math.ceil(time.time() + wait_s)
            headers = [f"Retry-After: {email.utils.formatdate(until, usegmt=True)}"]
        return status, headers, {"error": {"message": _REASONS[status], "code": status}}

    def _latency_s(self) -> float:
        script = self._script
        if not script.sigma:
            return script.latency_s
        return script.latency_s * math.exp(self._random.gauss(0, script.sigma))


def _content(request: _Request, answer_tokens: int) -> dict[str, Any]:
    """Return the answer of a route; it depends on nothing but the request."""
    texts = request.texts
    prompt = sum(len(text.split()) for text in texts)
    answer = answer_tokens * len(texts)
    usage = {"prompt_tokens": prompt, "completion_tokens": answer, "total_tokens": prompt + answer}
    if request.path == "/v1/embeddings":
        vectors = [[float(text.count(vowel)) for vowel in "aeiou"] for text in texts]
        data = [{"object": "embedding", "index": k, "embedding": v} for k, v in enumerate(vectors)]
        return {"object": "list", "data": data, "model": "stand-in", "usage": usage}
    if request.path == "/v1/chat/completions":
        message = {"role": "assistant", "content": f"{prompt} words"}
        choice = {"index": 0, "finish_reason": "stop", "message": message}
        return {"id": "chat", "object": "chat.completion", "created": 0, "model": "stand-in",
                "choices": [choice], "usage": usage}  # fmt: skip
    return {"id": request.body.get("id"), "echo": texts[0], "usage": usage}


async def _read(reader: asyncio.StreamReader) -> _Request | None:
    """Return the next request; None at the end of a connection."""
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.split("\r\n")
    headers = {
        name.strip().lower(): value.strip()
        for name, _, value in (line.partition(":") for line in lines if line)
    }
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return _Request(first.split()[1], headers, json.loads(body or b"{}"))


async def main(ledger: str, script: str = "{}") -> None:
    """Serve until the standard input ends."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    server = Server(ledger, json.loads(script))
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0, backlog=4096)
    print(listener.sockets[0].getsockname()[1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    os._exit(0)  # requests that hang are not waited for


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
