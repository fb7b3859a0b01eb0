"""Cores, threads of numerical libraries, and GPUs available to this process."""

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
"""Environment variables with the number of threads of numerical libraries."""


def usable_cores(root: Path = Path("/")) -> int:
    """Return the number of cores that the affinity and the cgroup quota of this process allow.

    Parameters
    ----------
    root
        Parent of the mounted ``proc`` and ``sys``.
    """
    if sys.platform == "linux":
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    quota = _cgroup_quota(root)
    return max(1, min(cores, int(quota + 0.5))) if quota else cores


def _cgroup_quota(root: Path) -> float | None:
    """Return the CPU quota of the cgroups of this process, in cores; None for no limit."""
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
    """Return the folder of a cgroup and its parents; in a container only the mount is visible."""
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
    """Return variables that divide ``cores`` among ``workers``, except those the user has set."""
    threads = str(max(1, cores // max(1, workers)))
    return {name: threads for name in THREAD_VARIABLES if name not in environ}


def visible_gpus(environ: Mapping[str, str], root: Path = Path("/")) -> tuple[str, ...]:
    """Return the GPUs for the workers: those in ``CUDA_VISIBLE_DEVICES``, by default all.

    Parameters
    ----------
    environ
        The workers' variables. ``-1`` or an empty ``CUDA_VISIBLE_DEVICES`` means no GPU.
    root
        Parent of the mounted ``proc``.
    """
    setting = environ.get("CUDA_VISIBLE_DEVICES")
    if setting is not None:
        names = [part.strip() for part in setting.split(",")]
        return tuple(name for name in names if name and not name.startswith("-"))
    try:
        count = len(os.listdir(root / "proc/driver/nvidia/gpus"))
    except OSError:
        return ()
    return tuple(map(str, range(count)))


def require_posix() -> None:
    """Check that worker processes can run on this system.

    Raises
    ------
    ConfigError
        This is Windows outside WSL.
    """
    if os.name != "posix":
        msg = (
            "parallelrun-jupyter runs on Linux and macOS; this is Windows. "
            "Start Jupyter inside WSL (wsl --install) and run the notebook there."
        )
        raise ConfigError(msg)
