"""Environments of old and new pandas: the oldest and the newest for each installed interpreter.

`environments` lists them; `build` creates the missing ones with uv, in a cache folder that survives the
tests (``PARALLELRUN_TEST_CACHE``, else the user's cache folder).
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TypeAlias

Version: TypeAlias = tuple[int, int]


@dataclass(frozen=True)
class Release:
    """A pandas, a numpy and a pyarrow of its time, and the interpreters that have wheels of all three."""

    pandas: str
    numpy: str
    pyarrow: str
    oldest: Version
    newest: Version


RELEASES = (
    Release("1.0.0", "1.18.5", "0.17.1", (3, 7), (3, 8)),
    Release("1.1.3", "1.19.5", "3.0.0", (3, 7), (3, 9)),
    Release("1.3.5", "1.21.6", "6.0.1", (3, 7), (3, 10)),
    Release("1.4.4", "1.22.4", "8.0.0", (3, 8), (3, 10)),
    Release("1.5.3", "1.23.5", "10.0.1", (3, 8), (3, 11)),
    Release("2.0.3", "1.24.4", "12.0.1", (3, 8), (3, 11)),
    Release("2.1.1", "1.26.4", "14.0.2", (3, 9), (3, 12)),
    Release("2.2.3", "2.1.3", "18.1.0", (3, 10), (3, 13)),
    Release("2.3.3", "2.0.2", "21.0.0", (3, 9), (3, 12)),
    Release("3.1.1", "2.4.6", "26.0.1", (3, 11), (3, 14)),
)
"""From the oldest to the newest."""

WANTED = ("1.0", "1.3", "1.4", "1.5", "2.0", "2.2", "3")
"""The versions to test under at least one interpreter, if one of them supports it."""

PYTHONS = tuple((3, minor) for minor in range(7, 14))


@dataclass(frozen=True)
class PandasEnvironment:
    """An interpreter with a release of pandas."""

    python: Version
    release: Release

    def __str__(self) -> str:
        return f"python{self.python[0]}.{self.python[1]}-pandas{self.release.pandas}"

    @property
    def packages(self) -> list[str]:
        """The requirements."""
        release = self.release
        return [
            f"pandas=={release.pandas}", f"numpy=={release.numpy}", f"pyarrow=={release.pyarrow}"
        ]  # fmt: skip

    @property
    def folder(self) -> Path:
        """Its folder in the cache, one for each choice of packages."""
        release = self.release
        return cache_folder() / f"{self}-numpy{release.numpy}-pyarrow{release.pyarrow}"

    @property
    def executable(self) -> Path:
        """Its interpreter, once it is built."""
        return self.folder / "bin" / "python"


def cache_folder() -> Path:
    """Return the folder in which environments survive the tests."""
    own = os.environ.get("PARALLELRUN_TEST_CACHE")
    if own:
        return Path(own)
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "parallelrun-jupyter-tests"


@cache
def interpreter(version: Version) -> str:
    """Return the path of an interpreter of this version; empty if it is not installed."""
    name = f"python{version[0]}.{version[1]}"
    return next((path for path in _candidates(name) if _version_of(path) == version), "")


def _candidates(name: str) -> Iterator[str]:
    yield sys.executable
    yield from [path] if (path := shutil.which(name)) else []
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    of_uv = Path(os.environ.get("UV_PYTHON_INSTALL_DIR") or Path.home() / ".local/share/uv/python")
    for folder in (pyenv / "versions", of_uv):
        yield from map(str, sorted(folder.glob(f"*/bin/{name}")))


def _version_of(path: str) -> Version | None:
    code = "import sys; print(*sys.version_info[:2])"
    try:
        done = subprocess.run([path, "-c", code], capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return None
    # A version manager's shim may be on the PATH without an interpreter behind it.
    major, minor = done.stdout.split() if done.returncode == 0 else ("0", "0")
    return int(major), int(minor)


@cache
def environments() -> tuple[PandasEnvironment, ...]:
    """Return the oldest and the newest for each interpreter, and those `WANTED` under any of them."""
    pythons = [version for version in PYTHONS if interpreter(version)]
    chosen: dict[PandasEnvironment, None] = {}
    for python in pythons:
        fitting = [release for release in RELEASES if release.oldest <= python <= release.newest]
        chosen.update({PandasEnvironment(python, fitting[k]): None for k in (0, -1)})
    for wanted in WANTED:
        if any(f"{env.release.pandas}.".startswith(f"{wanted}.") for env in chosen):
            continue
        fitting = [release for release in RELEASES if f"{release.pandas}.".startswith(f"{wanted}.")]
        for release in fitting:
            able = [python for python in pythons if release.oldest <= python <= release.newest]
            chosen.update({PandasEnvironment(python, release): None for python in able[-1:]})
    return tuple(sorted(chosen, key=lambda env: (env.python, RELEASES.index(env.release))))


def build(wanted: Sequence[PandasEnvironment]) -> dict[PandasEnvironment, str]:
    """Build the missing environments; return the reason for each that could not be built."""
    missing = [env for env in wanted if not env.executable.exists()]
    with ThreadPoolExecutor(4, thread_name_prefix="Thread-environments") as threads:
        failures = dict(zip(missing, threads.map(_build, missing), strict=True))
    return {env: reason for env, reason in failures.items() if reason}


def _build(environment: PandasEnvironment) -> str:
    python = interpreter(environment.python)
    return build_environment(python, environment.packages, environment.folder)


def build_environment(python: str, packages: Sequence[str], target: Path) -> str:
    """Build an environment with uv, unless it is there; return the reason if that failed, else ""."""
    cache_folder().mkdir(parents=True, exist_ok=True)
    # Several processes of tests may want it; the first one builds it, and the others wait.
    with open(cache_folder() / f".{target.name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        is_there = (target / "bin" / "python").exists()
        return "" if is_there else _build_with_uv(python, packages, target)


def _build_with_uv(python: str, packages: Sequence[str], target: Path) -> str:
    with tempfile.TemporaryDirectory(dir=cache_folder(), prefix="building-") as place:
        folder = Path(place) / "environment"
        reason = make_environment(python, packages, folder)
        if not reason:
            folder.rename(target)  # atomic: a partial environment is never used
    return reason


def make_environment(python: str, packages: Sequence[str], folder: Path) -> str:
    """Make a new environment with uv; return the reason if that failed, else ""."""
    uv = uv_program()
    if not uv:
        return "uv is missing: pip install 'parallelrun-jupyter[test]'"
    for command in (
        [uv, "venv", "--quiet", "--no-project", "--python", python, str(folder)],
        [uv, "pip", "install", "--quiet", "--only-binary", ":all:", "--python",
         str(folder / "bin" / "python"), *packages],
    ):  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, timeout=600)
        if done.returncode:
            return f"{' '.join(command)}: {done.stderr.strip()[-2000:]}"
    return ""


def uv_program() -> str:
    """Return the path of uv; empty if it is missing."""
    beside = Path(sys.executable).with_name("uv")
    return str(beside) if beside.exists() else shutil.which("uv") or ""
