"""Makes parts of the output and puts them into its store; and makes one output of all parts.

``python -m parallelrun_jupyter.engine.output.part_process PARENT`` reads a line of JSON for each job,
``[kind, path]``: ``put``, one part of a node, or ``publish``, the manifest, where the file at the
path says what. It answers with ``["done", rows, size_bytes]`` or ``["failed", reason, may_pass]``,
which tells if another try may help; while it publishes, with ``["alive"]`` for each step. An error
that nobody expected ends it, with ``["crashed", error, message, traceback]``.
"""

from __future__ import annotations

import json
import os
import re
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ...data.storage.object_store import ObjectStore, plain_errors
from ...data.storage.storage import StorageSpec
from ...data.storage.transfer import put_file
from ...data.storage.upload_process import put_all
from ...errors import OutputError, ParallelRunError
from ...runs.output.manifest import MANIFEST, manifest_text
from ...runs.output.merge import merge_rows
from ...runs.output.schemas import fitted, is_fitting, unify_schemas
from ...worker.helper import serve
from ...worker.output.formats import PARQUET

_AT_ONCE = 16
_OURS = re.compile(
    r"part-\d{9,}-[0-9a-f]+\.parquet|_trial-[0-9a-f]+|\._?(part|trial|manifest).*\.tmp"
)
"""What may be deleted in the folder of an output: names that only this package gives."""

_Say = Callable[[], None]


def put(job: Mapping[str, Any], store: ObjectStore) -> tuple[int, int]:
    """Put one part, or without pieces see that something can be put; return its rows and bytes."""
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
    """Yield (mini_batch, rows) as the node keeps them."""
    files = [os.open(path, os.O_RDONLY) for path in job["files"]]
    try:
        for mini_batch, number, offset, length, crc in job["pieces"]:
            data = b"".join(_pieces(files[number], offset, length))
            if len(data) != length or zlib.crc32(data) != crc:
                msg = (
                    f"the rows of mini-batch {mini_batch} in {job['files'][number]} are not those "
                    "that were kept: the file was changed or the disk is failing."
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
            pass  # it is what was wanted


def publish(job: Mapping[str, Any], store: ObjectStore, say: _Say) -> tuple[int, int]:
    """Make one output of the parts, and let the manifest say so, last of all.

    Parts whose types are not those of all are put again under their own names, so that whoever
    publishes anew after a crash finds the same rows. What no journal names is deleted.
    """
    if job["files"]:
        put_all({"storage": job["storage"], "url": job["output"], "files": job["files"]})
        say()
    url, parts = job["url"], job["parts"]

    def look(part: Mapping[str, Any]) -> pa.Schema:
        found = _schema_of(store, f"{url}/{part['name']}", part["rows"])
        say()
        return found

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        schemas = list(pool.map(look, parts))
    schema = unify_schemas(zip(map(_mini_batches, parts), schemas, strict=True))
    for part, found in zip(parts, schemas, strict=True):
        if not is_fitting(found, schema):
            part["size_bytes"] = _rewrite(store, url, part, schema, job["temporary"])
            say()
    _clear(store, url, {part["name"] for part in parts}, say)
    columns = [(field.name, str(field.type)) for field in schema] if schema is not None else []
    with open(job["temporary"], "w", encoding="utf-8") as file:
        file.write(manifest_text(job["run_id"], parts, columns))
    put_file(store, job["temporary"], f"{url}/{MANIFEST}")
    os.unlink(job["temporary"])
    return sum(part["rows"] for part in parts), sum(part["size_bytes"] for part in parts)


def _mini_batches(part: Mapping[str, Any]) -> str:
    first, count = part["first"], part["mini_batches"]
    return f"mini-batches {first} to {first + count - 1}" if count > 1 else f"mini-batch {first}"


def _schema_of(store: ObjectStore, url: str, rows: int) -> pa.Schema:
    with plain_errors(store.storage, url), store.files.open(url, cache_type="none") as file:
        found = pq.ParquetFile(file)
        schema, there = found.schema_arrow, found.metadata.num_rows
    if there != rows:
        msg = (
            f"{url!r} has {there:,} rows, but {rows:,} were put there: somebody has changed it. "
            "Start the run anew, into a folder of its own."
        )
        raise OutputError(msg)
    return schema


def _rewrite(
    store: ObjectStore, folder: str, part: Mapping[str, Any], schema: pa.Schema, temporary: str
) -> int:
    """Put a part again with the types of all; return its bytes."""
    url = f"{folder}/{part['name']}"
    before = f"{temporary}.before"
    with plain_errors(store.storage, url):
        store.files.get_file(url, before)
    with pq.ParquetFile(before) as source, pq.ParquetWriter(temporary, schema) as target:
        for group in range(source.num_row_groups):
            table = source.read_row_group(group)
            target.write_table(fitted(table, schema, _mini_batches(part)))
    put_file(store, temporary, url)
    os.unlink(before)
    return os.path.getsize(temporary)


def _clear(store: ObjectStore, url: str, named: set[str], say: _Say) -> None:
    """Delete what lost nodes, earlier attempts and earlier runs have left; their manifest first."""
    names = _names_in(store, url)
    left = sorted(name for name in names - named if _OURS.fullmatch(name))
    if left and MANIFEST in names:
        _delete(store, f"{url}/{MANIFEST}")
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for _ in pool.map(lambda name: _delete(store, f"{url}/{name}"), left):
            say()
    with plain_errors(store.storage, url):
        try:
            if store.files.info(url)["type"] == "file":
                store.files.rm_file(url)  # the output in one file of an earlier run
        except FileNotFoundError:
            pass  # there is no folder: no mini-batch had any rows


def _names_in(store: ObjectStore, url: str) -> set[str]:
    with plain_errors(store.storage, url):
        try:
            folder = store.files._strip_protocol(url)  # noqa: SLF001 - what fsspec's own ls does
            found = store.files.ls(folder, detail=False)
        except FileNotFoundError:
            return set()
    return {path.rstrip("/").rpartition("/")[2] for path in found}


class _Server:
    """Does jobs, and keeps the store open between them."""

    def __init__(self, say: Callable[[list[Any]], None]) -> None:
        self._say = say
        self._stores: dict[str, ObjectStore] = {}

    def serve(self) -> None:
        """Answer each line until there are no more."""
        for line in sys.stdin:
            kind, path = json.loads(line)
            with open(path, encoding="ascii") as file:
                job = json.load(file)
            self._say(self._do(kind, job))

    def _do(self, kind: str, job: Mapping[str, Any]) -> list[Any]:
        try:
            store = self._store_of(job["storage"])
            if kind == "put":
                return ["done", *put(job, store)]
            return ["done", *publish(job, store, lambda: self._say(["alive"]))]
        except OutputError as error:
            return ["failed", str(error), False]
        except pa.lib.ArrowException as error:
            return ["failed", f"the rows do not fit into Parquet: {error}.", False]
        except (ParallelRunError, OSError) as error:
            return ["failed", str(error), True]

    def _store_of(self, spec: Mapping[str, Any]) -> ObjectStore:
        key = json.dumps(spec, sort_keys=True)
        if key not in self._stores:
            self._stores[key] = ObjectStore(StorageSpec.of_spec(spec))
        return self._stores[key]


if __name__ == "__main__":
    serve(lambda say: _Server(say).serve())
