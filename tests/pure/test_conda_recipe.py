"""The conda recipe, as rattler-build renders it, agrees with pyproject.toml. No channel is asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

from parallelrun_jupyter.version import __version__
from tests import pyproject

RECIPE = Path(__file__).parents[2] / "conda" / "recipe.yaml"
OWN = "parallelrun-jupyter"

ONLY_ON_PYPI = {"tensorflow", "tensorflow-cpu"}
"""conda has one tensorflow, for the processor or its variants, whose versions differ."""


@pytest.fixture(scope="module")
def recipe() -> dict[str, Any]:
    pytest.importorskip("rattler_build", reason="py-rattler-build is in the extra test")
    from rattler_build import Stage0Recipe, VariantConfig

    (variant,) = Stage0Recipe.from_file(RECIPE).render(VariantConfig())
    rendered: dict[str, Any] = variant.recipe.to_dict()
    return rendered


def as_conda(requirements: list[str]) -> set[str]:
    """Return requirements of pip as conda writes them."""
    parsed = map(Requirement, requirements)
    return {f"{one.name} {one.specifier}" for one in parsed if one.name not in ONLY_ON_PYPI}


def test_it_is_of_this_version_and_of_any_platform(recipe: dict[str, Any]) -> None:
    assert recipe["package"] == {"name": OWN, "version": __version__}
    assert recipe["build"]["noarch"] == "python"
    assert recipe["source"] == [{"path": f"../dist/parallelrun_jupyter-{__version__}.tar.gz"}]


def test_its_dependencies_are_those_of_pyproject(recipe: dict[str, Any]) -> None:
    project = pyproject.read()
    oldest = project["project"]["requires-python"].removeprefix(">=")
    run = recipe["requirements"]["run"]
    assert run[0] == f"python >={oldest}"
    assert set(run[1:]) == as_conda(project["project"]["dependencies"])
    built_by = as_conda(project["build-system"]["requires"])
    assert set(recipe["requirements"]["host"]) == {f"python {oldest}.*", "pip", *built_by}


def test_the_packages_of_the_extras_are_new_enough(recipe: dict[str, Any]) -> None:
    wanted = [package for packages in pyproject.extras().values() for package in packages]
    assert set(recipe["requirements"]["run_constraints"]) == as_conda(wanted)


def test_it_says_and_tests_what_pyproject_says(recipe: dict[str, Any]) -> None:
    project = pyproject.read()["project"]
    (point,) = project["scripts"].items()
    assert recipe["build"]["python"]["entry_points"] == [" = ".join(point)]
    imports, commands = recipe["tests"]
    assert imports["python"]["imports"] == ["parallelrun_jupyter", "parallelrun_jupyter.server"]
    assert commands["script"][0] == f"{point[0]} --version"
    assert recipe["about"]["summary"] == project["description"]
    assert recipe["about"]["license"] == project["license"]
    assert recipe["about"]["homepage"] == project["urls"]["Homepage"]
    assert recipe["about"]["documentation"] == project["urls"]["Documentation"]
