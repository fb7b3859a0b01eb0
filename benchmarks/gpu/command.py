"""``python -m benchmarks gpu``: how busy the GPU is kept, and how long it takes."""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

from parallelrun_jupyter.version import __version__

from ..measure import environ
from ..names import names_of
from .devices import MODULES, PREFIX
from .meters import Busy, Ledger, Nvml
from .work import Work, expected, make, rows_in

HEAD = (
    "| script | framework | process | seconds, median (range) | busy while working | busy in all "
    "| in the window | output |\n| --- | --- | --- | --- | --- | --- | --- | --- |"
)

ENGINES = {
    "by hand": ("by_hand", "one"),
    "by hand, loader reads ahead": ("by_hand", "ahead"),
    "ours, 1 worker": ("ours", "1"),
    "ours, 2 workers on the device": ("ours", "2"),
}
"""For each process, its module and the last argument of it."""

_INSTALL = {
    "torch": "pip install torch",
    "tensorflow": "pip install 'tensorflow[and-cuda]'",
}
_ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Measured:
    """One measurement; its times are meaningless if ``wrong`` is not empty."""

    seconds: float = 0.0
    busy: Busy | None = None
    window: float | None = None
    wrong: str = ""


@dataclass(frozen=True)
class Setting:
    """The settings that all measurements of a framework share; the folder is for files of theirs."""

    model: str
    meter: Ledger | Nvml | None
    variables: dict[str, str]
    folder: Path


def main(words: Sequence[str] | None = None) -> int:
    """Measure and print the table; exit status 0 if every output was right."""
    parser = _parser()
    given = parser.parse_args(words)
    if given.device == "cuda" and shutil.which("nvidia-smi") is None:
        parser.error("there is no nvidia-smi here; without a GPU of NVIDIA: --device stand-in")
    rounds = given.rounds if given.rounds is not None else 0 if given.small else 3
    names = ["stand-in"] if given.device == "stand-in" else given.frameworks
    print(
        f"parallelrun-jupyter {__version__}, Python {platform.python_version()}, {platform.system()}, "
        f"{os.cpu_count()} cores, device: {given.device}; {given.busy_ms:g} ms of it for each mini-batch; "
        f"{rounds} interleaved rounds, after one that does not count.\n"
    )
    print(HEAD, flush=True)
    is_right = True
    with tempfile.TemporaryDirectory(prefix="parallelrun-gpu-") as temporary:
        folder = Path(temporary)
        works, model = make(folder, is_small=given.small)
        meter = _meter(given.device, folder)
        for framework in names:
            if framework != "stand-in" and importlib.util.find_spec(framework) is None:
                print(f"| | {framework} | not measured: {_INSTALL[framework]} |{' |' * 5}")
                continue
            variables = {**(meter.variables if meter else {}), f"{PREFIX}FRAMEWORK": framework,
                         f"{PREFIX}DEVICE": given.device, f"{PREFIX}MODEL": model}  # fmt: skip
            try:
                variables[f"{PREFIX}WORK"] = _amount(framework, given.busy_ms / 1000, variables)
            except RuntimeError as error:
                print(f"| | {framework} | not measured: {error} |{' |' * 5}")
                is_right = False
                continue
            shared = Setting(model, meter, variables, folder)
            for name in given.scripts:
                found = _measure(works[name], shared, rounds)
                is_right &= not any(one.wrong for several in found.values() for one in several)
                for engine, several in found.items():
                    print(row(name, framework, engine, several), flush=True)
    return 0 if is_right else 1


def _meter(device: str, folder: Path) -> Ledger | Nvml | None:
    """Return the meter of a device; the processor has none."""
    if device == "cuda":
        return Nvml(os.environ.get("CUDA_VISIBLE_DEVICES", "0").partition(",")[0] or "0")
    return Ledger(folder) if device == "stand-in" else None


def _amount(framework: str, seconds: float, variables: dict[str, str]) -> str:
    """Return the work of a call: seconds of sleep, or the products of matrices that take so long."""
    if framework == "stand-in":
        return repr(seconds)
    done = _python("benchmarks.gpu.calibrate", [repr(seconds)], variables)
    if done.returncode:
        raise RuntimeError(_last_line(done))
    return done.stdout.split()[-1]


def _measure(work: Work, shared: Setting, rounds: int) -> dict[str, list[Measured]]:
    """Measure each process in each round, and begin each round with another one."""
    right = expected(work, shared.model)
    found: dict[str, list[Measured]] = {name: [] for name in ENGINES}
    names = list(ENGINES)
    for number in range(rounds + 1):
        shift = number % len(names)
        for name in names[shift:] + names[:shift]:
            with tempfile.TemporaryDirectory(dir=shared.folder) as scratch:
                one = _measure_one(work, right, shared, name, Path(scratch))
            found[name].append(one)
            busy = f", busy {one.busy.percent():.0f} %" if one.busy else ""
            said = one.wrong or f"{one.seconds:8.3f} s{busy}"
            print(f"  {work.name:<8} {name:<30} {said}", file=sys.stderr, flush=True)
    return found


def _measure_one(
    work: Work, right: list[str], shared: Setting, name: str, scratch: Path
) -> Measured:
    module, way = ENGINES[name]
    output = scratch / "rows.txt" if module == "by_hand" else scratch
    words = [json.dumps(astuple(work)), str(output), way]
    if shared.meter:
        shared.meter.begin()
    try:
        done = _python(f"benchmarks.gpu.{module}", words, shared.variables)
    finally:
        busy = shared.meter.end() if shared.meter else None
    if done.returncode:
        return Measured(wrong=_last_line(done))
    told = json.loads(done.stdout.splitlines()[-1])
    rows = rows_in(told.get("output", output))
    wrong = ""
    if rows != right:
        same = sum(a == b for a, b in zip(rows, right, strict=False))
        wrong = f"{same:,} of {len(right):,} rows are right and in their place"
    return Measured(told["seconds"], busy, told.get("window"), wrong)


def _last_line(done: subprocess.CompletedProcess[str]) -> str:
    return (done.stderr.strip().splitlines() or ["it died"])[-1][:200]


def _python(
    module: str, words: list[str], variables: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", module, *words], cwd=_ROOT, capture_output=True, text=True,
        env={**environ(), **variables, "PYTHONPATH": str(_ROOT)}, check=False,
    )  # fmt: skip


def row(work: str, framework: str, engine: str, several: list[Measured]) -> str:
    """Return the line of the table for a process."""
    wrong = next((one.wrong for one in several if one.wrong), "")
    if wrong:
        return f"| {work} | {framework} | {engine} | | | | | WRONG: {wrong.replace('|', '/')} |"
    counted = several[1:] or several
    times = [one.seconds for one in counted]
    busy = [(one.busy.percent(), one.busy.percent(one.seconds)) for one in counted if one.busy]
    shown = [one.window for one in counted if one.window is not None] if busy else []
    columns = [*zip(*busy, strict=True), shown] if busy else [[], [], []]
    shares = (f"{statistics.median(one):.0f} %" if one else "" for one in columns)
    return (
        f"| {work} | {framework} | {engine} | {statistics.median(times):.2f} "
        f"({min(times):.2f}-{max(times):.2f}) | {' | '.join(shares)} | right, in order |"
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks gpu", description=__doc__)
    parser.add_argument("--device", choices=("cuda", "cpu", "stand-in"), default="cuda",
                        help="a GPU of NVIDIA (default); the processor, to try the scripts; or a sleep "
                             "of known length")  # fmt: skip
    parser.add_argument("--frameworks", type=names_of(sorted(set(MODULES) - {"stand-in"})),
                        default=["torch", "tensorflow"], help="default: torch,tensorflow")  # fmt: skip
    parser.add_argument("--scripts", type=names_of(["images", "table"]), default=["images", "table"],
                        help="default: images,table")  # fmt: skip
    parser.add_argument("--busy-ms", type=float, default=20.0,
                        help="milliseconds of the device for a mini-batch (default 20)")  # fmt: skip
    parser.add_argument("--rounds", type=int, default=None,
                        help="counted rounds, after one that does not count (default: 3; small: none)")  # fmt: skip
    parser.add_argument("--small", action="store_true", help="little data, to see that it works")
    return parser
