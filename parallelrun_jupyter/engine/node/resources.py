"""What worker processes use of their machine: CPU, memory, and a GPU where there is one."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

Used = tuple[int, int, int, int]
"""CPU (percent of one core), memory (MiB), GPU (percent), GPU memory (MiB); -1 where there is none."""

_IS_LINUX = platform.system() == "Linux"
_MIB = 1 << 20
_CPU_STEP = 5
_GPU_QUERY = ("--query-gpu=index,uuid,utilization.gpu,memory.used", "--format=csv,noheader,nounits")
_GPU_EVERY_S = 2
_READ_BYTES = 1 << 16
MEASURED_S = 2.0


@dataclass(slots=True)
class _Ticks:
    """The CPU time of a process at some moment, in seconds."""

    at: float
    cpu_s: float


class ResourceMeter:
    """Measures worker processes; each reading is since the one before.

    Values are rounded, so that what hardly changes is not told again and again: CPU to five
    percent, memory to a MiB below 1,000 and to ten above.

    Parameters
    ----------
    gpus
        The GPUs that workers were given, by slot; none where there are none.
    clock
        Seconds.
    proc
        Where the process file system is mounted; where there is none, psutil is asked.
    """

    def __init__(
        self,
        gpus: Sequence[str] = (),
        clock: Callable[[], float] = time.monotonic,
        proc: Path = Path("/proc"),
    ) -> None:
        self._clock = clock
        self._proc = proc
        self._before: dict[int, _Ticks] = {}
        self._told: dict[str, Used] = {}
        self._measured_at = -MEASURED_S
        self._gpus = gpus
        self._meter = GpuMeter() if gpus else None

    def read(self, pid: int, slot: int = 0) -> Used | None:
        """Return what a process used since the last reading; None at the first, or once it is gone."""
        found = self._look(pid)
        if found is None:
            self._before.pop(pid, None)
            return None
        cpu_s, memory_bytes = found
        now = self._clock()
        before = self._before.get(pid)
        self._before[pid] = _Ticks(now, cpu_s)
        if before is None or now <= before.at:
            return None
        percent = 100 * (cpu_s - before.cpu_s) / (now - before.at)
        mib = memory_bytes // _MIB
        gpu = self._gpu_of(slot)
        return (
            max(0, round(percent / _CPU_STEP) * _CPU_STEP),
            mib if mib < 1000 else round(mib, -1),
            *gpu,
        )

    def changes(self, workers: Mapping[str, tuple[int, int]]) -> dict[str, Used]:
        """Return what workers use where that has changed; looked at every other second.

        Parameters
        ----------
        workers
            The process id and the slot of each worker that there is; others are forgotten.
        """
        now = self._clock()
        if now < self._measured_at + MEASURED_S:
            return {}
        self._measured_at = now
        pids = {pid for pid, _ in workers.values()}
        self._before = {pid: ticks for pid, ticks in self._before.items() if pid in pids}
        self._told = {name: used for name, used in self._told.items() if name in workers}
        found = {}
        for name, (pid, slot) in workers.items():
            used = self.read(pid, slot)
            if used is not None and used != self._told.get(name):
                found[name] = self._told[name] = used
        return found

    def close(self) -> None:
        """End what was started for measuring."""
        if self._meter is not None:
            self._meter.close()

    def _gpu_of(self, slot: int) -> tuple[int, int]:
        if self._meter is None or slot >= len(self._gpus):
            return -1, -1
        return self._meter.read(self._gpus[slot])

    def _look(self, pid: int) -> tuple[float, int] | None:
        """Return the CPU seconds and the resident bytes of a process."""
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
    """Asks ``nvidia-smi``, once for all GPUs, and reads what it says every two seconds.

    Parameters
    ----------
    command
        The program; where it is missing, there is nothing to read.
    """

    def __init__(self, command: str = "nvidia-smi") -> None:
        self._values: dict[str, tuple[int, int]] = {}
        self._rest = ""
        program = shutil.which(command)
        self._process: subprocess.Popen[bytes] | None = None
        if program is not None:
            self._process = subprocess.Popen(
                [program, *_GPU_QUERY, f"--loop={_GPU_EVERY_S}"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
            assert self._process.stdout is not None
            os.set_blocking(self._process.stdout.fileno(), False)

    def read(self, gpu: str) -> tuple[int, int]:
        """Return the use in percent and the memory in MiB of a GPU, by its number or its UUID."""
        self._take_news()
        exact = self._values.get(gpu)
        if exact is None and gpu.startswith("GPU-"):  # CUDA takes any beginning of a UUID
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

    def _take_news(self) -> None:
        if self._process is None or self._process.stdout is None:
            return
        try:
            data = os.read(self._process.stdout.fileno(), _READ_BYTES)
        except BlockingIOError:
            return
        *lines, self._rest = (self._rest + data.decode("ascii", "replace")).split("\n")
        for line in lines:
            fields = [field.strip() for field in line.split(",")]
            if len(fields) != 4:
                continue
            used = (_number(fields[2]), _number(fields[3]))
            self._values[fields[0]] = self._values[fields[1]] = used


def _number(text: str) -> int:
    """Return a whole number; -1 for what a driver does not support, which it says in words."""
    return int(text) if text.isascii() and text.isdigit() else -1
