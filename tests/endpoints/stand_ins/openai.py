"""What docs/endpoints.md uses of the package openai, for environments without it."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any

import httpx


class AsyncOpenAI:
    """A client that does not retry."""

    def __init__(self, *, max_retries: int) -> None:
        assert max_retries == 0
        self._client = httpx.AsyncClient(
            base_url=os.environ["OPENAI_BASE_URL"],
            headers={"Authorization": f"Bearer {os.environ['OPENAI_API_KEY']}"},
            limits=httpx.Limits(max_connections=1000),
        )
        self.chat = SimpleNamespace(completions=SimpleNamespace(create=self._create))

    async def _create(self, *, extra_headers: dict[str, str], **body: Any) -> Any:
        answer = await self._client.post("/chat/completions", json=body, headers=extra_headers)
        answer.raise_for_status()
        return _object(answer.json())

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()


def _object(value: Any) -> Any:
    if isinstance(value, dict):
        return SimpleNamespace(**{key: _object(one) for key, one in value.items()})
    return [_object(one) for one in value] if isinstance(value, list) else value
