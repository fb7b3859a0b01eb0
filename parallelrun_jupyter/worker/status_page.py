"""A page of shared memory with a worker's current activity, which the node reads.

It costs no message, so the worker writes it at every mini-batch. It outlives a killed worker: even after
a SIGKILL the node can read the running mini-batch and its start. Times are
``time.monotonic()``, one clock for all processes of a machine.
"""

from __future__ import annotations

import mmap
import struct

STARTING, INIT, WAITING, LOADING, RUNNING, STOPPING = range(6)
PHASES = ("starting", "init", "waiting", "loading", "running", "stopping")
SIZE = 64
_FORMAT = struct.Struct("=QqqdQ")  # sequence, phase, mini-batch, since, sequence again


class StatusPage:
    """One worker's page, over an inherited descriptor of ``SIZE`` bytes."""

    def __init__(self, fd: int) -> None:
        self._map = mmap.mmap(fd, SIZE)
        self._sequence = 0
        self._last = (STARTING, -1, 0.0)

    def write(self, phase: int, mini_batch: int, since: float) -> None:
        """Publish the phase, the mini-batch (-1 for none) and their start."""
        self._sequence += 1
        _FORMAT.pack_into(self._map, 0, self._sequence, phase, mini_batch, since, self._sequence)

    def read(self) -> tuple[int, int, float]:
        """Return (phase, mini_batch, since_s) as last published.

        A half-written page returns its last whole value; the next read gets the new one.
        """
        for _ in range(8):
            first, phase, mini_batch, since, last = _FORMAT.unpack_from(self._map, 0)
            if 0 < first == last:
                self._last = (phase, mini_batch, since)
                break
        return self._last

    def close(self) -> None:
        """Release the memory."""
        self._map.close()
