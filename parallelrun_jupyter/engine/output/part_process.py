"""A process that uploads parts of the output to its store, and publishes all parts as one output.

``python -m parallelrun_jupyter.engine.output.part_process PARENT`` reads a line of JSON for each job,
``[kind, path]``, with the details in the JSON file at the path: ``put`` uploads one part of a node,
``publish`` writes the manifest. It replies with ``["done", rows, size_bytes]`` or ``["failed", reason,
is_transient]``, and while it publishes with ``["alive"]`` after each step.
"""

from __future__ import annotations

import json
import os
import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ...data.storage.object_store import ObjectStore, plain_errors
from ...data.storage.storage import StorageSpec
from ...data.storage.transfer import put_file
from ...data.storage.upload_process import upload_files
from ...errors import OutputError, ParallelRunError
from ...runs.journal.events import Event
from ...runs.journal.files import JournalReader
from ...runs.output.manifest import MANIFEST, manifest_text
from ...runs.output.merge import merge_rows
from ...runs.output.schemas import fitted, is_fitting, unify_schemas
from ...runs.output.stored_parts import (
    PartGroup,
    StoredPart,
    ordered_parts,
    read_spliced,
    write_spliced,
)
from ...worker.child_loop import serve_json_lines
from ...worker.output.formats import PARQUET
from .splicer import Splicer, mini_batches_text

_CONNECTIONS = 16
_EVENTS_PER_REPORT = 100_000
_OURS = re.compile(
    r"part-\d{9,}-[0-9a-f]+\.parquet|_trial-[0-9a-f]+|\._?(part|trial|manifest).*\.tmp"
)
"""Files that may be deleted in an output's folder: only this package uses such names."""


def upload_part(job: Mapping[str, Any], store: ObjectStore) -> tuple[int, int]:
    """Upload one part and return its rows and bytes; without pieces, upload a trial and delete it."""
    temporary, url = job["temporary"], job["url"]
    if not job["pieces"]:
        with open(temporary, "wb") as file:
            file.write(b"?")
        put_file(store, temporary, url)
        _delete(store, url)
        return 0, 0
    with open(temporary, "wb") as file:
        file.writelines(merge_rows(lambda: _read(job), PARQUET))
    rows: int = pq.read_metadata(temporary).num_rows
    put_file(store, temporary, url)
    size_bytes = os.path.getsize(temporary)
    os.unlink(temporary)
    return rows, size_bytes


def _read(job: Mapping[str, Any]) -> Iterator[tuple[int, bytes]]:
    """Yield (mini_batch, rows) from the files of the node's spool."""
    files = [os.open(path, os.O_RDONLY) for path in job["files"]]
    try:
        for mini_batch, number, offset, length, crc in job["pieces"]:
            data = b"".join(_pieces(files[number], offset, length))
            if len(data) != length or zlib.crc32(data) != crc:
                msg = (
                    f"the rows of mini-batch {mini_batch} in {job['files'][number]} have "
                    "changed since they were stored: the file was modified or the disk is failing."
                )
                raise OutputError(msg)
            yield mini_batch, data
    finally:
        for fd in files:
            os.close(fd)


def _pieces(fd: int, offset: int, length: int) -> Iterator[bytes]:
    while length > 0 and (data := os.pread(fd, min(length, 1 << 30), offset)):
        yield data
        offset, length = offset + len(data), length - len(data)


def _delete(store: ObjectStore, url: str) -> None:
    with plain_errors(store.storage, url):
        try:
            store.files.rm_file(url)
        except FileNotFoundError:
            pass  # deleted before


def publish(
    job: Mapping[str, Any], store: ObjectStore, report_progress: Callable[[], None]
) -> tuple[int, int]:
    """Publish the parts as one output, which exists once its manifest is written; return rows and bytes.

    Parts with rows between each other's rows are spliced. Others with other types than the common
    schema are uploaded again under the same name, so that a second try after a crash finds the same
    rows. Other parts are deleted.
    """
    if job["files"]:
        upload_files({"storage": job["storage"], "url": job["output"], "files": job["files"]})
        report_progress()
    url, spliced_path = job["url"], Path(job["spliced"])
    spliced = read_spliced(spliced_path)
    if job["parts"] is None:
        groups = ordered_parts(lambda: _events(Path(job["journal"]), report_progress), spliced)
    else:
        groups = [PartGroup([StoredPart.of_json(row)]) for row in job["parts"]]
    in_use = [part for group in groups for part in group.parts_in_use()]

    def read_schema(part: StoredPart) -> tuple[str, tuple[pa.Schema, int]]:
        schema = _schema_of(store, f"{url}/{part.name}", part.rows)
        report_progress()
        return part.name, schema

    with ThreadPoolExecutor(_CONNECTIONS) as pool:
        schemas = dict(pool.map(read_schema, in_use))
    common = unify_schemas((_mini_batches(part), schemas[part.name][0]) for part in in_use)
    parts = _spliced(groups, Splicer(store, url, common, job["temporary"], report_progress))
    names = {part.name for part in parts}
    if any(part.sources for part in [*parts, *spliced]):
        write_spliced(spliced_path, [part for part in parts if part.sources])
    for number, part in enumerate(parts):
        if part.name not in schemas:
            continue
        schema, size_bytes = schemas[part.name]
        if not is_fitting(schema, common):
            size_bytes = _rewrite(store, url, part, common, job["temporary"])
            report_progress()
        parts[number] = replace(part, size_bytes=size_bytes)
    _delete_leftovers(store, url, names, report_progress)
    columns = [(field.name, str(field.type)) for field in common] if common is not None else []
    rows = [_manifest_row(part) for part in parts]
    shared = sum(a.high[0] == b.low[0] for a, b in pairwise(parts))
    mini_batches = sum(part.mini_batches for part in parts) - shared
    with open(job["temporary"], "w", encoding="utf-8") as file:
        file.write(manifest_text(job["run_id"], rows, columns, mini_batches))
    put_file(store, job["temporary"], f"{url}/{MANIFEST}")
    os.unlink(job["temporary"])
    return sum(part.rows for part in parts), sum(part.size_bytes for part in parts)


def _events(journal: Path, report_progress: Callable[[], None]) -> Iterator[Event]:
    for number, event in enumerate(JournalReader(journal).read()):
        if number % _EVENTS_PER_REPORT == 0:
            report_progress()
        yield event


def _spliced(groups: list[PartGroup], splicer: Splicer) -> list[StoredPart]:
    """Return the parts of the output, in order, with each group spliced."""
    parts: list[StoredPart] = []
    for group in reversed(groups):  # the name of a new part depends on the next one
        before = parts[0].name if parts else ""
        new = splicer.splice(group, before) if group.segments else group.parts
        parts[:0] = new
    return parts


def _manifest_row(part: StoredPart) -> dict[str, Any]:
    return {
        "name": part.name,
        "first": part.low[0],
        "mini_batches": part.mini_batches,
        "rows": part.rows,
        "size_bytes": part.size_bytes,
    }


def _mini_batches(part: StoredPart) -> str:
    return mini_batches_text(part.low, part.high)


def _schema_of(store: ObjectStore, url: str, rows: int) -> tuple[pa.Schema, int]:
    """Return the schema of a part that has this number of rows, and its bytes."""
    with plain_errors(store.storage, url), store.files.open(url, cache_type="none") as file:
        parquet = pq.ParquetFile(file)
        schema, rows_now = parquet.schema_arrow, parquet.metadata.num_rows
        size_bytes = int(file.size)
    if rows_now != rows:
        msg = (
            f"{url!r} has {rows_now:,} rows, but {rows:,} were uploaded: another process has changed "
            "it. Start a new run with an output folder of its own."
        )
        raise OutputError(msg)
    return schema, size_bytes


def _rewrite(
    store: ObjectStore, folder: str, part: StoredPart, schema: pa.Schema, temporary: str
) -> int:
    """Upload a part again with the common schema; return its bytes."""
    url = f"{folder}/{part.name}"
    original = f"{temporary}.before"
    with plain_errors(store.storage, url):
        store.files.get_file(url, original)
    with pq.ParquetFile(original) as source, pq.ParquetWriter(temporary, schema) as target:
        for group in range(source.num_row_groups):
            table = source.read_row_group(group)
            target.write_table(fitted(table, schema, _mini_batches(part)))
    put_file(store, temporary, url)
    os.unlink(original)
    return os.path.getsize(temporary)


def _delete_leftovers(
    store: ObjectStore, url: str, part_names: set[str], report_progress: Callable[[], None]
) -> None:
    """Delete the files of lost nodes, earlier attempts and earlier runs; their manifest first."""
    names = _names_in(store, url)
    leftovers = sorted(name for name in names - part_names if _OURS.fullmatch(name))
    if leftovers and MANIFEST in names:
        _delete(store, f"{url}/{MANIFEST}")
    with ThreadPoolExecutor(_CONNECTIONS) as pool:
        for _ in pool.map(lambda name: _delete(store, f"{url}/{name}"), leftovers):
            report_progress()
    with plain_errors(store.storage, url):
        try:
            if store.files.info(url)["type"] == "file":
                store.files.rm_file(url)  # the output in one file of an earlier run
        except FileNotFoundError:
            pass  # no folder: no mini-batch had any rows


def _names_in(store: ObjectStore, url: str) -> set[str]:
    with plain_errors(store.storage, url):
        try:
            folder = store.files._strip_protocol(url)  # noqa: SLF001 - as fsspec's own ls does
            paths = store.files.ls(folder, detail=False)
        except FileNotFoundError:
            return set()
    return {path.rstrip("/").rpartition("/")[2] for path in paths}


class _Jobs:
    """Runs jobs, and keeps their stores open in between."""

    def __init__(self, send: Callable[[list[Any]], None]) -> None:
        self._send = send
        self._stores: dict[str, ObjectStore] = {}

    def do(self, kind: str, path: str) -> list[Any]:
        """Run the job described in a file, and return the reply."""
        with open(path, encoding="ascii") as file:
            job = json.load(file)
        try:
            store = self._open(job["storage"])
            if kind == "put":
                return ["done", *upload_part(job, store)]
            return ["done", *publish(job, store, lambda: self._send(["alive"]))]
        except OutputError as error:
            return ["failed", str(error), False]
        except pa.lib.ArrowException as error:
            return ["failed", f"the rows do not fit into Parquet: {error}.", False]
        except (ParallelRunError, OSError) as error:
            return ["failed", str(error), True]

    def _open(self, spec: Mapping[str, Any]) -> ObjectStore:
        key = json.dumps(spec, sort_keys=True)
        if key not in self._stores:
            self._stores[key] = ObjectStore(StorageSpec.of_spec(spec))
        return self._stores[key]


def _work(messages: Iterator[Any], send: Callable[[list[Any]], None]) -> None:
    jobs = _Jobs(send)
    for kind, path in messages:
        send(jobs.do(kind, path))


if __name__ == "__main__":
    serve_json_lines(_work)
