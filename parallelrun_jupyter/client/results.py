"""Reads the rows of a run as a table: from its output file, its part files, or the rows so far."""

from __future__ import annotations

import io
import os
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import InputError, OutputError
from ..formatting import plural
from ..runs.journal.files import JournalReader
from ..runs.output.committed_rows import committed_rows, committed_table, published_notes, read_rows
from ..runs.output.manifest import MANIFEST, read_manifest
from ..runs.output.stored_parts import ordered_parts, read_spliced
from ..runs.run_folder import RunFolder
from ..runs.run_record import RunRecord
from ..runs.snapshot.snapshot import Snapshot
from ..worker.output.formats import OBJECTS
from .function_results import results_frame

if TYPE_CHECKING:
    import pandas as pd

    from ..data.storage.object_store import ObjectStore

_CONCURRENT_READS = 8


def read_frame(folder: RunFolder, record: RunRecord, snapshot: Snapshot) -> pd.DataFrame:
    """Return the rows of a run, in input order; warn if they are incomplete.

    Raises
    ------
    OutputError
        The run writes no rows, or its output has been removed.
    """
    if not record.output.append_rows:
        msg = (
            f"run {folder.run_id} has output_action 'summary_only': its script writes its own "
            "output. Submit it with output_action='append_row' to read its rows here."
        )
        raise OutputError(msg)
    output = snapshot["output"]
    if not output and record.is_followed:
        warnings.warn(
            f"run {folder.run_id} is {snapshot['state']}: the rows of a job of Azure ML of others are "
            "downloaded when it has ended; there are none",
            stacklevel=3,
        )
    elif not output:
        source = f", from {record.output.url}" if record.output.in_parts else ""
        warnings.warn(
            f"run {folder.run_id} is {snapshot['state']}: these are the rows of "
            f"{plural(snapshot['succeeded'], 'mini-batch')} of {snapshot['mini_batches']:,}, not "
            f"all{source}",
            stacklevel=3,
        )
    if record.output.format == OBJECTS:
        frame: pd.DataFrame = results_frame(folder, record)
        return frame
    if record.output.in_parts:
        return _frame_of_parts(folder, record, is_published=bool(output))
    if not output:
        rows = committed_rows(JournalReader(folder.journal).read())
        return committed_table(folder, rows, record.output.format)
    data = _read_final(folder, output, record)
    return read_rows(data, record.output.format, published_notes(folder))


def _read_final(folder: RunFolder, output: str, record: RunRecord) -> bytes:
    """Read the output file; if it is in a store, the run's own copy while that exists."""
    from ..data.staging.local_copies import local_copy

    # `output` may be shortened and escaped: the record has the path.
    path: str | Path = folder.final_file(record)
    try:
        if record.output.storage and not os.path.exists(path):
            path = local_copy(output, record.output.storage)
        with open(path, "rb") as file:
            return file.read()
    except (OSError, InputError) as error:
        msg = f"the output of run {folder.run_id} has been removed: {output}"
        raise OutputError(msg) from error


def _frame_of_parts(folder: RunFolder, record: RunRecord, *, is_published: bool) -> pd.DataFrame:
    """Read the part files named by the manifest; until it is published, those in the journal."""
    import pandas as pd
    import pyarrow as pa

    from ..data.storage.object_store import ObjectStore
    from ..data.storage.storage import StorageSpec
    from ..runs.output.schemas import fitted, unify_schemas

    url = record.output.url
    assert record.output.storage is not None
    try:
        with ObjectStore(StorageSpec.of_spec(record.output.storage)) as store:
            if is_published:
                manifest = _read(store, f"{url}/{MANIFEST}")
                pieces = [_Piece(name) for name in read_manifest(manifest, folder.run_id, url)]
            else:
                pieces = _pieces_in_journal(folder)
            names = list(dict.fromkeys(piece.name for piece in pieces))
            with ThreadPoolExecutor(_CONCURRENT_READS) as pool:
                tables = list(pool.map(lambda name: _table(store, f"{url}/{name}"), names))
    except InputError as error:
        msg = f"the output of run {folder.run_id} could not be read: {error}"
        raise OutputError(msg) from error
    schema = unify_schemas((name, table.schema) for name, table in zip(names, tables, strict=True))
    frame: pd.DataFrame = pd.DataFrame()
    if schema is not None:
        of_name = {
            name: fitted(table, schema, name) for name, table in zip(names, tables, strict=True)
        }
        rows = [of_name[piece.name].slice(piece.offset, piece.rows) for piece in pieces]
        frame = pa.concat_tables(rows).to_pandas()
    return frame


class _Piece(NamedTuple):
    """Consecutive rows of a part; None for all from ``offset``."""

    name: str
    offset: int = 0
    rows: int | None = None


def _pieces_in_journal(folder: RunFolder) -> list[_Piece]:
    """Return the rows of the parts stored so far, in input order."""
    spliced = read_spliced(folder.spliced_parts)
    pieces = []
    for group in ordered_parts(lambda: JournalReader(folder.journal).read(), spliced):
        pieces += [_Piece(s.name, s.offset, s.rows) for s in group.segments]
        pieces += [_Piece(part.name) for part in group.parts if not group.segments]
    return pieces


def _read(store: ObjectStore, url: str) -> bytes:
    from ..data.storage.object_store import plain_errors

    with plain_errors(store.storage, url):
        data: bytes = store.files.cat_file(url)
    return data


def _table(store: ObjectStore, url: str) -> Any:
    import pyarrow.parquet as pq

    return pq.read_table(io.BytesIO(_read(store, url)))
