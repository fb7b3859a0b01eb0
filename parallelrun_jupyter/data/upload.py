"""Puts a run's output into a store: a process of its own, which a store that stalls cannot outlast.

``python -m parallelrun_jupyter.data.upload PARENT`` reads one line of JSON, an object with
``storage``, ``url`` (a folder) and ``files``, a list of (path, path below the url), puts them in
that order, and answers with a line, ``["done"]`` or ``["failed", reason]``.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ..errors import ParallelRunError
from ..worker.parent import die_with_parent
from .remote import Store
from .storage import Storage
from .transfer import put_file

_AT_ONCE = 8


def put_all(job: Mapping[str, Any]) -> None:
    """Put files into a store, the last of them when all others are there."""
    *others, (path, name) = job["files"]
    url = job["url"]
    with Store(Storage.of_spec(job["storage"])) as store:
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            list(pool.map(lambda file: put_file(store, file[0], f"{url}/{file[1]}"), others))
        put_file(store, path, f"{url}/{name}")  # last: where it is, all is


def _main() -> None:
    answers = os.dup(1)
    os.dup2(2, 1)  # what libraries print is no answer
    die_with_parent(int(sys.argv[1]))
    try:
        put_all(json.loads(sys.stdin.readline()))
        answer = ["done"]
    except (ParallelRunError, OSError) as error:
        answer = ["failed", str(error)]
    os.write(answers, json.dumps(answer).encode("ascii") + b"\n")
    os._exit(0)


if __name__ == "__main__":
    _main()
