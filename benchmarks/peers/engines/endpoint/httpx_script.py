"""A script with httpx, with asyncio or with a pool of threads: as many calls at once as the limit permits.

It waits where the server refuses a call, and keeps the answers in memory alone.
"""

from __future__ import annotations

import asyncio
import os
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx

from ...results import Results
from ...scripts.endpoint import prompt_of
from ...workload import Workload

_PATH = "/v1/call"


def run(
    workload: Workload, results: Results, *, in_threads: bool = False, is_again: bool = False
) -> None:
    """Ask for all items; after a kill, for all of them again."""
    del is_again
    at_once = round(workload.rate * workload.latency_s)
    options: dict[str, Any] = {
        "base_url": f"http://127.0.0.1:{os.environ['BENCHMARK_ENDPOINT']}",
        "limits": httpx.Limits(max_connections=at_once, max_keepalive_connections=at_once),
        "timeout": 60,
        "trust_env": False,
    }
    if in_threads:
        with httpx.Client(**options) as client, ThreadPoolExecutor(at_once) as pool:
            found = pool.map(lambda item: _ask(client, item), range(workload.count))
            results.returned(list(found))
    else:
        results.returned(asyncio.run(_ask_all(options, workload.count, at_once)))


def _ask(client: httpx.Client, item: int) -> str:
    while True:
        answer = client.post(_PATH, json={"id": item, "prompt": prompt_of(item)})
        if answer.status_code != httpx.codes.TOO_MANY_REQUESTS:
            return _text_of(answer)
        time.sleep(float(answer.headers["Retry-After"]))


async def _ask_all(options: dict[str, Any], count: int, at_once: int) -> list[str]:
    free = asyncio.Semaphore(at_once)

    async def one(client: httpx.AsyncClient, item: int) -> str:
        async with free:
            while True:
                answer = await client.post(_PATH, json={"id": item, "prompt": prompt_of(item)})
                if answer.status_code != httpx.codes.TOO_MANY_REQUESTS:
                    return _text_of(answer)
                await asyncio.sleep(float(answer.headers["Retry-After"]))

    async with httpx.AsyncClient(**options) as client:
        return await asyncio.gather(*[one(client, item) for item in range(count)])


def _text_of(answer: httpx.Response) -> str:
    text: str = answer.raise_for_status().json()["echo"]
    return text
