"""A digit for each row of a table: the script gets DataFrames."""

from __future__ import annotations

from typing import Any

COLUMNS = [f"p{k}" for k in range(64)]


def init() -> None:
    """Open the device, once in each process."""
    global device
    from benchmarks.gpu.devices import open_device

    device = open_device()


def pixels_of(frame: Any) -> Any:
    """Return the values that the model gets."""
    return frame[COLUMNS].to_numpy("float64")


def run(frame: Any) -> list[str]:
    """Return a row with the number and the digit of each row."""
    digits = device.predict(pixels_of(frame))
    return [f"{number},{d}" for number, d in zip(frame["id"].tolist(), digits, strict=True)]
