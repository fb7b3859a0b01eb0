"""Items by combination of keys: gathered while an input is listed, in bounded memory."""

from __future__ import annotations

import itertools
import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from operator import itemgetter
from typing import Any, TypeAlias

from ..errors import InputError
from .partition_format import PartitionFormat, combination

Item: TypeAlias = tuple[str, int, Any]
"""One file: its path, its size and what else says that it is unchanged."""

_CACHE_KIB = 32 * 1024
_BLOCK = 4096


def gather(items: Iterable[tuple[str, str]]) -> Iterator[tuple[str, list[str]]]:
    """Bring the items of each combination together.

    A combination is whole only when everything has been listed, so all of it is read first. What
    does not fit into 32 MB lies in a temporary file meanwhile (in ``TMPDIR``), which has no name and
    goes with the process.

    Parameters
    ----------
    items
        (combination, item) pairs.

    Yields
    ------
    tuple
        A combination and its items in their order; combinations in order of their first item.

    Raises
    ------
    InputError
        The temporary file cannot be written.
    """
    try:
        database = sqlite3.connect("")
        try:
            yield from _gather(database, items)
        finally:
            database.close()
    except sqlite3.Error as error:
        msg = (
            f"the input could not be ordered by its partition keys: {error}. It needs space for "
            "its list of files in the folder for temporary files; TMPDIR names another one."
        )
        raise InputError(msg) from error


def _gather(
    database: sqlite3.Connection, items: Iterable[tuple[str, str]]
) -> Iterator[tuple[str, list[str]]]:
    for pragma in (f"cache_size = -{_CACHE_KIB}", "temp_store = FILE", "journal_mode = OFF"):
        database.execute(f"PRAGMA {pragma}")
    database.execute("CREATE TABLE item (place INTEGER PRIMARY KEY, combination TEXT, item TEXT)")
    pairs = iter(items)
    while block := list(itertools.islice(pairs, _BLOCK)):
        database.executemany("INSERT INTO item (combination, item) VALUES (?, ?)", block)
    database.execute(
        "CREATE TABLE first (combination TEXT PRIMARY KEY, place INTEGER) WITHOUT ROWID"
    )
    database.execute(
        "INSERT INTO first SELECT combination, MIN(place) FROM item GROUP BY combination"
    )
    # CROSS JOIN keeps the items as the outer loop: one pass over them and one sort by merging.
    # The other way round, every combination would look for its items all over the file.
    rows = database.execute(
        "SELECT item.combination, item.item FROM item CROSS JOIN first"
        " ON item.combination = first.combination ORDER BY first.place, item.place"
    )
    for values, group in itertools.groupby(rows, key=itemgetter(0)):
        yield values, [item for _, item in group]


def gather_files(
    items: Iterable[Item], form: PartitionFormat, keys: Sequence[str]
) -> Iterator[tuple[str, list[Item]]]:
    """Bring the files together whose paths have the same values of ``keys``.

    Yields
    ------
    tuple
        The values, as JSON, and the files; both as `gather` orders them.

    Raises
    ------
    InputError
        A path does not match the format.
    """

    def pairs() -> Iterator[tuple[str, str]]:
        for item in items:
            values = form.values(item[0])
            yield combination({key: values[key] for key in keys}), json.dumps(item)

    for values, found in gather(pairs()):
        yield values, [(path, size, time) for path, size, time in map(json.loads, found)]


def combinations_of(
    paths: Iterable[str], form: PartitionFormat, keys: Sequence[str]
) -> list[dict[str, Any]]:
    """Return the values of ``keys`` that paths have, each combination once, in order.

    Raises
    ------
    InputError
        A path does not match the format.
    """
    found: dict[str, dict[str, Any]] = {}
    for path in paths:
        values = form.values(path)
        wanted = {key: values[key] for key in keys}
        found.setdefault(combination(wanted), wanted)
    return list(found.values())
