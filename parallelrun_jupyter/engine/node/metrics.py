"""Metrics of a node's workers: phase, CPU, memory and GPU."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from ...runs.journal.call_events import WorkerCalls
from ...runs.journal.events import WorkerProgress, WorkerSample
from ...worker.status_page import PHASES
from .worker_process import WorkerProcess

Usage: TypeAlias = tuple[int, int, int, int]
"""CPU (percent of one core), memory (MiB), GPU (percent), GPU memory (MiB); -1 if not measured."""

Samples: TypeAlias = tuple[WorkerSample, ...]
Progresses: TypeAlias = tuple[WorkerProgress, ...]
_Activity: TypeAlias = tuple[str, str, int, int]
_Progress: TypeAlias = tuple[int, int, int] | None

_IS_LINUX = platform.system() == "Linux"
_MIB = 1 << 20
_CPU_STEP = 5
_GPU_QUERY = ("--query-gpu=index,uuid,utilization.gpu,memory.used", "--format=csv,noheader,nounits")
_GPU_INTERVAL_S = 2
_READ_BYTES = 1 << 16
_INTERVAL_S = 2.0


class Sampler:
    """Samples the workers of a node and returns the samples that have changed.

    Parameters
    ----------
    gpus
        The GPUs, by worker slot.
    origin
        ``time.monotonic()`` at the run's creation.
    """

    def __init__(self, gpus: Sequence[str], origin: float) -> None:
        self._origin = origin
        self._meter = ResourceMeter(gpus)
        #: the last activity and progress of each worker
        self._last: dict[_Activity, _Progress] = {}
        self._last_calls: dict[str, tuple[int, int]] = {}

    def changes(self, workers: Sequence[WorkerProcess]) -> tuple[Samples, Progresses]:
        """Return a sample of each worker whose phase, mini-batch or usage has changed, and new progress."""
        samples = dict(self._sample(worker) for worker in workers)
        usages = self._meter.changes({w.name: (w.pid, w.slot) for w in workers if w.pid})
        last, self._last = self._last, samples
        changed = tuple(
            (*sample, *usages[sample[0]]) if sample[0] in usages else sample
            for sample in samples
            if sample[0] in usages or sample not in last
        )
        return changed, tuple(
            (sample[0], *progress)
            for sample, progress in samples.items()
            if progress is not None and progress != last.get(sample)
        )

    def calls(self, workers: Sequence[WorkerProcess]) -> tuple[WorkerCalls, ...]:
        """Return the calls in flight, and those that wait in the worker, of workers where they have changed."""
        last, self._last_calls = self._last_calls, {}
        for worker in workers:
            in_flight = worker.page.read_calls()[0]
            self._last_calls[worker.name] = in_flight, max(0, len(worker.assigned) - in_flight)
        return tuple(
            (name, *calls) for name, calls in self._last_calls.items() if calls != last.get(name)
        )

    def _sample(self, worker: WorkerProcess) -> tuple[_Activity, _Progress]:
        phase, mini_batch, since = worker.page.read()
        progress = worker.page.read_progress()
        since_ms = int((max(since, worker.started_at) - self._origin) * 1000)
        activity = worker.name, PHASES[phase], mini_batch, since_ms
        return activity, progress and progress[:3]

    def close(self) -> None:
        """End the process that reads the GPUs."""
        self._meter.close()


@dataclass(slots=True)
class _CpuTime:
    """The CPU time of a process at one moment, in seconds."""

    at: float
    cpu_s: float


class ResourceMeter:
    """Measures the resource usage of worker processes since the previous measurement.

    Values are rounded so that small changes are not reported: CPU to 5 percent, memory to 1 MiB
    below 1,000 MiB and to 10 MiB above.

    Parameters
    ----------
    gpus
        The GPUs by worker slot. Default: none.
    clock
        Seconds.
    proc
        The mount point of the process file system, which is read on Linux; psutil elsewhere.
    """

    def __init__(
        self,
        gpus: Sequence[str] = (),
        clock: Callable[[], float] = time.monotonic,
        proc: Path = Path("/proc"),
    ) -> None:
        self._clock = clock
        self._proc = proc
        self._cpu_times: dict[int, _CpuTime] = {}
        self._reported: dict[str, Usage] = {}
        self._measured_at = -_INTERVAL_S
        self._gpus = gpus
        self._gpu_meter = GpuMeter() if gpus else None

    def read(self, pid: int, slot: int = 0) -> Usage | None:
        """Return the usage since the previous call; None at the first call and after the process's end."""
        measured = self._measure(pid)
        if measured is None:
            self._cpu_times.pop(pid, None)
            return None
        cpu_s, memory_bytes = measured
        now = self._clock()
        before = self._cpu_times.get(pid)
        self._cpu_times[pid] = _CpuTime(now, cpu_s)
        if before is None or now <= before.at:
            return None
        percent = 100 * (cpu_s - before.cpu_s) / (now - before.at)
        mib = memory_bytes // _MIB
        return (
            max(0, round(percent / _CPU_STEP) * _CPU_STEP),
            mib if mib < 1000 else round(mib, -1),
            *self._read_gpu(slot),
        )

    def changes(self, workers: Mapping[str, tuple[int, int]]) -> dict[str, Usage]:
        """Return the changed usage of workers; measured every other second.

        Parameters
        ----------
        workers
            The process id and slot of each current worker; all others are forgotten.
        """
        now = self._clock()
        if now < self._measured_at + _INTERVAL_S:
            return {}
        self._measured_at = now
        pids = {pid for pid, _ in workers.values()}
        self._cpu_times = {pid: time_ for pid, time_ in self._cpu_times.items() if pid in pids}
        self._reported = {name: used for name, used in self._reported.items() if name in workers}
        changed = {}
        for name, (pid, slot) in workers.items():
            usage = self.read(pid, slot)
            if usage is not None and usage != self._reported.get(name):
                changed[name] = self._reported[name] = usage
        return changed

    def close(self) -> None:
        """End the process that reads the GPUs."""
        if self._gpu_meter is not None:
            self._gpu_meter.close()

    def _read_gpu(self, slot: int) -> tuple[int, int]:
        if self._gpu_meter is None or slot >= len(self._gpus):
            return -1, -1
        return self._gpu_meter.read(self._gpus[slot])

    def _measure(self, pid: int) -> tuple[float, int] | None:
        """Return the CPU seconds and the resident bytes of a process; None if it has ended."""
        if _IS_LINUX:
            try:
                text = (self._proc / str(pid) / "stat").read_text()
            except OSError:
                return None
            fields = text.rpartition(")")[2].split()
            ticks = int(fields[11]) + int(fields[12])
            return ticks / os.sysconf("SC_CLK_TCK"), int(fields[21]) * os.sysconf("SC_PAGE_SIZE")
        import psutil

        try:
            process = psutil.Process(pid)
            times = process.cpu_times()
            return times.user + times.system, process.memory_info().rss
        except psutil.Error:
            return None


class GpuMeter:
    """Starts ``nvidia-smi`` once for all GPUs, and reads its output, a report every two seconds.

    Parameters
    ----------
    command
        The program; without it nothing is measured.
    """

    def __init__(self, command: str = "nvidia-smi") -> None:
        self._values: dict[str, tuple[int, int]] = {}
        self._rest = ""
        program = shutil.which(command)
        self._process: subprocess.Popen[bytes] | None = None
        if program is not None:
            self._process = subprocess.Popen(
                [program, *_GPU_QUERY, f"--loop={_GPU_INTERVAL_S}"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
            assert self._process.stdout is not None
            os.set_blocking(self._process.stdout.fileno(), False)

    def read(self, gpu: str) -> tuple[int, int]:
        """Return the use in percent and the memory in MiB of a GPU, by its number or its UUID."""
        self._update()
        exact = self._values.get(gpu)
        if exact is None and gpu.startswith("GPU-"):  # CUDA accepts any prefix of a UUID
            exact = next((v for name, v in self._values.items() if name.startswith(gpu)), None)
        return exact or (-1, -1)

    def close(self) -> None:
        """End the program."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()

    def _update(self) -> None:
        if self._process is None or self._process.stdout is None:
            return
        try:
            data = os.read(self._process.stdout.fileno(), _READ_BYTES)
        except BlockingIOError:
            return
        if not data:  # the program has ended, and its last values are no longer true
            self._values.clear()
            return
        *lines, self._rest = (self._rest + data.decode("ascii", "replace")).split("\n")
        for line in lines:
            fields = [field.strip() for field in line.split(",")]
            if len(fields) == 4:
                values = (_whole_number(fields[2]), _whole_number(fields[3]))
                self._values[fields[0]] = self._values[fields[1]] = values


def _whole_number(text: str) -> int:
    """Return a whole number; -1 for a text such as ``[N/A]``, an unsupported value."""
    return int(text) if text.isascii() and text.isdigit() else -1
