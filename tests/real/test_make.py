"""What `make` prints while it installs, and when something is missing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="there is no make here")


def make(folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Install what the demo needs into an environment of its own."""
    words = [f"{name}={value}" for name, value in variables.items()]
    environ = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    venv = folder / "venv"
    return subprocess.run(
        ["make", "--no-print-directory", f"VENV={venv}", *words, str(venv / ".demo")],
        cwd=ROOT, env=environ | {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": ""},
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip


def python(folder: Path, body: str) -> str:
    """Return a program that stands for a Python."""
    path = folder / "python"
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return str(path)


def test_a_python_that_is_too_old_is_named(tmp_path: Path) -> None:
    old = python(tmp_path, '[ "$1" = --version ] && echo Python 3.9.18 && exit\nexit 1')
    done = make(tmp_path, PYTHON=old)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith(
        f"Python 3.10 or newer is needed, and {old} is Python 3.9.18: install a newer one, or name "
        "the one you have: make "
    )


def test_a_python_that_is_missing_is_named(tmp_path: Path) -> None:
    done = make(tmp_path, PYTHON="python-of-tomorrow")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith(
        "python-of-tomorrow is not here: install Python 3.10 or newer, or "
    )


def test_debians_package_for_environments_is_named(tmp_path: Path) -> None:
    bare = python(tmp_path, 'case "$2" in *ensurepip*) exit 1;; esac')
    done = make(tmp_path, PYTHON=bare)
    assert done.returncode == 2
    assert done.stderr.startswith(
        f"{bare} cannot make an environment: its modules venv and ensurepip are missing. On Debian "
        "and Ubuntu: sudo apt install python3-venv\n"
    )


def test_an_installation_prints_one_line(tmp_path: Path) -> None:
    noisy = python(tmp_path, "echo noise; echo warning >&2")
    done = make(tmp_path, PYTHON=sys.executable, PIP=noisy)
    assert (done.returncode, done.stderr) == (0, "")
    (line,) = done.stdout.splitlines()
    assert line.startswith(f"Installing what the demo needs into {tmp_path / 'venv'} (")
    again = make(tmp_path, PYTHON=sys.executable, PIP=noisy)
    assert "is up to date" in again.stdout
    assert "Installing" not in again.stdout


def test_an_installation_that_fails_shows_the_error_of_pip(tmp_path: Path) -> None:
    done = make(tmp_path, PYTHON=sys.executable)
    assert done.returncode == 2
    assert len(done.stdout.splitlines()) == 1
    assert "No matching distribution found for hatchling" in done.stderr
    assert "\nThis failed: " in done.stderr
    assert "install --quiet --editable .[demo,jupyter]\nIts output is above." in done.stderr
    assert not (tmp_path / "venv" / ".demo").exists(), "the next make tries again"
