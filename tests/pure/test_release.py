"""The facts of a release agree: versions, supported Pythons, the changelog."""

from __future__ import annotations

import json
import re
from pathlib import Path

import yaml

from parallelrun_jupyter.version import __version__

ROOT = Path(__file__).parents[2]
PYPROJECT = (ROOT / "pyproject.toml").read_text()
CI = ROOT / ".github" / "workflows" / "ci.yml"


def test_the_front_end_has_the_version_of_the_package() -> None:
    for name in ("package.json", "package-lock.json"):
        assert json.loads((ROOT / "labextension" / name).read_text())["version"] == __version__


def test_the_changelog_opens_with_unreleased_and_then_this_version() -> None:
    titles = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert titles[:2] == ["Unreleased", __version__]


def test_the_citation_has_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == __version__


def test_every_python_that_is_promised_is_tested() -> None:
    promised = re.findall(r'"Programming Language :: Python :: (3\.\d+)"', PYPROJECT)
    oldest = re.search(r'requires-python = ">=(3\.\d+)"', PYPROJECT)
    assert oldest is not None
    assert promised[0] == oldest[1]
    tested = yaml.safe_load(CI.read_text())["jobs"]["pure"]["strategy"]["matrix"]["python"]
    assert tested == promised


def test_workflows_run_targets_of_the_makefile() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    used = set()
    for path in CI.parent.glob("*.yml"):
        used |= set(re.findall(r"run: make ([a-z -]+)", path.read_text()))
    words = {word for line in used for word in line.split()}
    assert words
    assert words <= targets
