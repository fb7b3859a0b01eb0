"""The devices: each module has a class ``Device`` with one call, and with its framework's own loader."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

MODULES = {"torch": "by_torch", "tensorflow": "by_tensorflow", "stand-in": "stand_in"}
"""The module of each framework."""

PREFIX = "BENCHMARK_GPU_"
"""The variables of a measured process: FRAMEWORK, DEVICE, MODEL, WORK, and LEDGER for a stand-in."""

WIDTH = 1024
"""Rows and columns of the matrix whose products keep the device busy."""

READ_AHEAD = 4
"""Batches that a loader reads ahead."""


@dataclass(frozen=True)
class Batches:
    """The input of a process written by hand: a read for each batch of files, or one iterator of a table.

    Parameters
    ----------
    files
        The batches of files.
    read
        Returns the pixels of a batch of files.
    table
        Returns an iterator over the pixels of a table; if it is given, there are no files.
    """

    files: Sequence[Sequence[str]] = ()
    read: Callable[[Sequence[str]], Any] | None = None
    table: Callable[[], Iterator[Any]] | None = None

    def one_by_one(self) -> Iterator[Any]:
        """Yield the pixels of each batch; nothing is read ahead."""
        if self.table is not None:
            return self.table()
        assert self.read is not None
        return map(self.read, self.files)


class Device(Protocol):
    """A model on a device."""

    def predict(self, pixels: Any) -> list[int]:
        """Return a digit for each row, once the device has them all."""

    def read_ahead(self, batches: Batches) -> Iterator[Any]:
        """Yield the pixels of each batch in order; the next ones are read meanwhile."""


def open_device() -> Device:
    """Return the device that the variables name."""
    name = os.environ[f"{PREFIX}FRAMEWORK"]
    module = importlib.import_module(f"benchmarks.gpu.devices.{MODULES[name]}")
    device: Device = module.Device()
    return device


def setting(name: str) -> str:
    """Return a variable of the measured process."""
    return os.environ[PREFIX + name]
