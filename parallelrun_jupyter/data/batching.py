"""Mini-batches of an input: their sizes, and the plan lines that the planner writes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from json.encoder import encode_basestring_ascii
from typing import TypeVar

from ..worker.plan_line import PlanLine
from .walker import FileItem

T = TypeVar("T")

STILL_READING = b""
"""Yielded instead of a plan line while a dataset reads ahead, with the items read since."""


@dataclass(frozen=True, slots=True)
class BatchSpec:
    """How a run divides its inputs into mini-batches.

    Parameters
    ----------
    size
        Number of files per mini-batch; for tables the approximate bytes of their source.
    keys
        Partition keys: each combination of their values is one mini-batch, however large. Empty to
        divide by size.
    rows
        Rows per mini-batch of a table; 0 to divide by ``size``.
    assumes_types
        Whether the column types of a table may be guessed from its first rows, so that the first
        mini-batch can run at once. Workers then confirm them.
    """

    size: int
    keys: tuple[str, ...] = ()
    rows: int = 0
    assumes_types: bool = False


def group_items(folders: Iterable[list[T]], size: int) -> Iterator[list[T]]:
    """Divide the files of a dataset into mini-batches of ``size``; the last one may be smaller."""
    rest: list[T] = []
    for files in folders:
        items = rest + files if rest else files
        end = len(items) - len(items) % size
        for start in range(0, end, size):
            yield items[start : start + size]
        rest = items[end:]
    if rest:
        yield rest


# A run waits for the planner, so lines are concatenated from text: encoding a `PlanLine` takes
# three times as long. The fields and their order are those of `PlanLine`.


def file_line(number: int, paths: Sequence[str], extra: str = "") -> bytes:
    """Return the plan line of a mini-batch of files on this machine.

    Parameters
    ----------
    number
        Position of the input in the run.
    paths
        The files; `FileVersions` has their versions.
    extra
        The last element of the line, as JSON. Default: none.
    """
    quoted = ",".join(map(encode_basestring_ascii, paths))
    return f'["f",{number},[{quoted}],[],[]{"," if extra else ""}{extra}]\n'.encode("ascii")


def store_line(number: int, files: Sequence[FileItem], extra: str = "") -> bytes:
    """Return the plan line of a mini-batch of files in a store; see `file_line`."""
    urls, sizes, versions = map(list, zip(*files, strict=True))
    line = PlanLine(number, urls, sizes, versions, extra=json.loads(extra) if extra else None)
    return line.encode() + b"\n"


def table_line(number: int, file: FileItem, range_: tuple[int, int, int], table: str) -> bytes:
    """Return the plan line of a mini-batch of rows of one file.

    Parameters
    ----------
    number
        Position of the input in the run.
    file
        The file.
    range_
        Start, end and number of rows.
    table
        How to read the file, as JSON.
    """
    start, end, rows = range_
    return f"{_table_head(number, *file)},[[{start},{end}]],{table},{rows}]\n".encode("ascii")


@lru_cache(maxsize=1)  # the next mini-batch mostly has rows of the same file
def _table_head(number: int, path: str, size_bytes: int, version: str | int | None) -> str:
    return json.dumps(["t", number, [path], [size_bytes], [version]], separators=(",", ":"))[:-1]


def numbered(line: bytes, first: int) -> bytes:
    """Return a plan line with the number of its first item in the run."""
    if line.endswith(b"}]\n"):
        return b'%b,"first":%d}]\n' % (line[:-3], first)
    return b'%b,{"first":%d}]\n' % (line[:-2], first)
