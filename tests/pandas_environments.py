"""Environments of old and new pandas: for each interpreter here the oldest and the newest it can have.

`environments` lists them; `build` makes those that are missing with uv and keeps them in a cache
folder, which survives the tests (``PARALLELRUN_TEST_CACHE``, else the user's cache folder).
"""

from __future__ import annotations

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
    """A pandas, a numpy and a pyarrow of its time, and the interpreters that have wheels of all."""

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
"""Versions of pandas that are tested under at least one interpreter, if one supports them."""

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
        """The requirements to install."""
        release = self.release
        return [
            f"pandas=={release.pandas}", f"numpy=={release.numpy}", f"pyarrow=={release.pyarrow}"
        ]  # fmt: skip

    @property
    def folder(self) -> Path:
        """The cached environment; each choice of packages has its own folder."""
        release = self.release
        return _cache_folder() / f"{self}-numpy{release.numpy}-pyarrow{release.pyarrow}"

    @property
    def executable(self) -> Path:
        """Its interpreter, once it is built."""
        return self.folder / "bin" / "python"


def _cache_folder() -> Path:
    own = os.environ.get("PARALLELRUN_TEST_CACHE")
    if own:
        return Path(own)
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "parallelrun-jupyter-tests"


@cache
def interpreter(version: Version) -> str:
    """Return the path of an interpreter of this version, or an empty string."""
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
    # A shim of a version manager is in PATH even if it has no interpreter to run.
    major, minor = done.stdout.split() if done.returncode == 0 else ("0", "0")
    return int(major), int(minor)


@cache
def environments() -> tuple[PandasEnvironment, ...]:
    """Return the tested environments: oldest and newest of each interpreter, and `WANTED` under any."""
    pythons = [version for version in PYTHONS if interpreter(version)]
    chosen: dict[PandasEnvironment, None] = {}
    for python in pythons:
        fitting = [release for release in RELEASES if release.oldest <= python <= release.newest]
        chosen.update({PandasEnvironment(python, fitting[k]): None for k in (0, -1)})
    for wanted in WANTED:
        if any(f"{one.release.pandas}.".startswith(f"{wanted}.") for one in chosen):
            continue
        fitting = [release for release in RELEASES if f"{release.pandas}.".startswith(f"{wanted}.")]
        for release in fitting:
            able = [python for python in pythons if release.oldest <= python <= release.newest]
            chosen.update({PandasEnvironment(python, release): None for python in able[-1:]})
    return tuple(sorted(chosen, key=lambda one: (one.python, RELEASES.index(one.release))))


def build(wanted: Sequence[PandasEnvironment]) -> dict[PandasEnvironment, str]:
    """Build the environments that are missing; return why, for those that could not be built."""
    missing = [one for one in wanted if not one.executable.exists()]
    with ThreadPoolExecutor(4, thread_name_prefix="Thread-environments") as threads:
        failures = dict(zip(missing, threads.map(_build, missing), strict=True))
    return {one: why for one, why in failures.items() if why}


def _build(environment: PandasEnvironment) -> str:
    beside = Path(sys.executable).with_name("uv")
    uv = str(beside) if beside.exists() else shutil.which("uv")
    if not uv:
        return "there is no uv: pip install 'parallelrun-jupyter[test]'"
    _cache_folder().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=_cache_folder(), prefix="building-") as place:
        folder = Path(place) / "environment"
        python = interpreter(environment.python)
        for command in (
            [uv, "venv", "--quiet", "--no-project", "--python", python, str(folder)],
            [uv, "pip", "install", "--quiet", "--only-binary", ":all:", "--python",
             str(folder / "bin" / "python"), *environment.packages],
        ):  # fmt: skip
            done = subprocess.run(command, capture_output=True, text=True, timeout=600)
            if done.returncode:
                return f"{' '.join(command)}: {done.stderr.strip()[-2000:]}"
        try:
            folder.rename(environment.folder)  # at once, so that no half of one is ever used
        except OSError:
            if not environment.executable.exists():  # else another run of the tests was first
                raise
    return ""
