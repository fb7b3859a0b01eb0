"""Daft: a column made by an async function. It knows no limit, so the function waits as it is told."""

from __future__ import annotations

import asyncio
import urllib.error

import daft

from ...results import Results
from ...scripts.endpoint import ask
from ...workload import Workload


@daft.func(max_concurrency=100)  # type: ignore[untyped-decorator] # it has no types
async def answer(item: int) -> str:
    """Ask until the server takes the call."""
    while True:
        try:
            return await ask(item)
        except urllib.error.HTTPError as error:
            if error.code != 429:
                raise
            await asyncio.sleep(float(error.headers["Retry-After"]))


def run(workload: Workload, results: Results, *, is_again: bool = False) -> None:
    """Make the column; there is no resume."""
    del is_again
    frame = daft.from_pydict({"item": list(range(workload.count))})
    rows = frame.with_column("row", answer(frame["item"])).to_pydict()
    results.returned(rows["row"])
