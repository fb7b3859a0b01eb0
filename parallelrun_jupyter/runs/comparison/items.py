"""The items of a run with digests of their rows, and which items of two runs have other rows.

An item is known by its path, by its file and the number of its row there, or by its variable and its
number. So two runs can be compared although their mini-batches have other sizes, or one has more inputs.
Memory is needed for some numbers of each item; rows are read once, and again for the differences that are
shown.
"""

from __future__ import annotations

import hashlib
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from itertools import count
from typing import TYPE_CHECKING, Any, NamedTuple

from ...errors import OutputError
from ...worker.memory_items import is_memory
from ...worker.plan_line import PlanLine
from ..output.earlier_rows import Result, Results, UnclearRowsError
from ..plan_reader import PlanReader, item_name
from ..run_folder import RunFolder
from ..run_record import RunRecord
from .result_rows import ResultRows, rows_of

if TYPE_CHECKING:
    import numpy as np

NO_ROW, OWN, SHARED, UNCLEAR = range(4)
"""Whether an item has a row: of its own, or with the others of its mini-batch; or it is unclear."""

_SHOWN_CHARS = 1000
_SHOWN_ROWS = 5


class Difference(NamedTuple):
    """An item whose rows differ, or that is in one run only.

    Parameters
    ----------
    item
        Path or URL, ``PATH: row N``, counted from 0, or an item of a variable, such as ``texts[17]``.
    difference
        A word or two: one of the values of `DIFFERENCES`.
    this, other
        Its rows as text, shortened; None without any.
    """

    item: str
    difference: str
    this: str | None
    other: str | None


DIFFERENCES = {
    "differs": "rows differ",
    "only_this": "only in this run",
    "only_other": "only in the other run",
    "no_row_this": "no row in this run",
    "no_row_other": "no row in the other run",
    "unclear": "unclear",
}
"""``unclear``: rows of a mini-batch that cannot be assigned to its items, or values that cannot be read
back."""


class ItemRows:
    """The items of a run, and digests of their rows.

    Parameters
    ----------
    folder, record
        The run.
    results
        Its committed results.
    find_class
        As for `rows_of`.
    has_one_variable
        Whether the items of variables are known by their numbers alone, not by the variable's name.

    Raises
    ------
    OutputError
        Its rows cannot be read, with the reason.
    """

    def __init__(
        self,
        folder: RunFolder,
        record: RunRecord,
        results: Results,
        find_class: Callable[[str], Any] | None = None,
        *,
        has_one_variable: bool = False,
    ) -> None:
        self._folder = folder
        self._results = results
        self._has_one_variable = has_one_variable
        #: two numbers that identify each item
        self.keys = array("Q")
        #: digest of the rows of each item, or of those of its mini-batch
        self.digests = array("Q")
        #: digest of the items that share the rows; 0 for a row of its own
        self.groups = array("Q")
        #: `NO_ROW`, `OWN`, `SHARED` or `UNCLEAR`
        self.kinds = bytearray()
        #: the first item of each mini-batch
        self._firsts = array("q")
        #: None if no item has a row
        self._rows: ResultRows | None = None
        if any(result.rows for result in results):
            self._rows = rows_of(folder, record, results, find_class)
        try:
            self._read()
        except (OutputError, OSError):
            self.close()
            raise

    def __len__(self) -> int:
        return len(self.kinds)

    def close(self) -> None:
        """Close the files."""
        if self._rows is not None:
            self._rows.close()

    def _mini_batches(self) -> Iterator[tuple[PlanLine, int, int, list[Result]]]:
        """Yield the line, number of its first row in its file, first item, and results of each."""
        results = iter(self._results)
        result = next(results, None)
        number = 0
        with closing(PlanReader(self._folder)) as plan:
            for mini_batch in count():
                line, first_row = plan.line(mini_batch)
                if line is None:
                    return
                own = []
                while result is not None and result.mini_batch == mini_batch:
                    own.append(result)
                    result = next(results, None)
                yield line, first_row, number, own
                number += line.item_count

    def _read(self) -> None:
        for line, first_row, number, results in self._mini_batches():
            self._firsts.append(number)
            is_numbered = self._has_one_variable and is_memory(line)
            self.keys.extend(
                _row_keys("", *line.ranges[0]) if is_numbered else _keys_of(line, first_row)
            )
            zeros = bytes(line.item_count)
            self.kinds.extend(zeros)
            self.digests.frombytes(zeros * 8)
            self.groups.frombytes(zeros * 8)
            for result in results:
                if result.rows:
                    self._add(line, result, number + result.first)

    def _add(self, line: PlanLine, result: Result, number: int) -> None:
        """Add the rows of consecutive items, of which ``number`` is the first."""
        assert self._rows is not None
        items = slice(number, number + result.items)
        try:
            keys = self._rows.keys(result)
        except UnclearRowsError:
            self.kinds[items] = bytes([UNCLEAR]) * result.items
            return
        digests = array("Q", b"".join(_digest(key or b"") for key in keys))
        # The rows of a partition may be in any order.
        if len(keys) == result.items and "keys" not in line.extra:
            self.digests[items] = digests
            self.kinds[items] = bytes(UNCLEAR if key is None else OWN for key in keys)
            return
        if None in keys:
            self.kinds[items] = bytes([UNCLEAR]) * result.items
            return
        whole = array("Q", _digest(digests.tobytes()))
        group = array("Q", _digest(self.keys[2 * items.start : 2 * items.stop].tobytes()))
        self.digests[items] = whole * result.items
        self.groups[items] = group * result.items
        self.kinds[items] = bytes([SHARED]) * result.items

    def described(self, numbers: Sequence[int]) -> dict[int, tuple[str, str | None]]:
        """Return the names and the rows, as text, of the items with these numbers."""
        wanted: dict[int, list[int]] = {}
        for number in sorted(numbers):
            wanted.setdefault(bisect_right(self._firsts, number) - 1, []).append(number)
        of_results: dict[int, list[Result]] = {}
        for result in self._results if wanted else ():
            if result.mini_batch in wanted:
                of_results.setdefault(result.mini_batch, []).append(result)
        found: dict[int, tuple[str, str | None]] = {}
        with closing(PlanReader(self._folder)) as plan:
            for mini_batch, items in wanted.items():
                line, first_row = plan.line(mini_batch)
                if line is None:  # the plan has been removed meanwhile
                    break
                for number in items:
                    position = number - self._firsts[mini_batch]
                    name = item_name(line, position, first_row) or f"item {number}"
                    own = of_results.get(mini_batch, [])
                    found[number] = name, self._text(own, position, self.kinds[number])
        return found

    def _text(self, results: list[Result], position: int, kind: int) -> str | None:
        """Return the rows of an item of a mini-batch, or the first ones of all its items."""
        for result in results:
            if result.first <= position < result.first + result.items and result.rows:
                try:
                    return self._text_of(result, position, kind)
                except UnclearRowsError:
                    return None
        return None

    def _text_of(self, result: Result, position: int, kind: int) -> str:
        assert self._rows is not None
        is_own = kind != SHARED and result.has_row_per_item
        first, count = (position - result.first, 1) if is_own else (0, _SHOWN_ROWS)
        text = "\n".join(self._rows.texts(result, first, count))
        return text if len(text) <= _SHOWN_CHARS else f"{text[: _SHOWN_CHARS - 3]}..."


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=8).digest()


def _keys_of(line: PlanLine, first_row: int) -> array[int]:
    """Return two numbers for each item of a mini-batch: a digest of its file, and its row there."""
    keys = array("Q")
    if not line.is_table or line.table.get("format") == "unreadable":
        for path in line.paths:
            keys.frombytes(_path_digest(path, 16))
        return keys
    if line.table.get("by") == "rows":
        for path, (start, end) in zip(line.paths, line.ranges, strict=False):
            keys.extend(_row_keys(path, start, end))
        return keys
    if len(line.paths) == 1:
        return _row_keys(line.paths[0], first_row, first_row + line.rows)
    return _row_keys(repr([line.paths, line.ranges]), 0, line.rows)


def _row_keys(path: str, start: int, end: int) -> array[int]:
    digest = array("Q", _path_digest(path, 8))[0]
    return array("Q", [number for row in range(start, end) for number in (digest, row)])


def _path_digest(path: str, size: int) -> bytes:
    return hashlib.blake2b(path.encode("utf-8", "surrogateescape"), digest_size=size).digest()


class ItemComparison:
    """Which items of two runs have other rows.

    Parameters
    ----------
    this, other
        The runs.
    shown
        Maximum number of differences in ``differences``; the counts are of all items.

    Attributes
    ----------
    counts
        Number of items by difference, with ``same`` (equal rows) and ``no_row`` (in both runs,
        without a row in either).
    differences
        In the order of this run; then the items of the other run alone.
    """

    def __init__(self, this: ItemRows, other: ItemRows, shown: int) -> None:
        import numpy as np

        partner, only_other = _partners(this.keys, other.keys)
        codes = _codes(this, other, partner)
        names = ["same", "no_row", *DIFFERENCES]
        self.counts = {name: int((codes == k).sum()) for k, name in enumerate(names)}
        self.counts["only_other"] = len(only_other)
        chosen = np.flatnonzero(codes >= 2)[:shown]
        rows_this = this.described(chosen.tolist())
        pairs = {int(number): int(partner[number]) for number in chosen}
        rest = only_other[: shown - len(chosen)].tolist()
        rows_other = other.described([*(k for k in pairs.values() if k >= 0), *rest])
        self.differences = []
        for number, at in pairs.items():
            item, text = rows_this[number]
            word = DIFFERENCES[names[int(codes[number])]]
            theirs = rows_other[at][1] if at >= 0 else None
            self.differences.append(Difference(item, word, text, theirs))
        word = DIFFERENCES["only_other"]
        for number in rest:
            item, text = rows_other[number]
            self.differences.append(Difference(item, word, None, text))


def _codes(this: ItemRows, other: ItemRows, partner: np.ndarray[Any, Any]) -> Any:
    """Return for each item of this run the position of its difference in `ItemComparison`'s names."""
    import numpy as np

    names = ["same", "no_row", *DIFFERENCES]
    code = {name: k for k, name in enumerate(names)}
    kind, kinds = (np.frombuffer(each.kinds, "u1") for each in (this, other))
    digest, digests = (np.frombuffer(each.digests, "u8") for each in (this, other))
    group, groups = (np.frombuffer(each.groups, "u8") for each in (this, other))
    codes = np.full(len(this), code["only_this"], "u1")
    is_paired = partner >= 0
    at = partner[is_paired]
    if not len(at):
        return codes
    mine, theirs = kind[is_paired], kinds[at]
    is_same_group = (mine == theirs) & (group[is_paired] == groups[at])
    is_comparable = np.isin(mine, [OWN, SHARED]) & is_same_group
    is_equal = digest[is_paired] == digests[at]
    codes[is_paired] = np.select(
        [
            (mine == NO_ROW) & (theirs == NO_ROW),
            mine == NO_ROW,
            theirs == NO_ROW,
            is_comparable & is_equal,
            is_comparable,
        ],
        [code[name] for name in ("no_row", "no_row_this", "no_row_other", "same", "differs")],
        code["unclear"],
    )
    return codes


def _partners(this: array[int], other: array[int]) -> tuple[Any, Any]:
    """Return the number of the same item in the other run, or -1, and the other run's rest.

    The second item of a path that was given twice is that of the second one there.
    """
    import numpy as np

    keys = [np.frombuffer(each, "u8").reshape(-1, 2) for each in (this, other)]
    partner = np.full(len(keys[0]), -1, "i8")
    if keys[0].shape == keys[1].shape and bool((keys[0] == keys[1]).all()):
        partner[:] = np.arange(len(partner))
        return partner, partner[:0]
    both = np.concatenate(keys)
    ranks = np.concatenate([_occurrences(each) for each in keys])
    sides = np.repeat(np.array([0, 1], "u1"), [len(each) for each in keys])
    order = np.lexsort((sides, ranks, both[:, 1], both[:, 0]))
    first, second = order[:-1], order[1:]
    is_pair = (both[first] == both[second]).all(axis=1) & (ranks[first] == ranks[second])
    partner[first[is_pair]] = second[is_pair] - len(partner)
    is_left = np.ones(len(keys[1]), bool)
    is_left[partner[partner >= 0]] = False
    return partner, np.flatnonzero(is_left)


def _occurrences(keys: np.ndarray[Any, Any]) -> Any:
    """Return for each key the number of equal ones before it."""
    import numpy as np

    order = np.lexsort((keys[:, 1], keys[:, 0]))  # stable: equal keys stay in order
    found = keys[order]
    starts = np.ones(len(keys), bool)
    starts[1:] = (found[1:] != found[:-1]).any(axis=1)
    positions = np.arange(len(keys))
    ranks = np.empty(len(keys), "i8")
    ranks[order] = positions - np.maximum.accumulate(np.where(starts, positions, 0))
    return ranks
