"""A function that asks a server; the same for all engines that call functions."""

import os

from tests.endpoints.client import Client

_client = None


def prompt_of(item: int) -> str:
    """Return the prompt of an item."""
    return f"How many words has text number {item}?"


async def ask(item: int) -> str:
    """Return the answer, which repeats the prompt."""
    global _client
    if _client is None:
        _client = Client(int(os.environ["BENCHMARK_ENDPOINT"]))
    answer = await _client.post("/v1/call", {"id": item, "prompt": prompt_of(item)})
    return answer["echo"]
