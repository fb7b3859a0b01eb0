"""Loads the rows of plan lines into this process."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ...errors import InputError
from ...worker.failures import BadInput
from ...worker.plan_line import PlanLine
from ...worker.tables.reader import load_table
from ..storage.storage import StorageSpec

if TYPE_CHECKING:
    import pandas as pd


def loaded_rows(
    lines: Iterator[tuple[bytes, int]], storage: StorageSpec | None, count: int | None = None
) -> pd.DataFrame:
    """Return the rows of plan lines in one frame; at most ``count``.

    Raises
    ------
    InputError
        The rows cannot be read.
    """
    import pandas as pd

    frames: list[Any] = []
    rows = 0
    for text, _ in lines:
        if not text:
            continue
        if count is not None and rows >= count:
            break
        line = PlanLine.decode(text)
        if storage is not None:
            from ..staging.local_copies import local_copies

            line.paths = local_copies(line.files, storage)
        try:
            frames.append(load_table(line))
        except BadInput as error:
            raise InputError(str(error)) from error
        rows += len(frames[-1])
    frame = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()
    first_rows: pd.DataFrame = frame[:count]
    return first_rows
