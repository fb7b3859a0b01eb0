"""The cost of a start: the import in a notebook, and a worker that imports nothing."""

from __future__ import annotations

import selectors
import subprocess
import sys
import time
from pathlib import Path

from parallelrun_jupyter.engine.node.worker_process import WorkerProcess, WorkerSpec

from .measure import Figure, environ, interleave


def _seconds_of(code: str) -> float:
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", code], env=environ(), check=True)
    return time.monotonic() - began


def _worker_ready(folder: Path) -> float:
    """Return the seconds from starting a worker to its word that it is ready."""
    selector = selectors.DefaultSelector()
    spec = WorkerSpec(
        python=sys.executable,
        environ=environ(),
        logs=folder,
        start={
            "script": str(folder / "empty_worker.py"), "argv": ["empty_worker.py"],
            "cwd": str(folder), "sys_path": [str(folder)], "append_rows": True,
            "answers_items": True, "has_tables_only": False, "output_format": "text", "logging_level": "INFO",
            "roots": [str(folder)], "output_dir": str(folder), "log_dir": str(folder),
            "uses": {"folder": "", "names": {}},
            "calls": {"concurrency": 1, "by_item": False, "prices": {}, "limit_s": 60, "run_id": "r"},
        },
    )  # fmt: skip
    began = time.monotonic()
    worker = WorkerProcess("bench", 0, spec, selector)
    while True:
        ready = [key for key, _ in selector.select(10)]
        replies = [reply for key in ready for reply in worker.handle(key.fd)]
        if replies or worker.has_ended():
            break
    seconds = time.monotonic() - began
    worker.kill("measured")
    worker.close()
    selector.close()
    if not replies or replies[0].message[0] != "ready":
        msg = f"the worker did not become ready: {replies}; {folder / 'benchw0.log'} says more"
        raise RuntimeError(msg)
    return seconds


def measure(folder: Path, rounds: int) -> list[Figure]:
    """Return the figures of the starts."""
    (folder / "empty_worker.py").write_text("def run(mini_batch):\n    return mini_batch\n")
    print("starts")
    found = interleave(
        rounds * 4,
        package=lambda: _seconds_of("import parallelrun_jupyter"),
        traitlets=lambda: _seconds_of("import traitlets"),
        worker=lambda: _worker_ready(folder),
        python=lambda: _seconds_of("pass"),
    )
    return [
        Figure(
            "import parallelrun_jupyter", found["package"], "import traitlets",
            found["traitlets"], "ms", 1.5,
        ),
        Figure(
            "a worker that imports nothing, ready", found["worker"], "python -c pass",
            found["python"], "ms", 4,
        ),
    ]  # fmt: skip
