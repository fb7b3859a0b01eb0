"""A process that uploads a run's output to a store, so that a stalled store can be abandoned.

``python -m parallelrun_jupyter.data.storage.upload_process PARENT`` reads one line of JSON, an object with
``storage``, ``url`` (a folder) and ``files``, a list of (path, path below the url). It uploads the files
and replies with ``["done"]`` or ``["failed", reason]``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ...errors import ParallelRunError
from ...worker.child_loop import serve_json_lines
from .object_store import ObjectStore
from .storage import StorageSpec
from .transfer import put_file

_CONNECTIONS = 8


def upload_files(job: Mapping[str, Any]) -> None:
    """Upload files, the last one after all others, so that its presence signals completion."""
    *others, (path, name) = job["files"]
    url = job["url"]
    with ObjectStore(StorageSpec.of_spec(job["storage"])) as store:
        with ThreadPoolExecutor(_CONNECTIONS) as pool:
            list(pool.map(lambda file: put_file(store, file[0], f"{url}/{file[1]}"), others))
        put_file(store, path, f"{url}/{name}")


def _work(messages: Iterator[Any], send: Callable[[list[Any]], None]) -> None:
    try:
        upload_files(next(messages))
        send(["done"])
    except (ParallelRunError, OSError) as error:
        send(["failed", str(error)])


if __name__ == "__main__":
    serve_json_lines(_work)
