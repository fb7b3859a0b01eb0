"""The results of a job in Azure ML: files in a folder that other processes read while it grows.

::

    workers/WORKER.json         at init: worker, node, pid, and init_ms and run_line, or failure
    status/WORKER.json          at most every 5 s: mini_batch (-1 for none), since_s, phase
    done/MINI_BATCH.WORKER.N    one attempt: a line of JSON, then the bytes of its rows

The line has mini_batch, worker, duration_us, length and crc (of the rows), reply (a message of
``worker/protocol.py``), and spent (tokens, billionths of a US dollar) if the script tells. A file whose
line or rows are not whole is still being written.
"""

from __future__ import annotations

import json
import os
import threading
import time
import zlib

from .. import status_page

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing is not worth its import in a worker
    from typing import Any

    from ..attempt import Attempt

STATUS_EVERY_S = 5.0
NUMBER_DIGITS = 8
"""Digits of the number of a mini-batch in the names of files, so that they are in order."""

WORKERS, STATUS, DONE = "workers", "status", "done"


class ResultFiles:
    """The files of one worker.

    Parameters
    ----------
    folder
        The folder of results.
    worker
        The name of the worker: a part of the names of its files.
    """

    def __init__(self, folder: str, worker: str) -> None:
        self._folder = folder
        self.worker = worker
        for name in (WORKERS, STATUS, DONE):
            os.makedirs(os.path.join(folder, name), exist_ok=True)

    def write_worker(self, facts: dict[str, Any]) -> None:
        """Write that the worker has started, or could not."""
        self._write(WORKERS, self.worker + ".json", json.dumps(facts))

    def write(self, attempt: Attempt, reply: list[Any], rows: bytes, spent: list[int]) -> None:
        """Write the result of an attempt.

        Parameters
        ----------
        attempt
            The attempt.
        reply
            How it ended.
        rows
            The bytes of its rows.
        spent
            Tokens, and billionths of a US dollar.
        """
        head = {
            "mini_batch": attempt.mini_batch,
            "worker": self.worker,
            "duration_us": int((time.monotonic() - attempt.began) * 1e6),
            "length": len(rows),
            "crc": zlib.crc32(rows),
            "reply": reply,
        }
        if any(spent):
            head["spent"] = spent
        name = "%0*d.%s.%d" % (NUMBER_DIGITS, attempt.mini_batch, self.worker, attempt.number)
        self._write(DONE, name, json.dumps(head, separators=(",", ":")) + "\n", rows)

    def _write(self, folder: str, name: str, head: str, rows: bytes = b"") -> None:
        """Write a file of results; a mounted store has it when it is closed."""
        with open(os.path.join(self._folder, folder, name), "wb") as file:
            file.write(head.encode("ascii") + rows)

    def report(self, page: status_page.StatusPage) -> None:
        """Write the activity on a page every few seconds while mini-batches run, in a thread."""
        thread = threading.Thread(target=self._report, args=(page,), name="parallelrun status")
        thread.daemon = True
        thread.start()

    def _report(self, page: status_page.StatusPage) -> None:
        written: Any = None
        while True:
            time.sleep(STATUS_EVERY_S)
            phase, mini_batch, since = page.read()
            if mini_batch < 0 and written == (phase, mini_batch):
                continue
            written = phase, mini_batch
            status = {
                "mini_batch": mini_batch,
                "since_s": round(time.monotonic() - since, 1),
                "phase": status_page.PHASES[phase],
            }
            try:
                self._write(STATUS, self.worker + ".json", json.dumps(status))
            except OSError:
                pass  # the store does not answer; the next one may be written
