"""Puts a run's output into a store: a process of its own, which a store that stalls cannot outlast.

``python -m parallelrun_jupyter.data.storage.upload_process PARENT`` reads one line of JSON, an object with
``storage``, ``url`` (a folder) and ``files``, a list of (path, path below the url), puts them in
that order, and answers with a line, ``["done"]``, ``["failed", reason]`` or, for an error that nobody
expected, ``["crashed", error, message, traceback]``.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ...errors import ParallelRunError
from ...worker.helper import serve
from .object_store import ObjectStore
from .storage import StorageSpec
from .transfer import put_file

_AT_ONCE = 8


def put_all(job: Mapping[str, Any]) -> None:
    """Put files into a store, the last of them when all others are there."""
    *others, (path, name) = job["files"]
    url = job["url"]
    with ObjectStore(StorageSpec.of_spec(job["storage"])) as store:
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            list(pool.map(lambda file: put_file(store, file[0], f"{url}/{file[1]}"), others))
        put_file(store, path, f"{url}/{name}")  # last: where it is, all is


def _work(say: Callable[[list[Any]], None]) -> None:
    try:
        put_all(json.loads(sys.stdin.readline()))
        say(["done"])
    except (ParallelRunError, OSError) as error:
        say(["failed", str(error)])


if __name__ == "__main__":
    serve(_work)
