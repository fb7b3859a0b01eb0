"""Groups items by their combination of keys, in bounded memory."""

from __future__ import annotations

import itertools
import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from operator import itemgetter
from typing import Any, TypeAlias, TypeVar

from ...errors import InputError
from .path_format import PartitionFormat, combination

T = TypeVar("T", bound=str | Sequence[Any])
"""A file: its path, or in a store a sequence of URL, size and ETag."""

_CACHE_KIB = 32 * 1024
_BLOCK = 4096

Pair: TypeAlias = tuple[str, str]
"""A combination of key values, as text, and an item."""


def group_by_key(items: Iterable[Pair | None]) -> Iterator[tuple[str, list[str]] | None]:
    """Group items by combination.

    All items are read first: only then is a combination complete. They are stored in 32 MB of
    memory and a temporary file (in ``TMPDIR``), which has no name and disappears with the process.

    Parameters
    ----------
    items
        (combination, item) pairs; None to report progress without an item.

    Yields
    ------
    tuple or None
        A combination and its items, in order; combinations in order of their first item. While items
        are read, None from time to time: a sign of progress.

    Raises
    ------
    InputError
        The temporary file cannot be written.
    """
    try:
        database = sqlite3.connect("")
        try:
            yield from _group(database, items)
        finally:
            database.close()
    except sqlite3.Error as error:
        msg = (
            f"the input could not be grouped by its partition keys: {error}. It needs space for "
            "its list of files in the folder for temporary files; set TMPDIR to use another folder."
        )
        raise InputError(msg) from error


def _group(
    database: sqlite3.Connection, items: Iterable[Pair | None]
) -> Iterator[tuple[str, list[str]] | None]:
    for pragma in (
        f"cache_size = -{_CACHE_KIB}",
        "temp_store = FILE",
        "journal_mode = OFF",
        "synchronous = OFF",
    ):
        database.execute(f"PRAGMA {pragma}")
    database.execute("CREATE TABLE item (place INTEGER PRIMARY KEY, combination TEXT, item TEXT)")
    block: list[Pair] = []
    for pair in items:
        if pair is None:
            yield None
            continue
        block.append(pair)
        if len(block) == _BLOCK:
            _insert(database, block)
            yield None
    _insert(database, block)
    database.execute(
        "CREATE TABLE combinations (combination TEXT PRIMARY KEY, first INT) WITHOUT ROWID"
    )
    database.execute(
        "INSERT INTO combinations SELECT combination, MIN(place) FROM item GROUP BY combination"
    )
    # CROSS fixes the order of the loops: over items, with a look-up of each combination.
    rows = database.execute(
        "SELECT combinations.combination, item.item FROM item CROSS JOIN combinations"
        " ON combinations.combination = item.combination"
        " ORDER BY combinations.first, item.place"
    )
    for values, group in itertools.groupby(rows, key=itemgetter(0)):
        yield values, [item for _, item in group]


def _insert(database: sqlite3.Connection, block: list[Pair]) -> None:
    database.executemany("INSERT INTO item (combination, item) VALUES (?, ?)", block)
    block.clear()


def group_files(
    items: Iterable[T], form: PartitionFormat, keys: Sequence[str]
) -> Iterator[tuple[str, list[T]] | None]:
    """Group files by the values of ``keys`` in their paths.

    Yields
    ------
    tuple or None
        The values, as JSON, and the files; in the order of `group_by_key`, with its None.

    Raises
    ------
    InputError
        A path does not match the format.
    """

    def pairs() -> Iterator[tuple[str, str]]:
        for item in items:
            values = form.values(item if isinstance(item, str) else item[0])
            yield combination({key: values[key] for key in keys}), json.dumps(item)

    for group in group_by_key(pairs()):
        yield group and (group[0], [json.loads(item) for item in group[1]])


def combinations_of(
    paths: Iterable[str], form: PartitionFormat, keys: Sequence[str]
) -> list[dict[str, Any]]:
    """Return the combinations of the values of ``keys`` in paths, each once, in order.

    Raises
    ------
    InputError
        A path does not match the format.
    """
    combinations: dict[str, dict[str, Any]] = {}
    for path in paths:
        values = form.values(path)
        wanted = {key: values[key] for key in keys}
        combinations.setdefault(combination(wanted), wanted)
    return list(combinations.values())
