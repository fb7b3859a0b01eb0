"""curator: an ``LLM`` that is told the limit, with its cache in a folder that outlives a kill.

It counts tokens with tiktoken, which downloads its vocabulary; litellm, which curator needs, brings one.
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any

from bespokelabs import curator
from datasets import Dataset

from ...results import Results
from ...scripts.endpoint import prompt_of
from ...workload import Workload


class Asker(curator.LLM):  # type: ignore[misc] # it has no types
    """Asks the prompt of an item; the server tells the number of its words."""

    def prompt(self, given: dict[str, Any]) -> str:
        """Return the prompt."""
        return prompt_of(given["item"])

    def parse(self, given: dict[str, Any], answer: str) -> dict[str, Any]:
        """Return the row of the item."""
        is_right = answer == f"{len(prompt_of(given['item']).split())} words"
        return {"item": given["item"], "row": prompt_of(given["item"]) if is_right else answer}


def run(workload: Workload, results: Results, *, is_again: bool = False) -> None:
    """Ask for all items; what is in the cache is not asked again."""
    del is_again
    litellm = importlib.util.find_spec("litellm")
    if litellm is not None and litellm.origin:
        vocabulary = Path(litellm.origin).parent / "litellm_core_utils" / "tokenizers"
        os.environ["TIKTOKEN_CACHE_DIR"] = str(vocabulary)
    asker = Asker(
        model_name="stand-in",
        backend="openai",
        backend_params={
            "base_url": f"http://127.0.0.1:{os.environ['BENCHMARK_ENDPOINT']}/v1",
            "api_key": "none",
            "max_requests_per_minute": 60 * workload.rate,
            "max_tokens_per_minute": 100_000_000,
            "max_concurrent_requests": 100,
        },
    )
    items = Dataset.from_list([{"item": item} for item in range(workload.count)])
    found = asker(items, working_dir=str(results.folder / "cache")).dataset
    rows = dict(zip(found["item"], found["row"], strict=True))
    results.returned(rows[item] for item in sorted(rows))
