"""Reads the labels of the rows of a stored DataFrame or Series, for the names of items.

The file has a line of JSON, then a number of eight bytes for each row: the label, or the end of its text
in what follows.
"""

from __future__ import annotations

import json
import os
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing is not worth its import in a worker
    from typing import Any

NUMBERS, TEXTS = "numbers", "texts"
NUMBER = struct.Struct("<q")

_HEAD_BYTES = 64


def head_line(kind: str, count: int) -> bytes:
    """Return the first line of a file of labels."""
    text = json.dumps({"kind": kind, "count": count})
    return text.encode("ascii").ljust(_HEAD_BYTES - 1) + b"\n"


def labels_path(path: str) -> str:
    """Return the file with the labels of the rows of a file."""
    return path + ".labels"


def label_at(path: str, row: int) -> str:
    """Return the label of a row as an expression, such as ``'B'``; empty if it is unknown."""
    try:
        with open(path, "rb") as file:
            head: dict[str, Any] = json.loads(file.read(_HEAD_BYTES).decode("ascii"))
            if not 0 <= row < head["count"]:
                return ""
            number = _number(file.fileno(), row)
            if head["kind"] == NUMBERS:
                return str(number)
            start = _number(file.fileno(), row - 1) if row else 0
            texts = _HEAD_BYTES + head["count"] * NUMBER.size
            return os.pread(file.fileno(), number - start, texts + start).decode("utf-8", "replace")
    except (OSError, ValueError, KeyError, struct.error):
        return ""


def _number(file: int, row: int) -> int:
    data = os.pread(file, NUMBER.size, _HEAD_BYTES + row * NUMBER.size)
    return int(NUMBER.unpack(data)[0])
