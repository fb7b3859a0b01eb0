"""The server as a process of its own, and its ledger as a table."""

from __future__ import annotations

import bisect
import contextlib
import json
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

SERVER = Path(__file__).parent / "server.py"
_COLUMNS = ["arrived", "at", "items", "key", "attempt", "status", "tokens", "wait_s", "in_flight"]


class Endpoint(contextlib.AbstractContextManager["Endpoint"]):
    """A running server; as a context manager it ends with the block.

    Parameters
    ----------
    folder
        A folder for the ledger.
    script
        Fields of `server.Script`, such as ``latency_s=0.05``.
    """

    def __init__(self, folder: Path, **script: Any) -> None:
        self._path = folder / "ledger.jsonl"
        self._process = subprocess.Popen(
            [sys.executable, str(SERVER), str(self._path), json.dumps(script)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())
        self.url = f"http://127.0.0.1:{self.port}"

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the server."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        try:
            self._process.wait(10)
        finally:
            self._process.kill()

    def rewrite(self, **script: Any) -> None:
        """Replace fields of the script."""
        request = urllib.request.Request(f"{self.url}/script", json.dumps(script).encode())
        with urllib.request.urlopen(request, timeout=10):
            pass

    def state(self) -> dict[str, int]:
        """Return the number of requests, of those billed and in flight, and the most that were in flight."""
        with urllib.request.urlopen(f"{self.url}/state", timeout=10) as answer:
            return dict(json.load(answer))

    def ledger(self) -> Ledger:
        """Return the ledger, once no request is in flight: those of a killed client end too."""
        until = time.monotonic() + 30
        while self.state()["in_flight"]:
            assert time.monotonic() < until, "requests hang"
            time.sleep(0.02)
        with self._path.open(encoding="utf-8") as file:
            rows = [json.loads(line) for line in file]
        return Ledger(pd.DataFrame(rows, columns=_COLUMNS))


class Ledger:
    """What the server was asked, and what it has billed.

    Parameters
    ----------
    frame
        A row for each request: when it arrived and was answered (monotonic clock of the machine, in
        seconds), its items, idempotency key and attempt, the status (0 if the connection was cut), the
        tokens billed, the pause that was asked for, and how many were in flight.
    """

    def __init__(self, frame: pd.DataFrame) -> None:
        self.frame = frame.sort_values("arrived", ignore_index=True)

    def count(self, *statuses: int) -> int:
        """Return the number of requests with one of these statuses; without any, of all."""
        return int(self.frame["status"].isin(statuses or self.frame["status"]).sum())

    @property
    def tokens(self) -> int:
        """The tokens billed."""
        return int(self.frame["tokens"].sum())

    def requests(self) -> Counter[str]:
        """Return the number of requests for each item."""
        return Counter(self.frame["items"].explode())

    def bills(self) -> Counter[str]:
        """Return how often each item that was billed has been."""
        return Counter(self.frame.loc[self.frame["tokens"] > 0, "items"].explode())

    def billed_again(self) -> int:
        """Return the number of bills beyond the first of each item."""
        return sum(count - 1 for count in self.bills().values())

    def missing(self, items: Iterable[Any]) -> set[str]:
        """Return the items that were never billed."""
        return {str(item) for item in items} - set(self.bills())

    def most_in_window(self, seconds: float) -> int:
        """Return the most requests that arrived in any window of some seconds."""
        times = self.frame["arrived"].tolist()
        return max(
            (k + 1 - bisect.bisect_right(times, at - seconds) for k, at in enumerate(times)),
            default=0,
        )

    def arrivals_between(self, start: float, end: float) -> int:
        """Return the number of requests that arrived after a time and before another."""
        return int(self.frame["arrived"].between(start, end, inclusive="neither").sum())
