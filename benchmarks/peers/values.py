"""The variables of a notebook that functions are called with, and the rows that show their results."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator
from typing import Any

from .scripts.functions import FEATURES
from .workload import FRAME, Workload

PARTS = 64
"""Parts of a DataFrame, for engines that want to be told."""

_BLOCK_ROWS = 100_000


def prepare(workload: Workload) -> None:
    """Make the variable before the clock runs: a notebook has it already."""
    if workload.kind == FRAME:
        frame_of(workload.count, has_text=workload.has_text)


@functools.cache
def frame_of(rows: int, *, has_text: bool) -> Any:
    """Return a DataFrame of numbers, and of texts if wanted; it is made in place."""
    import numpy as np
    import pandas as pd

    rng = np.random.default_rng(1)
    values = np.empty((len(FEATURES), rows))
    for column in values:
        rng.random(out=column)
    frame = pd.DataFrame(values.T, columns=FEATURES, copy=False)
    if has_text:
        import pyarrow as pa

        words = pa.array([f"text number {k} {'+' * (k % 20)}" for k in range(1000)])
        codes = pa.array(rng.integers(0, len(words), rows, dtype="int32"))
        texts = pa.DictionaryArray.from_arrays(codes, words).cast(pa.large_string())
        frame["text"] = texts.to_pandas(types_mapper={pa.large_string(): pd.StringDtype()}.get)
    return frame


def slices(rows: int) -> list[slice]:
    """Return the parts of a DataFrame."""
    size = -(-rows // PARTS)
    return [slice(start, start + size) for start in range(0, rows, size)]


def rows_of(scores: Any) -> Iterator[str]:
    """Yield a row for each hundred thousand scores: where they begin, and their digest."""
    import numpy as np

    scores = np.ascontiguousarray(scores, "float64")
    for start in range(0, len(scores), _BLOCK_ROWS):
        digest = hashlib.sha256(scores[start : start + _BLOCK_ROWS]).hexdigest()
        yield f"{start} {digest}"
