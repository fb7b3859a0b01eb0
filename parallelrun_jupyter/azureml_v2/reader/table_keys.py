"""Compares the partition keys of a step with those of its data, before a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...data.datasets.inputs import open_path
from ...data.datasets.mltable import mltable_at
from ...data.datasets.tabular_dataset import TabularDataset
from ...errors import ParallelRunError
from ...formatting import nearest_hint


def missing_keys_at(path: str, keys: Sequence[str]) -> dict[str, str]:
    """Return the `missing_keys` of the local MLTable at a path; nothing for other data.

    Parameters
    ----------
    path
        A path; one without a readable MLTable has mistakes of its own.
    keys
        The keys.
    """
    if "://" in path or mltable_at(path) is None:
        return {}
    try:
        return missing_keys(open_path(path), keys)
    except ParallelRunError:
        return {}


def missing_keys(dataset: Any, keys: Sequence[str]) -> dict[str, str]:
    """Return a message for each key that the paths of a dataset do not have.

    Parameters
    ----------
    dataset
        The data that is divided. The columns of a table on this machine are read from its first
        file, if a key is missing.
    keys
        The keys.
    """
    valid = list(dataset.partition_keys)
    wrong = [key for key in keys if key not in valid]
    if not wrong:
        return {}
    columns = [name for name in _columns_of(dataset) if name not in valid]
    listed = f"Its keys are: {', '.join(valid)}." if valid else "It has no keys."
    return {key: f"{_first(key, valid)}{listed} {_of_columns(key, columns)}" for key in wrong}


def _first(key: str, valid: list[str]) -> str:
    hint = nearest_hint(key, valid)
    return f"partition_keys has {key!r}, which is no key in the paths of the data.{hint} "


def _of_columns(key: str, columns: list[str]) -> str:
    remedy = (
        "Name it in the MLTable's extract_columns_from_partition_format, or write files by key: "
        f"TabularDataset.partition_by([{key!r}], FOLDER)."
    )
    if key in columns:
        return f"{key!r} is a column of the files, whose rows are not divided by it. {remedy}"
    if columns:
        return f"The columns of its first file are: {', '.join(columns)}. {remedy}"
    return remedy


def _columns_of(dataset: Any) -> list[str]:
    """Return the columns of a table on this machine, by its first row; empty if they are not known."""
    if not isinstance(dataset, TabularDataset) or dataset.storage is not None:
        return []
    try:
        return [str(name) for name in dataset.take(1).columns]
    except (ParallelRunError, OSError):
        return []
