"""Large data reaches the disk whole, and in small writes."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from parallelrun_jupyter.data.memory_files import write_array, write_parts
from parallelrun_jupyter.files import PIECE_BYTES, write_all

FRESH_FROM_THE_HOST_BYTES = 2 << 20
"""A write of so many bytes is cached in a huge page."""


@pytest.mark.parametrize("size", [0, 1, PIECE_BYTES, 3 * PIECE_BYTES + 17])
def test_all_bytes_are_written(tmp_path: Path, size: int) -> None:
    data = os.urandom(size)
    with open(tmp_path / "file", "wb") as file:
        file.write(b"head")
        file.flush()
        write_all(file.fileno(), data)
        file.write(b"tail")
    assert (tmp_path / "file").read_bytes() == b"head" + data + b"tail"


def test_numbers_are_written_as_their_bytes(tmp_path: Path) -> None:
    values = np.random.default_rng(1).random((1000, 100))
    with open(tmp_path / "file", "wb") as file:
        write_all(file.fileno(), values.data)
    assert np.array_equal(np.fromfile(tmp_path / "file").reshape(values.shape), values)


@pytest.mark.parametrize("kind", ["frame", "array"])
def test_no_write_of_values_is_large(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    sizes: list[int] = []
    write = os.write

    def noted(fd: int, data: bytes | memoryview) -> int:
        sizes.append(memoryview(data).nbytes)
        return write(fd, data)

    monkeypatch.setattr(os, "write", noted)
    values = np.random.default_rng(1).random((100_000, 8))
    path = tmp_path / "values"
    if kind == "frame":
        write_parts(pd.DataFrame(values), 50_000, path, str)
        assert max(sizes) < FRESH_FROM_THE_HOST_BYTES
        assert sum(sizes) == values.nbytes
    else:
        write_array(values, 50_000, path)
    assert path.stat().st_size >= values.nbytes
