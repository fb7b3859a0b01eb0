"""What pyproject.toml says, read from the file: an installation may be older."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
DEVELOPERS = {"bench", "docs", "pure", "test"}
"""Extras that nobody needs who uses the package."""


def read() -> dict[str, Any]:
    """Return the file; skip the test under Python 3.10, which has no tomllib."""
    tomllib = pytest.importorskip("tomllib", reason="Python 3.10 has no tomllib")
    loaded: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
    return loaded


def extras() -> dict[str, list[str]]:
    """Return the packages of each extra that users install."""
    found: dict[str, list[str]] = read()["project"]["optional-dependencies"]
    return {name: packages for name, packages in found.items() if name not in DEVELOPERS}


def package_of(requirement: str) -> str:
    """Return the name in a requirement."""
    name = re.match(r"[A-Za-z0-9-]+", requirement)
    assert name is not None, requirement
    return name[0]
