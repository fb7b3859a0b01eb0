"""Items by combination of keys: gathered while an input is listed, in bounded memory."""

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
"""One file: its path; in a store a sequence of its URL, size and ETag."""

_CACHE_KIB = 32 * 1024
_BLOCK = 4096


Pair: TypeAlias = tuple[str, str]


def group_by_key(items: Iterable[Pair | None]) -> Iterator[tuple[str, list[str]] | None]:
    """Bring the items of each combination together.

    A combination is whole only when everything has been listed, so all of it is read first. What
    does not fit into 32 MB lies in a temporary file meanwhile (in ``TMPDIR``), which has no name and
    goes with the process.

    Parameters
    ----------
    items
        (combination, item) pairs; None where there is none yet.

    Yields
    ------
    tuple or None
        A combination and its items in their order; combinations in order of their first item. None
        now and then while items are read: nothing yet, but it moves.

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
    database.execute("CREATE TABLE known (combination TEXT PRIMARY KEY, first INT) WITHOUT ROWID")
    database.execute(
        "INSERT INTO known SELECT combination, MIN(place) FROM item GROUP BY combination"
    )
    # CROSS keeps the order of the loops: each item once, each time with a look into what is known.
    rows = database.execute(
        "SELECT known.combination, item.item FROM item CROSS JOIN known"
        " ON known.combination = item.combination ORDER BY known.first, item.place"
    )
    for values, group in itertools.groupby(rows, key=itemgetter(0)):
        yield values, [item for _, item in group]


def _insert(database: sqlite3.Connection, block: list[Pair]) -> None:
    database.executemany("INSERT INTO item (combination, item) VALUES (?, ?)", block)
    block.clear()


def gather_files(
    items: Iterable[T], form: PartitionFormat, keys: Sequence[str]
) -> Iterator[tuple[str, list[T]] | None]:
    """Bring the files together whose paths have the same values of ``keys``.

    Yields
    ------
    tuple or None
        The values, as JSON, and the files; ordered as by `group_by_key`, with its None in between.

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
