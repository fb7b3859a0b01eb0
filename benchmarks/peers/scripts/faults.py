"""Works for 5 ms, or fails as the name of the file asks: ``0001-raise.txt``, hang or kill.

If ``BENCHMARK_ATTEMPTS`` names a folder, only the first attempt is faulty.
"""

from __future__ import annotations

import os
import signal
import time

WORK_S = 0.005


def init() -> None:
    """Nothing to load."""


def run(mini_batch: list[str]) -> list[str]:
    """Return the names of files without a fault."""
    for path in mini_batch:
        number, what = os.path.basename(path)[:-4].split("-")
        if what != "good" and _is_faulty(number):
            if what == "raise":
                raise ValueError(path)
            if what == "hang":
                time.sleep(3600)
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(WORK_S)
    return [os.path.basename(path) for path in mini_batch]


def _is_faulty(number: str) -> bool:
    folder = os.environ.get("BENCHMARK_ATTEMPTS")
    if not folder:
        return True
    try:
        os.close(os.open(os.path.join(folder, number), os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True
