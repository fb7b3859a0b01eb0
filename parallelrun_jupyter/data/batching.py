"""How inputs are cut into mini-batches: what a run's record says, for datasets of every kind."""

from __future__ import annotations

from dataclasses import dataclass

STILL_READING = b""
"""What a dataset yields in place of a plan line while it reads ahead, with the items it has seen."""


@dataclass(frozen=True, slots=True)
class BatchSpec:
    """The cut of a run.

    Parameters
    ----------
    size
        Files per mini-batch for files; bytes of the source, about, for tables.
    keys
        Partition keys: where there are any, every combination of their values is one mini-batch of
        any size.
    rows
        Rows per mini-batch, for tables: where it is not 0, ``size`` does not matter.
    """

    size: int
    keys: tuple[str, ...] = ()
    rows: int = 0
