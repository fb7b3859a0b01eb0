"""The results of functions: the committed blocks of a run, with the numbers of their items."""

from __future__ import annotations

import os
import zlib
from array import array
from collections.abc import Iterable, Iterator
from contextlib import closing
from typing import IO, NamedTuple

from ...errors import OutputError
from ...worker.output.objects import Block, block_at
from ...worker.plan_line import END_MARK, PlanLine
from ..journal.events import Event
from ..journal.files import JournalReader
from ..run_folder import RunFolder
from ..run_record import RunRecord
from .committed_rows import part_path
from .earlier_rows import Result, Results, results_of

_MEMORY = "memory"


class ItemBlock(NamedTuple):
    """The results of consecutive items: the number of the first in the run, their count, and a block."""

    first: int
    items: int
    block: Block


def committed_blocks(folder: RunFolder, record: RunRecord) -> Iterator[ItemBlock]:
    """Yield the committed results of a run in input order.

    Raises
    ------
    OutputError
        A file with results is missing, or was changed.
    """
    with closing(BlockReader(folder, record)) as reader:
        reader.note_all(JournalReader(folder.journal).read())
        plan = Plan(folder, record)
        for result in reader.results:
            block = reader.read(result)
            if block is not None:
                yield ItemBlock(plan.first(result.mini_batch) + result.first, result.items, block)


class BlockReader:
    """Reads the results of a run, also while it runs, by the events of its journal.

    A file that is open stays readable when the run removes it. The results of part files that have been
    removed are in the output file, in input order.

    Parameters
    ----------
    folder, record
        The run.
    results
        All its results, if they are known already. Default: those of the events that are noted.
    """

    def __init__(
        self, folder: RunFolder, record: RunRecord, results: Results | None = None
    ) -> None:
        self.results = Results() if results is None else results
        self._is_whole = results is not None
        self._folder, self._record = folder, record
        self._parts: dict[int, IO[bytes] | None] = {}
        self._final: IO[bytes] | None = None
        #: offset in the output file of each result, by mini-batch and first item
        self._offsets: dict[tuple[int, int], int] = {}

    def note(self, events: Iterable[Event]) -> None:
        """Add the results of events."""
        for event in events:
            self.results.note(event)

    def note_all(self, events: Iterable[Event]) -> None:
        """Add the results of all events of the journal."""
        self.note(events)
        self._is_whole = True

    def read(self, result: Result) -> Block | None:
        """Return the block of a result; None if it has no values.

        Raises
        ------
        OutputError
            The file with the result is missing, or was changed.
        """
        part, offset, length, crc = self.results.place(result)
        if not length:
            return None
        file = self._open_part(part)
        if file is None:
            file = self._open_final()
            offset = self._offsets[result.mini_batch, result.first]
        data = os.pread(file.fileno(), length, offset)
        if len(data) != length or zlib.crc32(data) != crc:
            msg = (
                f"{file.name} does not have the results that the run wrote: the file was changed or "
                "the disk is failing. Run it again."
            )
            raise OutputError(msg)
        return block_at(data, 0)[0]

    def _open_part(self, part: int) -> IO[bytes] | None:
        if part not in self._parts:
            try:
                self._parts[part] = open(part_path(self._folder, part), "rb")  # noqa: SIM115 - closed by close()
            except FileNotFoundError:
                self._parts[part] = None
        return self._parts[part]

    def _open_final(self) -> IO[bytes]:
        if self._final is None:
            path = self._folder.final_file(self._record)
            try:
                self._final = open(path, "rb")  # noqa: SIM115 - closed by close()
            except OSError as error:
                msg = (
                    f"the results of run {self._folder.run_id} have been removed: {path} "
                    f"({error.strerror})"
                )
                raise OutputError(msg) from error
            self._offsets = self._offsets_in_final()
        return self._final

    def _offsets_in_final(self) -> dict[tuple[int, int], int]:
        results = self.results if self._is_whole else results_of(self._events())
        offsets, offset = {}, 0
        for result in results:
            offsets[result.mini_batch, result.first] = offset
            offset += results.place(result)[2]
        return offsets

    def _events(self) -> Iterator[Event]:
        return JournalReader(self._folder.journal).read()

    def close(self) -> None:
        """Close the files."""
        for file in [*self._parts.values(), self._final]:
            if file is not None:
                file.close()


class Plan:
    """The plan of a run: the line and the first item of each mini-batch, by number."""

    def __init__(self, folder: RunFolder, record: RunRecord) -> None:
        self._path = folder.plan
        self._offsets = array("q", [0])
        specs = record.inputs.datasets
        #: items of each mini-batch, if all have the same number
        self._rows = specs[0]["rows"] if [s["kind"] for s in specs] == [_MEMORY] else 0

    def first(self, mini_batch: int) -> int:
        """Return the number in the run of the first item of a mini-batch."""
        return mini_batch * self._rows if self._rows else self.line(mini_batch).first

    def line(self, mini_batch: int) -> PlanLine:
        """Return the line of a mini-batch, which has been planned."""
        with open(self._path, "rb") as lines:
            if mini_batch + 1 >= len(self._offsets):
                self._index(lines)
            start, end = self._offsets[mini_batch : mini_batch + 2]
            return PlanLine.decode(os.pread(lines.fileno(), end - start, start))

    def _index(self, lines: IO[bytes]) -> None:
        lines.seek(self._offsets[-1])
        for line in lines:
            if line.startswith(END_MARK) or not line.endswith(b"\n"):
                return
            self._offsets.append(self._offsets[-1] + len(line))
