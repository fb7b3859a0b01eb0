"""Seconds in which a device worked, while a process is measured."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from . import nvidia_smi

_STEP_MS = 100
_QUERY = ("--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", f"--loop-ms={_STEP_MS}")


@dataclass(frozen=True)
class Busy:
    """Seconds of work, and the seconds from the first of it to the last."""

    busy_s: float
    span_s: float

    def percent(self, seconds: float | None = None) -> float:
        """Return the part of a time in percent; by default from the first work to the last."""
        whole = self.span_s if seconds is None else seconds
        return 100 * self.busy_s / whole if whole else 0.0


class Ledger:
    """Counts the calls of the stand-in device, and puts its ``nvidia-smi`` before the real one."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "ledger.txt"
        programs = folder / "programs"
        programs.mkdir()
        program = programs / "nvidia-smi"
        script = Path(nvidia_smi.__file__)
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{script}" "{self._path}" "$@"\n')
        program.chmod(0o755)
        self.variables = {
            "BENCHMARK_GPU_LEDGER": str(self._path),
            "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        }

    def begin(self) -> None:
        """Forget earlier calls."""
        self._path.unlink(missing_ok=True)

    def end(self) -> Busy:
        """Return the work of the calls since then."""
        found = nvidia_smi.intervals(str(self._path))
        if not found:
            return Busy(0.0, 0.0)
        return Busy(sum(b - a for a, b in found), found[-1][1] - found[0][0])


@dataclass
class Nvml:
    """Reads the utilization that ``nvidia-smi`` has from NVML, ten times a second, of the first GPU."""

    gpu: str = "0"
    variables: dict[str, str] = field(default_factory=dict)
    #: when each was read, and the part of the step before it in which the GPU worked
    samples: list[tuple[float, float]] = field(default_factory=list)
    _process: subprocess.Popen[str] | None = None
    _thread: threading.Thread | None = None

    def begin(self) -> None:
        """Start reading."""
        self.samples = []
        self._process = subprocess.Popen(
            ["nvidia-smi", f"--id={self.gpu}", *_QUERY], stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        self._thread = threading.Thread(target=self._read, args=(self._process.stdout,))
        self._thread.start()

    def end(self) -> Busy:
        """Stop reading; return the work since the start."""
        assert self._process is not None
        assert self._thread is not None
        self._process.kill()
        self._process.wait()
        self._thread.join()
        return of_samples(self.samples)

    def _read(self, lines: IO[str]) -> None:
        with lines:
            for line in lines:
                if line.strip().isdigit():
                    self.samples.append((time.monotonic(), int(line) / 100))


def of_samples(samples: list[tuple[float, float]]) -> Busy:
    """Return the work of samples, each a time and the busy part of the step before it."""
    steps = [(a, b, part) for (a, _), (b, part) in itertools.pairwise(samples)]
    busy = [(a, b) for a, b, part in steps if part > 0]
    if not busy:
        return Busy(0.0, 0.0)
    return Busy(sum((b - a) * part for a, b, part in steps), busy[-1][1] - busy[0][0])
