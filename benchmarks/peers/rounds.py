"""Round after round, each measurement in a process of its own."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from ..measure import environ
from .checks import what_is_wrong
from .engines import Engine
from .workload import Workload

MARK = "PARALLELRUN_BENCHMARK_CELL"
"""The variable by which the processes of a measurement are found, detached ones too."""

GRACE_S = 20
"""Seconds for the end of a measurement whose time is over."""

_ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Measured:
    """One measurement; if ``wrong`` is not empty, its times are meaningless."""

    total_s: float = 0.0
    first_s: float | None = None
    init_s: float = 0.0
    samples: tuple[float, ...] = ()
    wrong: str = ""
    is_in_order: bool = False
    peak_mb: float | None = None


def measure(
    workload: Workload,
    engines: dict[str, Engine],
    rounds: int,
    limit_s: float,
    say: Callable[[str, int, Measured], None],
) -> dict[str, list[Measured]]:
    """Run every engine in each round, and begin each round with another one.

    Memory is sampled in an extra first round, whose times do not count. An engine that is wrong, or
    exceeds the limit, is skipped in later rounds.
    """
    found: dict[str, list[Measured]] = {name: [] for name in engines}
    names = list(engines)
    limit_s = min(limit_s, workload.limit_s or limit_s)
    for number in range(rounds + 1):
        shift = number % len(names)
        for name in names[shift:] + names[:shift]:
            if any(one.wrong for one in found[name]):
                continue
            one = run_cell(workload, engines[name], limit_s, samples_memory=number == 0)
            found[name].append(one)
            say(name, number, one)
    return found


def run_cell(
    workload: Workload, engine: Engine, limit_s: float, *, samples_memory: bool = False
) -> Measured:
    """Run one engine on one workload in a fresh process, and check its record."""
    folder = Path(tempfile.mkdtemp(prefix="parallelrun-peers-"))
    mark = uuid.uuid4().hex
    try:
        process = start_cell(workload, engine, limit_s, folder, mark)
        try:
            peak_mb = watch(process, mark, limit_s + GRACE_S, samples_memory=samples_memory)
        finally:
            end_what_is_left(process, mark)
        return judged(workload, folder, peak_mb)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def start_cell(
    workload: Workload,
    engine: Engine,
    limit_s: float,
    folder: Path,
    mark: str,
) -> subprocess.Popen[bytes]:
    """Start the process of a measurement, with a folder for its record."""
    variables = {**environ(), **workload.environ, MARK: mark, "PYTHONPATH": str(_ROOT),
                 "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1",
                 "POLARS_MAX_THREADS": str(workload.workers), "RAY_USAGE_STATS_ENABLED": "0",
                 "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0", "PYTHONWARNINGS": "ignore",
                 "TELEMETRY_ENABLED": "0", "CURATOR_DISABLE_RICH_DISPLAY": "1", "HF_HUB_OFFLINE": "1"}  # fmt: skip
    if workload.retries:
        (folder / "attempts").mkdir()
        variables["BENCHMARK_ATTEMPTS"] = str(folder / "attempts")
    cell = {"workload": dataclasses.asdict(workload), "module": engine.module,
            "options": engine.options, "limit_s": limit_s}  # fmt: skip
    (folder / "cell.json").write_text(json.dumps(cell), encoding="utf-8")
    with (folder / "log.txt").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "benchmarks.peers.cell", str(folder)],
            cwd=_ROOT, env=variables, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        )  # fmt: skip


def judged(workload: Workload, folder: Path, peak_mb: float | None) -> Measured:
    """Read and check the record of a measurement."""
    try:
        record: dict[str, Any] = json.loads((folder / "record.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        lines = (folder / "log.txt").read_text(errors="replace").strip().splitlines() or ["it died"]
        return Measured(wrong=lines[-1][:200])
    wrong, is_in_order = what_is_wrong(workload, record)
    times = {key: record[key] for key in ("total_s", "first_s", "init_s")}
    return Measured(
        **times, samples=tuple(record["samples"]), wrong=wrong, is_in_order=is_in_order,
        peak_mb=peak_mb,
    )  # fmt: skip


def watch(
    process: subprocess.Popen[bytes], mark: str, limit_s: float, *, samples_memory: bool
) -> float | None:
    """Wait for the end; return the largest memory of all processes together, in MB."""
    until, peak = time.monotonic() + limit_s, 0
    while time.monotonic() < until:
        if samples_memory:
            peak = max(peak, sum(map(_memory, processes(process.pid, mark))))
        try:
            process.wait(0.2 if samples_memory else max(0.0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            continue
        break
    return peak / 1e6 if samples_memory else None


def processes(root: int, mark: str) -> list[psutil.Process]:
    """Return the processes of a measurement: the tree of the first, and all that carry its mark."""
    found: dict[int, psutil.Process] = {}
    for process in psutil.process_iter():
        try:
            if process.pid == root or process.environ().get(MARK) == mark:
                found[process.pid] = process
        except psutil.Error:
            continue
    for process in list(found.values()):
        try:
            found |= {child.pid: child for child in process.children(recursive=True)}
        except psutil.Error:
            continue
    found.pop(os.getpid(), None)
    return list(found.values())


def _memory(process: psutil.Process) -> int:
    """Return the bytes of a process; shared pages count by their share if that is known."""
    try:
        info = process.memory_full_info()
    except psutil.Error:
        return 0
    return int(getattr(info, "pss", info.rss))


def end_what_is_left(process: subprocess.Popen[bytes], mark: str) -> None:
    """Give the processes of a measurement the time to end, then end them."""
    left = [one for one in processes(process.pid, mark) if one.pid != process.pid]
    if process.poll() is None:
        process.kill()
    process.wait()
    _, alive = psutil.wait_procs(left, timeout=3)
    for one in alive:
        try:
            one.kill()
        except psutil.NoSuchProcess:
            pass
    psutil.wait_procs(alive, timeout=3)
