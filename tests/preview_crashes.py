"""The process of previews, which ends on a file called ``crash`` and never answers for ``slow``."""

from __future__ import annotations

import os
import time
from typing import Any

from parallelrun_jupyter.views import preview_process

ANSWER = preview_process.preview_of


def answer(item: dict[str, Any]) -> dict[str, Any]:
    """Return the real answer for other files."""
    if item["path"].endswith("crash"):
        os.abort()
    if item["path"].endswith("slow"):
        time.sleep(60)
    return ANSWER(item)


if __name__ == "__main__":
    preview_process.preview_of = answer
    preview_process.main()
