"""Collects the results of a running engine, and writes its record."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any


class Results:
    """The output file, the clock, and the failures.

    An engine that hands results to its caller calls ``done`` with the rows of each mini-batch as they
    come; one that writes a file itself calls ``adopt``. ``failed`` names a mini-batch that was given
    up: "exception", "timeout", "crash", or "lost" if the engine reports no cause.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.output = folder / "rows.txt"
        self.failures: dict[str, str] = {}
        self.note = ""
        self.init_s = 0.0
        self.samples: list[float] = []
        self._file = self.output.open("w", encoding="utf-8", newline="\n")
        self._lock = threading.Lock()
        self._is_saved = False
        self._began = self._ended = 0.0
        self._first_s: float | None = None

    def begin(self) -> None:
        """Start the clock."""
        self._began = time.perf_counter()

    def done(self, rows: Iterable[str]) -> None:
        """Write the rows of a mini-batch."""
        if self._first_s is None:
            self._first_s = time.perf_counter() - self._began
        self._file.write("\n".join(rows) + "\n")

    def failed(self, mini_batch: int, how: str) -> None:
        """Note a mini-batch that was given up."""
        self.failures[str(mini_batch)] = how

    def finish(self) -> None:
        """Stop the clock: the last result is in the file. Closing pools down is not in the time."""
        self._file.close()
        self._ended = time.perf_counter()

    def returned(self, rows: Iterable[str]) -> None:
        """Stop the clock: the caller has all values. The rows that show them are made after that."""
        self._ended = time.perf_counter()
        self._file.writelines(f"{row}\n" for row in rows)
        self._file.close()

    def adopt(self, output: Path, first_s: float | None) -> None:
        """Take the file that an engine wrote."""
        self.output, self._first_s = output, first_s

    def save(self, error: str = "") -> None:
        """Write the record of the measurement, once.

        The time may run out while the engine shuts down. Errors after the last result are ignored.
        """
        with self._lock:
            if self._is_saved:
                return
            self._is_saved = True
            record: dict[str, Any] = {"error": "" if self._ended else error}
            if not self._ended:
                self.finish()
            record |= {
                "total_s": self._ended - self._began,
                "first_s": self._first_s,
                "init_s": self.init_s,
                "samples": self.samples,
                "output": str(self.output),
                "failures": dict(self.failures),
                "note": self.note,
            }
            (self.folder / "record.json").write_text(json.dumps(record), encoding="utf-8")
