"""A script with asyncio that knows the limit, keeps each answer in a file, and skips those it has."""

from __future__ import annotations

import asyncio
import json
from typing import IO

from ...results import Results
from ...scripts.endpoint import ask
from ...workload import Workload


def run(workload: Workload, results: Results, *, is_again: bool = False) -> None:
    """Ask for all items without an answer; the file tells whether it is again."""
    del is_again
    path = results.folder / "answers.jsonl"
    answers: dict[int, str] = {}
    if path.exists():
        with path.open(encoding="utf-8") as file:
            answers = dict(json.loads(line) for line in file)
    with path.open("a", encoding="utf-8", buffering=1) as file:
        asyncio.run(_ask_all(workload, answers, file))
    results.returned(answers[item] for item in range(workload.count))


async def _ask_all(workload: Workload, answers: dict[int, str], file: IO[str]) -> None:
    left = [item for item in range(workload.count) if item not in answers]
    began = asyncio.get_running_loop().time()

    async def one(place: int, item: int) -> None:
        start = began + place / workload.rate
        await asyncio.sleep(start - asyncio.get_running_loop().time())
        answers[item] = await ask(item)
        file.write(json.dumps([item, answers[item]]) + "\n")

    await asyncio.gather(*[one(place, item) for place, item in enumerate(left)])
