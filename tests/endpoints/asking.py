"""Functions that ask the server, with each of the clients that people use; for workers.

The classes and functions are made for a port, so that they travel by value. Each asks with the idempotency key
of its item, reports what the answer cost, and returns the prompt that the answer repeats.
"""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable
from typing import Any, TypeAlias

from .client import Client

CLIENTS = ["own", "httpx", "aiohttp", "requests", "urllib"]
"""The clients of `asks`; the last two are not async."""


def prompt_of(item: Any) -> str:
    """Return the prompt of an item."""
    return f"How many words has text number {item}?"


def asks(port: int, client: str = "own", *, usd: float = 0.0, has_key: bool = True) -> Any:
    """Return a class, or a plain function, that asks for one item."""

    def request(item: Any, context: Any) -> tuple[dict[str, Any], dict[str, str]]:
        headers = {"Idempotency-Key": context.idempotency_key} if has_key else {}
        return {"id": item, "prompt": prompt_of(item)}, headers

    def told(answer: dict[str, Any], context: Any) -> str:
        context.spend(tokens=answer["usage"]["total_tokens"], usd=usd)
        return str(answer["echo"])

    made: dict[str, Callable[..., Any]] = {
        "own": _own, "httpx": _httpx, "aiohttp": _aiohttp, "requests": _requests, "urllib": _urllib
    }  # fmt: skip
    return made[client](f"http://127.0.0.1:{port}", request, told)


_Told: TypeAlias = Callable[[dict[str, Any], Any], str]


def _own(url: str, request: Any, told: _Told) -> Any:
    class Ask:
        def __init__(self) -> None:
            self.client = Client(int(url.rpartition(":")[2]))

        async def __call__(self, item: Any, context: Any) -> str:
            body, headers = request(item, context)
            headers = {name.replace("-", "_"): value for name, value in headers.items()}
            return told(await self.client.post("/v1/call", body, **headers), context)

        def close(self) -> None:
            self.client.close()

    return Ask


def _httpx(url: str, request: Any, told: _Told) -> Any:
    class Ask:
        def __init__(self) -> None:
            import httpx

            self.client = httpx.AsyncClient(
                base_url=url, limits=httpx.Limits(max_connections=None), timeout=60
            )

        async def __call__(self, item: Any, context: Any) -> str:
            body, headers = request(item, context)
            answer = await self.client.post("/v1/call", json=body, headers=headers)
            answer.raise_for_status()
            return told(answer.json(), context)

        async def aclose(self) -> None:
            await self.client.aclose()

    return Ask


def _aiohttp(url: str, request: Any, told: _Told) -> Any:
    async def ask(item: Any, context: Any) -> str:
        import aiohttp

        body, headers = request(item, context)
        async with (
            aiohttp.ClientSession(raise_for_status=True) as session,
            session.post(f"{url}/v1/call", json=body, headers=headers) as answer,
        ):
            return told(await answer.json(), context)

    return ask


def _requests(url: str, request: Any, told: _Told) -> Any:
    def ask(item: Any, context: Any) -> str:
        import requests

        body, headers = request(item, context)
        answer = requests.post(f"{url}/v1/call", json=body, headers=headers, timeout=60)
        answer.raise_for_status()
        return told(answer.json(), context)

    return ask


def _urllib(url: str, request: Any, told: _Told) -> Any:
    def ask(item: Any, context: Any) -> str:
        body, headers = request(item, context)
        asked = urllib.request.Request(f"{url}/v1/call", json.dumps(body).encode(), headers)
        with urllib.request.urlopen(asked, timeout=60) as answer:
            return told(json.load(answer), context)

    return ask
