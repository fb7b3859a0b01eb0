"""A device that sleeps: one call at a time, of any process, and each is noted in a ledger."""

from __future__ import annotations

import fcntl
import os
import queue
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from . import READ_AHEAD, Batches, setting


class Device:
    """Sleeps for the seconds in WORK in each call; the digits are computed by numpy."""

    def __init__(self) -> None:
        self._seconds = float(setting("WORK"))
        with np.load(setting("MODEL")) as file:
            self._w0, self._w1 = file["w0"], file["w1"]
        self._ledger = os.open(setting("LEDGER"), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def predict(self, pixels: Any) -> list[int]:
        """Wait for the device, and for its answer."""
        fcntl.flock(self._ledger, fcntl.LOCK_EX)
        try:
            began = time.monotonic()
            time.sleep(self._seconds)
            os.write(self._ledger, b"%.6f %.6f\n" % (began, time.monotonic()))
        finally:
            fcntl.flock(self._ledger, fcntl.LOCK_UN)
        digits: list[int] = (np.maximum(pixels @ self._w0, 0) @ self._w1).argmax(1).tolist()
        return digits

    def read_ahead(self, batches: Batches) -> Iterator[Any]:
        """Read in a thread."""
        read: queue.Queue[Any] = queue.Queue(READ_AHEAD)

        def load() -> None:
            for pixels in batches.one_by_one():
                read.put(pixels)
            read.put(None)

        threading.Thread(target=load, daemon=True).start()
        while (pixels := read.get()) is not None:
            yield pixels
