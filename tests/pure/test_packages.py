"""The packages of an environment: conda's and pip's spelling, and how they differ from the installed."""

from __future__ import annotations

import sys

import packaging
import pytest

from parallelrun_jupyter.environment.packages import (
    PackageSet,
    differences,
    era_constraints,
    from_conda,
)


@pytest.mark.parametrize(
    ("conda", "pip"),
    [
        ("numpy", "numpy"),
        ("numpy=1.19", "numpy==1.19.*"),
        ("numpy=1.19.*", "numpy==1.19.*"),
        ("numpy==1.19.2", "numpy==1.19.2"),
        ("conda-forge::scipy=1.2.3", "scipy==1.2.3"),
        ("pytorch::pytorch=1.7.1=py3.8_cuda11", "pytorch==1.7.1"),
        ("numpy>=1.19,<2", "numpy>=1.19,<2"),
        ("python=3.6", ""),
        ("pip", ""),
    ],
)
def test_conda_is_read_as_pip_writes_it(conda: str, pip: str) -> None:
    assert from_conda(conda) == pip


def test_old_tensorflow_needs_an_old_protobuf() -> None:
    assert era_constraints(["tensorflow==1.13.1"]) == ["protobuf<3.21"]
    assert era_constraints(["tensorflow-gpu==2.3.*"]) == ["protobuf<3.21"]
    assert era_constraints(["tensorflow==2.13.0"]) == []
    assert era_constraints(["tensorflow>=1.13"]) == []
    assert era_constraints(["tensorflow==1.13.1", "protobuf==3.6"]) == []


def test_azures_own_packages_are_left_out() -> None:
    packages = PackageSet(pip=["azureml-core==1.2", "azureml-dataset-runtime[pandas,fuse]", "six"])
    assert packages.requirements() == ["pandas", "six"]


def test_every_kind_of_pin_is_compared() -> None:
    have = packaging.__version__
    packages = PackageSet(
        pip=[
            f"packaging=={have}",
            f"packaging<{have}",
            "packaging>=1.0",
            "Packaging~=1.0",
            "packaging==1.0; python_version < '3.0'",
            "no-such-package; python_version < '3.0'",
            "no_such_package>=2",
            "-r more.txt",
            "git+https://example.org/a.git",
            "other @ https://example.org/other.whl",
        ]
    )
    assert differences(packages, sys.executable) == [
        f"packaging {have} is used, packaging<{have} was asked for",
        f"Packaging {have} is used, Packaging~=1.0 was asked for",
        "no_such_package>=2 was asked for and is not installed",
    ]


def test_another_interpreter_is_asked(tmp_path: object) -> None:
    python = f"{tmp_path}/python"
    with open(python, "w", encoding="utf-8") as file:
        file.write(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    import os

    os.chmod(python, 0o755)
    packages = PackageSet(python_version="3.5", pip=["packaging==1.0"])
    running = ".".join(map(str, sys.version_info[:3]))
    assert differences(packages, python) == [
        f"Python {running} is used, 3.5 was asked for",
        f"packaging {packaging.__version__} is used, packaging==1.0 was asked for",
    ]
