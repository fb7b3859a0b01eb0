"""Splices parts of an output: rows of several parts, in input order, become new parts."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator

import pyarrow as pa
import pyarrow.parquet as pq

from ...data.storage.object_store import ObjectStore, plain_errors
from ...data.storage.transfer import put_file
from ...runs.output.manifest import PART_NAME
from ...runs.output.schemas import fitted
from ...runs.output.stored_parts import SPLICED_BYTES, PartGroup, Segment, StoredPart

_ROW_GROUP_BYTES = 1 << 26


class Splicer:
    """Writes the rows of groups of parts in order, as new parts.

    It needs memory for a few row groups, and disk space for a new part and for the parts between
    whose rows it is.

    Parameters
    ----------
    store, url
        The store, and the output's folder in it.
    schema
        The schema of the new parts.
    temporary
        The beginning of the paths of temporary files.
    report_progress
        Called after each download and upload.
    """

    def __init__(
        self,
        store: ObjectStore,
        url: str,
        schema: pa.Schema,
        temporary: str,
        report_progress: Callable[[], None],
    ) -> None:
        self._store = store
        self._url = url
        self._schema = schema
        self._temporary = temporary
        self._report_progress = report_progress
        self._sources: dict[str, _Source] = {}
        #: number of segments of each part that are not written yet
        self._left: Counter[str] = Counter()

    def splice(self, group: PartGroup, before: str = "") -> list[StoredPart]:
        """Upload the rows of a group as new parts, and return these.

        Their names depend only on the group, so that a second try after a crash overwrites the files
        of the first one. The parts of the group are unchanged.

        Parameters
        ----------
        group
            Parts, and their rows in order.
        before
            The name of the next part of the output; the new names sort before it.
        """
        self._left.update(segment.name for segment in group.segments)
        sources = [name for part in group.parts for name in part.sources or [part.name]]
        sources = sorted(set(sources))
        seed = json.dumps([sources, group.drops])
        parts = []
        for segments in _divided(group):
            name = _new_name(segments[0].low[0], seed, before)
            self._write(segments)
            put_file(self._store, self._temporary, f"{self._url}/{name}")
            self._report_progress()
            parts.append(
                StoredPart(
                    name=name,
                    low=segments[0].low,
                    high=segments[-1].high,
                    mini_batches=sum(segment.mini_batches for segment in segments),
                    rows=sum(segment.rows for segment in segments),
                    size_bytes=os.path.getsize(self._temporary),
                    drops=group.drops,
                    sources=tuple(sources),
                )
            )
            os.unlink(self._temporary)
        return parts

    def _write(self, segments: list[Segment]) -> None:
        """Write the rows of segments to the temporary file."""
        held: list[pa.Table] = []
        held_bytes = 0
        with pq.ParquetWriter(self._temporary, self._schema) as target:
            for table in self._tables(segments):
                held.append(table)
                held_bytes += table.nbytes
                if held_bytes >= _ROW_GROUP_BYTES:
                    target.write_table(pa.concat_tables(held))
                    held, held_bytes = [], 0
            if held:
                target.write_table(pa.concat_tables(held))

    def _tables(self, segments: list[Segment]) -> Iterator[pa.Table]:
        """Yield the rows of segments; a part that is no longer needed is deleted."""
        for segment in segments:
            name = segment.name
            if name not in self._sources:
                self._sources[name] = self._download(name)
            for table in self._sources[name].rows(segment.offset, segment.rows):
                yield fitted(table, self._schema, mini_batches_text(segment.low, segment.high))
            self._left[name] -= 1
            if not self._left[name]:
                self._sources.pop(name).remove()

    def _download(self, name: str) -> _Source:
        url, path = f"{self._url}/{name}", f"{self._temporary}.{name}"
        with plain_errors(self._store.storage, url):
            self._store.files.get_file(url, path)
        self._report_progress()
        return _Source(path)


class _Source:
    """The rows of a downloaded part, read in order, one row group at a time."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._file = pq.ParquetFile(path)
        #: the current row group, and its first and end row in the file
        self._group = -1
        self._start = self._end = 0
        self._table: pa.Table | None = None

    def rows(self, offset: int, count: int) -> Iterator[pa.Table]:
        """Yield rows from ``offset``, which does not decrease from call to call."""
        end = offset + count
        while offset < end:
            while offset >= self._end:
                self._group, self._start, self._table = self._group + 1, self._end, None
                self._end += self._file.metadata.row_group(self._group).num_rows
            if self._table is None:
                self._table = self._file.read_row_group(self._group)
            length = min(end, self._end) - offset
            yield self._table.slice(offset - self._start, length)
            offset += length

    def remove(self) -> None:
        """Close and delete the file."""
        self._file.close()
        os.unlink(self._path)


def _divided(group: PartGroup) -> Iterator[list[Segment]]:
    """Yield the segments of each new part."""
    bytes_per_row = {part.name: part.size_bytes / max(1, part.rows) for part in group.parts}
    segments: list[Segment] = []
    size_bytes = 0.0
    for segment in group.segments:
        if size_bytes >= SPLICED_BYTES and segment.low[0] > segments[-1].high[0]:
            yield segments
            segments, size_bytes = [], 0.0
        segments.append(segment)
        size_bytes += segment.rows * bytes_per_row[segment.name]
    yield segments


def _new_name(first: int, seed: str, before: str) -> str:
    """Return a name for a new part that begins with mini-batch ``first``.

    If the next part begins with the same mini-batch, the rest of the name decides their order.
    """
    suffix = hashlib.sha256(seed.encode()).hexdigest()[:12]
    name = PART_NAME.format(first, suffix)
    if not before or name < before:
        return name
    start = PART_NAME.format(first, "").removesuffix(".parquet")
    later = before.removeprefix(start).removesuffix(".parquet")
    # A lower number of the same length, and then the suffix: it sorts before the later name.
    return PART_NAME.format(first, f"{max(0, int(later, 16) - 1):0{len(later)}x}{suffix}")


def mini_batches_text(low: tuple[int, int], high: tuple[int, int]) -> str:
    """Return the mini-batches between two places, as words."""
    first, last = low[0], high[0]
    return f"mini-batches {first} to {last}" if last > first else f"mini-batch {first}"
