"""Stands for ``nvidia-smi``: every two seconds the part of them in which the stand-in device worked.

It is standard library only. The first argument is the ledger; of the others only ``--loop=SECONDS`` counts.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

UUID = "GPU-00000000-stand-in"


def intervals(ledger: str) -> list[tuple[float, float]]:
    """Return when each call began and ended, by ``time.monotonic()``; a torn last line is skipped."""
    try:
        with open(ledger, encoding="ascii") as file:
            lines = file.read().rpartition("\n")[0].splitlines()
    except FileNotFoundError:
        return []
    pairs = [line.split() for line in lines]
    return [(float(began), float(ended)) for began, ended in pairs]


def busy_s(ledger: str, start: float, end: float) -> float:
    """Return the seconds of work between two times."""
    return sum(max(0.0, min(b, end) - max(a, start)) for a, b in intervals(ledger))


def main(words: Sequence[str]) -> None:
    """Report again and again, as the program does, until the reader ends it."""
    [loop] = [word.partition("=")[2] for word in words if word.startswith("--loop=")]
    step_s = float(loop)
    while True:
        now = time.monotonic()
        percent = round(100 * busy_s(words[0], now - step_s, now) / step_s)
        print(f"0, {UUID}, {min(100, percent)}, 1024", flush=True)
        time.sleep(step_s)


if __name__ == "__main__":
    main(sys.argv[1:])
