"""PyTorch: its ``DataLoader`` reads ahead in processes, as its documentation advises."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset

from . import READ_AHEAD, WIDTH, Batches, setting


class Device:
    """The model on the device, and a product of matrices as often as WORK says."""

    def __init__(self) -> None:
        self._device = torch.device(setting("DEVICE"))
        if self._device.type == "cuda" and not torch.cuda.is_available():
            msg = "torch finds no GPU"
            raise RuntimeError(msg)
        with np.load(setting("MODEL")) as file:
            self._w0, self._w1 = (torch.from_numpy(file[k]).to(self._device) for k in ("w0", "w1"))
        self._layer = torch.eye(WIDTH, device=self._device)
        self._products = int(setting("WORK"))

    def predict(self, pixels: Any) -> list[int]:
        """Compute, and copy the digits to this process, which waits for the device."""
        with torch.inference_mode():
            given = torch.as_tensor(pixels).to(self._device, non_blocking=True)
            state = self._layer
            for _ in range(self._products):
                state = state @ self._layer
            digits = (torch.relu(given @ self._w0) @ self._w1).argmax(1)
            # The sum makes the digits wait for all products; it is the width.
            found: list[int] = (digits + (state.sum() - WIDTH).long()).tolist()
            return found

    def read_ahead(self, batches: Batches) -> Iterator[Any]:
        """Read files in two processes, a table in one."""
        is_table = batches.table is not None
        source: Any = _Table(batches) if is_table else _Files(batches)
        return iter(
            DataLoader(
                source, batch_size=None, num_workers=1 if is_table else 2,
                prefetch_factor=READ_AHEAD, pin_memory=self._device.type == "cuda",
            )
        )  # fmt: skip


class _Files(Dataset[Any]):
    def __init__(self, batches: Batches) -> None:
        self._batches = batches

    def __len__(self) -> int:
        return len(self._batches.files)

    def __getitem__(self, number: int) -> Any:
        assert self._batches.read is not None
        return self._batches.read(self._batches.files[number])


class _Table(IterableDataset[Any]):
    def __init__(self, batches: Batches) -> None:
        self._batches = batches

    def __iter__(self) -> Iterator[Any]:
        return self._batches.one_by_one()
