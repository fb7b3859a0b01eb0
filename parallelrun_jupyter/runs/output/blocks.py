"""The results of functions: the committed blocks of a run, with the numbers of their items."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from typing import IO, NamedTuple

from ...errors import OutputError
from ...worker.output.objects import Block, block_at
from ...worker.plan_line import END_MARK, PlanLine
from ..journal.files import JournalReader
from ..run_folder import RunFolder
from ..run_record import RunRecord
from .committed_rows import part_path
from .earlier_rows import results_of


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
    results = results_of(JournalReader(folder.journal).read())
    placed = [(result, results.place(result)) for result in results]
    firsts = first_items(folder)
    parts = {place[0] for _, place in placed}
    with ExitStack() as files:
        if all(part_path(folder, part).exists() for part in parts):
            opened = {
                part: files.enter_context(open(part_path(folder, part), "rb")) for part in parts
            }
            for result, (part, offset, length, crc) in placed:
                block = read_block(opened[part], offset, length, crc)
                yield ItemBlock(firsts[result.mini_batch] + result.first, result.items, block)
            return
        file = files.enter_context(_open_final(folder, record))
        offset = 0
        for result, (_, _, length, crc) in placed:
            block = read_block(file, offset, length, crc)
            offset += length
            yield ItemBlock(firsts[result.mini_batch] + result.first, result.items, block)


def first_items(folder: RunFolder) -> list[int]:
    """Return the number of the first item of each mini-batch of a plan."""
    firsts = []
    with open(folder.plan, "rb") as lines:
        for line in lines:
            if line.startswith(END_MARK) or not line.endswith(b"\n"):
                break
            firsts.append(PlanLine.decode(line).first)
    return firsts


def _open_final(folder: RunFolder, record: RunRecord) -> IO[bytes]:
    path = folder.final_file(record)
    try:
        return open(path, "rb")
    except OSError as error:
        msg = f"the results of run {folder.run_id} have been removed: {path} ({error.strerror})"
        raise OutputError(msg) from error


def read_block(file: IO[bytes], offset: int, length: int, crc: int) -> Block:
    """Return the block at a place of a file.

    Raises
    ------
    OutputError
        The file does not have it.
    """
    data = os.pread(file.fileno(), length, offset)
    if len(data) != length or zlib.crc32(data) != crc:
        msg = (
            f"{file.name} does not have the results that the run wrote: the file was changed or "
            "the disk is failing. Run it again."
        )
        raise OutputError(msg)
    return block_at(data, 0)[0]
