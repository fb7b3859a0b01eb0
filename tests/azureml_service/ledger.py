"""The ledger of a service's requests: one JSON line each, which survives a restart."""

from __future__ import annotations

import json
import threading
from pathlib import Path


class Ledger:
    """Appends requests to a file.

    Parameters
    ----------
    path
        The file.
    """

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        self._file = open(path, "a", encoding="utf-8")  # noqa: SIM115 - as long as the process

    def add(self, at: float, method: str, host: str, path: str, status: int) -> None:
        """Write a request down; ``status`` is 0 if its connection was cut."""
        row = {"at": round(at, 3), "method": method, "host": host, "path": path, "status": status}
        with self._lock:
            self._file.write(json.dumps(row) + "\n")
            self._file.flush()
