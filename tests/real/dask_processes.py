"""A Dask cluster of real processes on the loopback: a scheduler, workers, and their ends."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import psutil

from parallelrun_jupyter.engine.node.fork_server import WORKER_FOLDER

START_S = 90
"""A Dask process takes two seconds on a quiet machine, and half a minute on a busy one."""


class DaskProcesses:
    """Starts a scheduler and its workers, each an operating-system process of its own.

    Parameters
    ----------
    folder
        A folder for their files.
    scheme
        tcp or tls.
    options
        Of every process, such as the paths of certificates.
    host
        The scheduler's address, and that of workers without one of their own.
    """

    def __init__(
        self,
        folder: Path,
        scheme: str = "tcp",
        options: Sequence[str] = (),
        host: str = "127.0.0.1",
    ) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._scheme = scheme
        self._options = list(options)
        self._host = host
        self.scheduler_file = folder / "scheduler.json"
        self.scheduler: subprocess.Popen[bytes] | None = None
        self.workers: dict[str, subprocess.Popen[bytes]] = {}
        self.address = ""

    def start_scheduler(self, port: int = 0) -> str:
        self.scheduler_file.unlink(missing_ok=True)
        self.scheduler = self._start(
            "scheduler", "--scheduler-file", self.scheduler_file, "--port", port,
            "--protocol", self._scheme,
        )  # fmt: skip
        wait_until(self.scheduler_file.exists, "the scheduler to start", self._log("scheduler"))
        wait_until(lambda: bool(self.scheduler_file.read_text()), "its file to be written")
        self.address = json.loads(self.scheduler_file.read_text())["address"]
        return self.address

    @property
    def port(self) -> int:
        return int(self.address.rpartition(":")[2])

    def add_worker(
        self,
        name: str,
        *,
        threads: int = 1,
        environ: dict[str, str] | None = None,
        host: str = "",
        inside: Sequence[str] = (),
    ) -> None:
        """Start a worker; ``inside`` is the command that puts it into a network of its own."""
        self.workers[name] = self._start(
            "worker", self.address, "--name", name, "--nthreads", threads, "--nworkers", 1,
            "--no-nanny", "--local-directory", self.folder / name, "--death-timeout", START_S,
            log=name, environ=environ, host=host, inside=inside,
        )  # fmt: skip

    def wait_for_workers(self) -> None:
        for name in self.workers:
            log = self._log(name)
            wait_until(partial(_has_registered, log), f"{name}", log)

    def _start(
        self,
        kind: str,
        *words: object,
        log: str = "",
        environ: dict[str, str] | None = None,
        host: str = "",
        inside: Sequence[str] = (),
    ) -> subprocess.Popen[bytes]:
        with open(self._log(log or kind), "wb") as out:
            return subprocess.Popen(
                [*inside, sys.executable, "-m", "dask", kind, "--host", host or self._host,
                 "--no-dashboard", *self._options, *map(str, words)],
                stdout=out, stderr=out, cwd=self.folder,
                env={**os.environ, "PARALLELRUN_HOME": str(self.folder / "home"), **(environ or {})},
            )  # fmt: skip

    def _log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def kill(self, name: str) -> None:
        """Kill a worker as the kernel would: no goodbye."""
        process = self.workers.pop(name)
        process.kill()
        process.wait()

    def kill_scheduler(self) -> None:
        assert self.scheduler is not None
        self.scheduler.kill()
        self.scheduler.wait()

    def run_workers(self) -> list[psutil.Process]:
        """Return the worker processes of runs that live anywhere on this machine under these."""
        found = []
        for process in psutil.process_iter(["cmdline"]):
            words = process.info["cmdline"] or []
            try:
                if str(WORKER_FOLDER) in words and process.environ().get("PARALLELRUN_HOME") == str(
                    self.folder / "home"
                ):
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def close(self) -> None:
        """See that no worker process of a run is left, then end all."""
        try:
            wait_until(lambda: not self.run_workers(), "worker processes to end", limit_s=20)
        finally:
            # Workers first: Dask's own closing may hang if both go at once.
            for group in (list(self.workers.values()), [self.scheduler] if self.scheduler else []):
                for process in group:
                    process.terminate()
                for process in group:
                    _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _has_registered(log: Path) -> bool:
    return "Registered to" in log.read_text()


def wait_until(
    holds: Callable[[], bool], what: str, log: Path | None = None, limit_s: float = START_S
) -> None:
    """Wait until a condition holds, or fail with its description."""
    until = time.monotonic() + limit_s
    while not holds():
        said = log.read_text()[-2000:] if log is not None and log.exists() else ""
        assert time.monotonic() < until, f"waited {limit_s} s for {what}\n{said}"
        time.sleep(0.05)
