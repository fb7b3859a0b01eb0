"""The interpreter for an Azure environment: this one, a named one, or one that is built for it."""

from __future__ import annotations

import contextlib
import glob
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from ..errors import ConfigError, EnvironmentBuildError, MissingExtraError
from ..files import lock
from ..home import home
from . import Environment
from .packages import PackageSet, differences, era_constraints

POLICY_VARIABLE = "PARALLELRUN_ENVIRONMENT"
CURRENT, BUILD = "current", "build"
_SHOWN_BYTES = 2000
_OLDEST = "3.7"
_OLDER = ("3.10", "3.8", "3.7")


def policy(environ: Mapping[str, str] = os.environ) -> str:
    """Return the setting ``PARALLELRUN_ENVIRONMENT``: current, build, or the path of a python."""
    return environ.get(POLICY_VARIABLE, "").strip() or CURRENT


def interpreter(packages: PackageSet, how: str, log: Path) -> tuple[str, list[str]]:
    """Return the interpreter for an environment, and notes about it for the user.

    Parameters
    ----------
    packages
        The packages of the environment.
    how
        ``current``: this interpreter; the notes list its differences from the pins. ``build``: a
        virtual environment of these packages and, if this machine has it, the requested Python
        version; it is built once and kept in the home. Anything else: the path of a python.
    log
        The log file of the build.

    Raises
    ------
    ConfigError
        The named interpreter cannot be used.
    EnvironmentBuildError
        The packages could not be installed; the message ends with the installer's output.
    MissingExtraError
        uv, which builds environments, is not installed.
    """
    if how == BUILD:
        return _built(packages, log)
    python = sys.executable if how == CURRENT else Environment(python=how).resolve()
    return python, differences(packages, python)


def find_python(version: str, environ: Mapping[str, str] = os.environ) -> str | None:
    """Return a python of a version such as ``3.7``, from pyenv or the PATH, or None."""
    parts = version.split(".")
    short = ".".join(parts[:2])
    roots = [environ.get("PYENV_ROOT", ""), os.path.join(environ.get("HOME", ""), ".pyenv")]
    for root in filter(None, roots):
        for name in (version, f"{short}.*"):
            pythons = sorted(glob.glob(os.path.join(root, "versions", name, "bin", "python")))
            if pythons:
                return pythons[-1]
    on_path = shutil.which(f"python{short}", path=environ.get("PATH"))
    if on_path is not None and _answers(on_path, short):
        return on_path
    return None


def _answers(python: str, version: str) -> bool:
    """Return whether an interpreter starts and has a version; shims of pyenv often do not start."""
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    try:
        done = subprocess.run([python, "-c", code], capture_output=True, text=True, timeout=30)  # noqa: PLW1510 - its failing is an answer
    except (OSError, subprocess.SubprocessError):
        return False
    return done.stdout.strip() == version


def _built(packages: PackageSet, log: Path) -> tuple[str, list[str]]:
    """Return the first environment that can be built, trying interpreters and requirements."""
    pythons, notes = _pythons(packages.python_version)
    failure: EnvironmentBuildError | None = None
    for base in pythons:
        for requirements, more_notes in _choices(packages):
            try:
                return _cached(packages.name, base, requirements, log), [*notes, *more_notes]
            except EnvironmentBuildError as error:
                failure = failure or error
    assert failure is not None
    raise failure


def _pythons(wanted: str) -> tuple[list[str], list[str]]:
    """Return the interpreters to try, and notes about them.

    If a version was requested, only this version is tried. Otherwise this interpreter comes first,
    then older interpreters of this machine, since old packages need them.
    """
    if not wanted:
        older = [python for v in _OLDER if (python := find_python(v)) is not None]
        return [sys.executable, *older], []
    if _is_running(wanted):
        return [sys.executable], []
    needed = _OLDEST if _as_numbers(wanted) < _as_numbers(_OLDEST) else wanted
    python = find_python(needed)
    if python is None:
        note = f"no Python {needed} was found on this machine; {sys.version.split()[0]} is used"
        return [sys.executable], [note]
    if needed != wanted:
        return [python], [
            f"Python {needed} is used, {wanted} was asked for: workers need {_OLDEST}"
        ]
    return [python], []


def _as_numbers(version: str) -> list[int]:
    return [int(part) for part in version.split(".")[:2] if part.isdigit()]


def _choices(packages: PackageSet) -> Iterator[tuple[list[str], list[str]]]:
    """Yield requirements to try, with notes: all of them, then without conda's."""
    added = era_constraints(packages.requirements())
    notes = [f"{pin} was added: newer versions do not work with these packages" for pin in added]
    yield [*packages.requirements(), *added], notes
    from_pip = replace(packages, conda=[]).requirements()
    if len(from_pip) < len(packages.requirements()):
        names = ", ".join(packages.conda)
        note = f"conda's {names} could not be installed from the package index and were left out"
        yield [*from_pip, *era_constraints(from_pip)], [*notes, note]


def _cached(name: str, base: str, requirements: list[str], log: Path) -> str:
    key = hashlib.sha256(json.dumps([os.path.realpath(base), requirements]).encode()).hexdigest()
    folder = home() / "environments" / key[:16]
    with _lock(folder):
        if not (folder / "built.json").is_file():
            shutil.rmtree(folder, ignore_errors=True)
            _make(folder, base, requirements, log)
            record = {"name": name, "python": base, "requirements": requirements}
            (folder / "built.json").write_text(json.dumps(record, indent=1))
    return str(folder / "bin" / "python")


def _is_running(version: str) -> bool:
    running = ".".join(map(str, sys.version_info[:3]))
    return running == version or running.startswith(f"{version}.")


@contextlib.contextmanager
def _lock(folder: Path) -> Iterator[None]:
    """Lock an environment: one process builds it, the others wait."""
    folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with lock(folder.with_suffix(".lock")):
        yield


def _make(folder: Path, base: str, requirements: list[str], log: Path) -> None:
    uv = shutil.which("uv") or shutil.which("uv", path=os.path.dirname(sys.executable))
    if uv is None:
        msg = (
            f"{POLICY_VARIABLE}=build makes environments with uv, which is not installed. "
            "Install it: pip install 'parallelrun-jupyter[environments]'"
        )
        raise MissingExtraError(msg)
    commands = [[uv, "venv", "--quiet", "--no-project", "--python", base, str(folder)]]
    if requirements:
        python = str(folder / "bin" / "python")
        commands.append([uv, "pip", "install", "--python", python, *requirements])
    for command in commands:
        with open(log, "ab") as file:
            start = file.tell()
            file.write((" ".join(command) + "\n").encode())
            file.flush()
            try:
                subprocess.run(
                    command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, check=True
                )
            except (OSError, subprocess.CalledProcessError) as error:
                output = log.read_bytes()[start:][-_SHOWN_BYTES:].decode("utf-8", "replace").strip()
                msg = (
                    f"the environment could not be built from {', '.join(requirements) or base}: "
                    f"{output}\nChange its packages, or set {POLICY_VARIABLE}=current to use "
                    "this interpreter."
                )
                raise EnvironmentBuildError(msg) from error


def as_policy(how: str) -> str:
    """Return a policy unchanged.

    Raises
    ------
    ConfigError
        The policy is neither ``current``, ``build`` nor the path of a python.
    """
    if how in {CURRENT, BUILD} or shutil.which(os.path.expanduser(how)):
        return how
    msg = (
        f"{POLICY_VARIABLE} is {how!r}; expected 'current' (this interpreter), 'build' (an "
        "environment of the packages asked for), or the path of a python."
    )
    raise ConfigError(msg)
