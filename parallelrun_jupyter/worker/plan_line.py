"""Plan lines: one mini-batch each, in the plan file and in the messages to a worker."""

from __future__ import annotations

import json

from .item_ranges import items_in

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing is not worth its import in a worker
    from typing import Any

_JSON = json.JSONDecoder()  # json.loads takes a third longer

END_MARK = b'["end",'
"""The beginning of the last line of a complete plan: ``["end", mini_batches, items]``."""


class PlanLine:
    """A mini-batch as it was planned.

    Encoded, it is a JSON array: ``["f", input, paths, sizes, versions]`` for files, and
    ``["t", input, paths, sizes, versions, ranges, table, rows]`` for rows of tables. ``extra``
    follows if it is not empty.

    Attributes
    ----------
    is_table
        Whether the items are rows of tables; otherwise they are files.
    input_number
        Position of the input in the run.
    paths
        Paths or URLs of the files. A node replaces URLs by the paths of local copies.
    sizes, versions
        Size in bytes and modification time (in a store the ETag) of each file. Both are empty for
        files on this machine: their versions are recorded beside the plan.
    ranges
        ``[start, end]`` for each path of a table: bytes of text, rows of Parquet.
    table
        How to read the table; empty for files.
    rows
        Number of rows of the table.
    extra
        ``first``: number of the mini-batch's first item in the run. ``keys``: values of the
        partition keys. ``unread``: why the only path could not be read when it was listed.
        ``items``: the items of the mini-batch that an attempt runs, if not all: ``[first, count]``
        of each range, in increasing order. Files have only the paths of these items; of a table,
        the worker selects these rows. ``isolates``: whether it runs the items in parts, to find
        those that fail; ``suspect``: the one that probably does, or -1.
    """

    __slots__ = (
        "extra",
        "input_number",
        "is_table",
        "paths",
        "ranges",
        "rows",
        "sizes",
        "table",
        "versions",
    )

    def __init__(
        self,
        input_number: int,
        paths: list[str],
        sizes: list[int],
        versions: list[Any],
        *,
        ranges: list[Any] | None = None,
        table: dict[str, Any] | None = None,
        rows: int = 0,
        extra: dict[str, Any] | None = None,
    ) -> None:
        self.input_number = input_number
        self.paths = paths
        self.sizes = sizes
        self.versions = versions
        self.ranges = ranges or []
        self.is_table = table is not None
        self.table = table or {}
        self.rows = rows
        self.extra = extra or {}

    @classmethod
    def decode(cls, text: bytes) -> PlanLine:
        """Read a line of a plan."""
        return cls.of_row(_JSON.raw_decode(text.decode("ascii"))[0])

    @classmethod
    def of_row(cls, row: list[Any]) -> PlanLine:
        """Read a line whose JSON is parsed already."""
        extra = row[-1] if isinstance(row[-1], dict) else None
        if row[0] == "t":
            _, number, paths, sizes, versions, ranges, table, rows = row[:8]
            return cls(
                number, paths, sizes, versions, ranges=ranges, table=table, rows=rows, extra=extra
            )
        return cls(row[1], row[2], row[3], row[4], extra=extra)

    def encode(self) -> bytes:
        """Return the line as JSON, without a line end."""
        row = ["f", self.input_number, self.paths, self.sizes, self.versions]
        if self.is_table:
            row[0] = "t"
            row += [self.ranges, self.table, self.rows]
        if self.extra:
            row.append(self.extra)
        return json.dumps(row, separators=(",", ":")).encode("ascii")

    @property
    def item_count(self) -> int:
        """Number of items to run: rows of a table, or files."""
        if "items" in self.extra:
            return sum(count for _, count in self.extra["items"])
        return self.rows if self.is_table else len(self.paths)

    @property
    def ranges_of_items(self) -> list[list[int]]:
        """The items to run, as ``[first, count]`` of each range."""
        return list(self.extra.get("items") or [[0, self.item_count]])

    def only(self, ranges: Any, *, isolates: bool = False, suspect: int = -1) -> PlanLine:
        """Return the line of an attempt that runs only some items of this mini-batch.

        Parameters
        ----------
        ranges
            ``(first, count)`` of each range of items, in increasing order.
        isolates
            Whether the worker runs the items in parts, to find those that fail.
        suspect
            The item that probably fails; -1 for none.
        """
        extra = dict(self.extra, items=[list(pair) for pair in ranges])
        if isolates:
            extra["isolates"] = True
            extra["suspect"] = suspect
        columns: list[list[Any]] = [self.paths, self.sizes, self.versions]
        if not self.is_table:
            numbers = self._numbers_of(ranges)
            columns = [[column[n] for n in numbers] if column else [] for column in columns]
        line = PlanLine(self.input_number, *columns, rows=self.rows, extra=extra)
        line.is_table, line.ranges, line.table = self.is_table, self.ranges, self.table
        return line

    def _numbers_of(self, ranges: Any) -> list[int]:
        """Return the positions in ``paths`` of some items; the others take no time."""
        own = iter(self.ranges_of_items)
        (first, count), start = next(own), 0
        numbers = []
        for item in items_in(ranges):
            while item >= first + count:
                start += count
                first, count = next(own)
            numbers.append(start + item - first)
        return numbers

    @property
    def first(self) -> int:
        """Number of the first item in the run."""
        return int(self.extra.get("first", 0))

    @property
    def next_first(self) -> int:
        """Number of the first item of the next mini-batch."""
        return self.first + self.item_count

    @property
    def files(self) -> list[tuple[str, int, Any]]:
        """Path, size and version of each file; nothing if their versions are elsewhere."""
        return list(zip(self.paths, self.sizes, self.versions))
