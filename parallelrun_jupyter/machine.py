"""What this process may use of the machine: cores, threads of numerical libraries, GPUs."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from .errors import ConfigError

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "TF_NUM_INTRAOP_THREADS",
    "TF_NUM_INTEROP_THREADS",
)
"""What numerical libraries read for their own threads; several workers share the cores."""


def usable_cores(root: Path = Path("/")) -> int:
    """Return the number of cores this process may use: its affinity, within its cgroup's quota.

    Parameters
    ----------
    root
        Where ``proc`` and ``sys`` are mounted.
    """
    if sys.platform == "linux":
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    quota = _cgroup_quota(root)
    return max(1, min(cores, int(quota + 0.5))) if quota else cores


def _cgroup_quota(root: Path) -> float | None:
    """Return the cores that the cgroups of this process grant, or None for no limit."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return None
    limits = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            limits += _quotas_v2(root / "sys/fs/cgroup", path)
        elif "cpu" in controllers.split(","):
            limits += _quotas_v1(root / "sys/fs/cgroup/cpu", path)
    return min(limits, default=None)


def _folders(mount: Path, path: str) -> list[Path]:
    """Return the folder of a cgroup and those above it; inside a container only the mount shows."""
    folder = mount / path.lstrip("/")
    inside = [f for f in (folder, *folder.parents) if f == mount or mount in f.parents]
    return [*inside, mount]


def _quotas_v2(mount: Path, path: str) -> list[float]:
    limits = []
    for folder in _folders(mount, path):
        try:
            quota, period = (folder / "cpu.max").read_text().split()[:2]
        except (OSError, ValueError):
            continue
        if quota != "max":
            limits.append(int(quota) / int(period))
    return limits


def _quotas_v1(mount: Path, path: str) -> list[float]:
    limits = []
    for folder in _folders(mount, path):
        try:
            quota = int((folder / "cpu.cfs_quota_us").read_text())
            period = int((folder / "cpu.cfs_period_us").read_text())
        except (OSError, ValueError):
            continue
        if quota > 0:
            limits.append(quota / period)
    return limits


def thread_caps(workers: int, cores: int, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that share ``cores`` among ``workers``, where the user set none."""
    each = str(max(1, cores // max(1, workers)))
    return {name: each for name in THREAD_VARIABLES if name not in environ}


def visible_gpus(environ: Mapping[str, str], root: Path = Path("/")) -> tuple[str, ...]:
    """Return the GPUs that workers may use: those of ``CUDA_VISIBLE_DEVICES``, else all there are.

    Parameters
    ----------
    environ
        The workers' variables. ``-1`` or nothing in ``CUDA_VISIBLE_DEVICES`` means none, on purpose.
    root
        Where ``proc`` is mounted.
    """
    given = environ.get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        named = [part.strip() for part in given.split(",")]
        return tuple(part for part in named if part and not part.startswith("-"))
    try:
        count = len(os.listdir(root / "proc/driver/nvidia/gpus"))
    except OSError:
        return ()
    return tuple(map(str, range(count)))


def require_posix() -> None:
    """Refuse where the worker processes cannot run.

    Raises
    ------
    ConfigError
        On Windows outside of WSL.
    """
    if os.name != "posix":
        msg = (
            "parallelrun-jupyter runs on Linux and macOS; this is Windows. "
            "Start Jupyter inside WSL (wsl --install) and run the notebook there."
        )
        raise ConfigError(msg)
