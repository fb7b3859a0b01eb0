"""The Binder recipe, as repo2docker reads it, and its packages."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_the_recipe_is_made_of_files_that_are_there() -> None:
    binder = ROOT / "binder"
    assert (binder / "runtime.txt").read_text().strip() == "python-3.12"
    build = binder / "postBuild"
    assert build.stat().st_mode & 0o111
    subprocess.run(["bash", "-n", str(build)], check=True)
    extras = re.search(r'"\.\[([a-z,]+)\]"', build.read_text())
    assert extras
    project = (ROOT / "pyproject.toml").read_text()
    for extra in extras[1].split(","):  # no tomllib in Python 3.10
        assert re.search(rf"^{extra} = \[", project, re.MULTILINE), extra
    assert "tensorflow" not in extras[1], "the image stays small"


@pytest.mark.parametrize(
    "name", ["01_quickstart", "02_mnist_tensorflow", "03_dask", "04_functions"]
)
def test_every_notebook_has_its_badge(name: str) -> None:
    readme = (ROOT / "README.md").read_text()
    assert (ROOT / "notebooks" / f"{name}.ipynb").exists()
    assert f"urlpath=lab/tree/notebooks/{name}.ipynb" in readme


def test_the_pictures_of_the_readme_are_there() -> None:
    for path in re.findall(r'(?:src|srcset)="([^"]+)"', (ROOT / "README.md").read_text()):
        assert (ROOT / path).stat().st_size < 300_000
