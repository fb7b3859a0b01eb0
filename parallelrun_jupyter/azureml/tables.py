"""Tables: datasets whose items are rows."""

from __future__ import annotations

from typing import Any

from ..errors import OutsideSurfaceError
from .datasets import AbstractDataset


class TabularDataset(AbstractDataset):
    """Rows of delimited, Parquet or JSON lines files."""

    is_tabular = True


class TabularDatasetFactory:
    """``Dataset.Tabular``."""

    @staticmethod
    def from_delimited_files(path: Any, **_: Any) -> TabularDataset:
        """Return a dataset of the rows of delimited files."""
        msg = "tables need a newer parallelrun-jupyter."
        raise OutsideSurfaceError(msg)
