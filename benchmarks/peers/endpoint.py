"""Engines that call a server: their time, what it refused, and what a kill at half costs."""

from __future__ import annotations

import dataclasses
import shutil
import statistics
import subprocess
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.endpoints.process import Endpoint

from .engines import Engine
from .rounds import GRACE_S, Measured, end_what_is_left, judged, processes, start_cell, watch
from .workload import Workload

HEAD = (
    "| engine | seconds, median (range) | times the bound | memory, MB | refused "
    "| after a kill at half: billed again | items lost | output |\n"
    "| --- | --- | --- | --- | --- | --- | --- | --- |"
)


@dataclass(frozen=True)
class Called:
    """A measurement, and what the ledger of the server has of it."""

    measured: Measured
    refused: int = 0
    billed_again: int = 0
    lost: int = 0
    is_killed: bool = False


def measure(
    workload: Workload,
    engines: dict[str, Engine],
    rounds: int,
    limit_s: float,
    say: Callable[[str, int, Measured], None],
) -> dict[str, list[Called]]:
    """Run every engine in each round as `rounds.measure` does, and kill it once at the end."""
    found: dict[str, list[Called]] = {name: [] for name in engines}
    names = list(engines)
    for number in range(rounds + 2):
        is_killed = number == rounds + 1
        shift = number % len(names)
        for name in names[shift:] + names[:shift]:
            if any(one.measured.wrong for one in found[name]):
                continue
            one = _call(
                workload, engines[name], limit_s, is_killed=is_killed, samples_memory=not number
            )
            found[name].append(one)
            say(f"{name}, killed" if is_killed else name, number, one.measured)
    return found


def _call(
    workload: Workload, engine: Engine, limit_s: float, *, is_killed: bool, samples_memory: bool
) -> Called:
    """Run one engine with a server of its own."""
    folder, mark = Path(tempfile.mkdtemp(prefix="parallelrun-peers-")), uuid.uuid4().hex
    again = dataclasses.replace(engine, options={**engine.options, "is_again": True})
    limit = {"kind": "bucket", "count": workload.rate / 10, "seconds": 0.1}
    try:
        with Endpoint(
            folder, latency_s=workload.latency_s, limits=[limit], retry_after_s=1
        ) as server:
            variables = {**workload.environ, "BENCHMARK_ENDPOINT": str(server.port)}
            told = dataclasses.replace(workload, environ=variables)
            process = start_cell(told, engine, limit_s, folder, mark)
            try:
                if is_killed:
                    _kill_at_half(workload, server, process, mark, limit_s)
                    process = start_cell(told, again, limit_s, folder, mark)
                peak_mb = watch(process, mark, limit_s + GRACE_S, samples_memory=samples_memory)
            finally:
                end_what_is_left(process, mark)
            ledger = server.ledger()
        measured = judged(workload, folder, peak_mb)
        lost = Counter(workload.expected()) - Counter(_rows_in(folder))
        return Called(measured, ledger.count(429), ledger.billed_again(), lost.total(), is_killed)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _rows_in(folder: Path) -> list[bytes]:
    try:
        return (folder / "rows.txt").read_bytes().splitlines()
    except FileNotFoundError:
        return []


def _kill_at_half(
    workload: Workload,
    server: Endpoint,
    process: subprocess.Popen[bytes],
    mark: str,
    limit_s: float,
) -> None:
    """Kill all processes of a measurement at once when half of the items are billed."""
    until = time.monotonic() + limit_s
    while server.state()["billed"] < workload.count / 2 and process.poll() is None:
        if time.monotonic() > until:
            break
        time.sleep(0.02)
    for one in processes(process.pid, mark):
        try:
            one.kill()
        except psutil.NoSuchProcess:
            pass
    process.wait()


def table(
    workload: Workload, found: Mapping[str, Sequence[Called]], left_out: Mapping[str, str]
) -> str:
    """Return the table of the workload."""
    bound_s = workload.bound_s()
    assert bound_s is not None
    lines = [f"### {workload.name}\n",
             f"{workload.amount:,.0f} {workload.unit}; the bound is {bound_s:.2f} s. {workload.about}\n",
             HEAD]  # fmt: skip
    lines += [_row(name, several, bound_s) for name, several in found.items()]
    lines += [f"| {name} | | | | | | | not measured: {why} |" for name, why in left_out.items()]
    return "\n".join(lines) + "\n"


def _row(name: str, several: Sequence[Called], bound_s: float) -> str:
    steady = [one for one in several if not one.is_killed]
    wrong = next((one.measured.wrong for one in steady if one.measured.wrong), "")
    if wrong:
        return f"| {name} | | | | | | | WRONG: {wrong.replace('|', '/')} |"
    counted = steady[1:] or steady
    times = [one.measured.total_s for one in counted]
    middle = statistics.median(times)
    refused = max(one.refused for one in counted)
    peak_mb = steady[0].measured.peak_mb or 0
    killed = next(one for one in several if one.is_killed)
    said = f"after the kill: {killed.measured.wrong}" if killed.measured.wrong else "right"
    return (
        f"| {name} | {middle:.2f} ({min(times):.2f}-{max(times):.2f}) | {middle / bound_s:.2f} "
        f"| {peak_mb:.0f} | {refused:,} | {killed.billed_again:,} | {killed.lost:,} | {said} |"
    )
