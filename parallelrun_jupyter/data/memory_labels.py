"""Writes the labels of the rows of a DataFrame or Series, from which views name its items."""

from __future__ import annotations

import reprlib
from array import array
from itertools import accumulate
from pathlib import Path
from typing import Any

from ..worker.failures import visible
from ..worker.memory_labels import NUMBERS, TEXTS, head_line, labels_path

_MOST_TEXTS = 1_000_000
_MOST_OTHERS = 200_000
"""Labels other than numbers and text take 2 us each; rows of larger tables are named by position."""

_LABEL_CHARS = 60
_REPR = reprlib.Repr()
_REPR.maxstring = _REPR.maxother = _LABEL_CHARS


def write_labels(index: Any, path: Path) -> bool:
    """Write the labels of an index beside its file; return whether there are any."""
    kind, labels = _labels(index)
    if not kind:
        return False
    with open(labels_path(str(path)), "wb") as file:
        file.write(head_line(kind, len(index)))
        if kind == NUMBERS:
            file.write(labels.astype("<i8").tobytes())
            return True
        texts = [text.encode("utf-8", "replace") for text in labels]
        file.write(array("q", accumulate(map(len, texts))).tobytes())
        file.writelines(texts)
    return True


def _labels(index: Any) -> tuple[str, Any]:
    """Return the kind and the labels of an index; an empty kind if they are not written."""
    dtype = str(index.dtype)
    if type(index).__name__ == "RangeIndex":
        return "", None  # computed from its start and step
    if dtype in {"int8", "int16", "int32", "int64"}:
        return NUMBERS, index.to_numpy()
    if dtype in {"str", "string"} and len(index) <= _MOST_TEXTS:
        return TEXTS, map(_text, index.tolist())
    if len(index) > _MOST_OTHERS:
        return "", None
    if dtype.startswith(("datetime64", "timedelta64", "period", "interval")):
        return TEXTS, (_text(str(label)) for label in index)
    return TEXTS, map(_text, index.tolist())


def _text(label: Any) -> str:
    text = repr(label) if type(label) is str else _REPR.repr(label)
    return visible(text if len(text) <= _LABEL_CHARS else f"{text[:_LABEL_CHARS]}...")
