"""Packages requested by an environment, as conda or pip writes them, and installed packages."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import metadata
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

_CONDA_SPEC = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)(\[[^\]]*\])?\s*(.*)")
_NOT_PACKAGES = {"python", "pip", "setuptools", "wheel"}
_ASK = """
import json, sys
names = json.load(sys.stdin)
try:
    from importlib.metadata import version
except ImportError:
    import pkg_resources
    version = lambda name: pkg_resources.get_distribution(name).version
versions = {}
for name in names:
    try:
        versions[name] = version(name)
    except Exception:
        pass
print(json.dumps({"python": ".".join(map(str, sys.version_info[:3])), "packages": versions}))
"""


@dataclass(frozen=True, slots=True)
class PackageSet:
    """The packages of an environment.

    Parameters
    ----------
    name
        The environment's name, for messages.
    python_version
        Such as ``3.8`` or ``3.7.16``; empty for any.
    pip
        Requirements as pip writes them.
    conda
        Requirements as conda writes them: ``numpy=1.19`` or ``numpy``.
    """

    name: str = ""
    python_version: str = ""
    pip: list[str] = field(default_factory=list)
    conda: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, record: dict[str, Any]) -> PackageSet:
        """Read the environment of a step's record."""
        return cls(
            name=str(record.get("name") or ""),
            python_version=str(record.get("python_version") or ""),
            pip=[str(requirement) for requirement in record.get("pip", ())],
            conda=[str(requirement) for requirement in record.get("conda", ())],
        )

    def requirements(self) -> list[str]:
        """Return the requirements for pip, without Azure's own packages.

        This package serves the ``azureml-*`` names that scripts import.
        ``azureml-dataset-runtime[pandas]`` becomes pandas.
        """
        requirements = [*map(from_conda, self.conda), *(text.strip() for text in self.pip)]
        return list(dict.fromkeys(_replace_azure(requirements)))


def from_conda(spec: str) -> str:
    """Return a conda package as pip writes it; empty for python, pip, setuptools and wheel."""
    spec = spec.strip().rpartition("::")[2]
    match = _CONDA_SPEC.fullmatch(spec)
    if match is None or match[1].lower() in _NOT_PACKAGES:
        return ""
    pin = match[3]
    if not pin.startswith("="):  # numpy, numpy>=1.19: the same in both
        return spec
    version = pin.lstrip("=").split("=")[0]  # after a second "=" is a build
    is_prefix = version.count(".") < 2 and not version.endswith("*")
    return f"{match[1]}=={version}.*" if is_prefix else f"{match[1]}=={version}"


def _replace_azure(requirements: list[str]) -> Iterator[str]:
    for text in requirements:
        requirement = _parsed(text)
        if requirement is None or not requirement.name.lower().startswith("azureml"):
            if text:
                yield text
        elif "pandas" in requirement.extras:
            yield "pandas"


def _parsed(text: str) -> Requirement | None:
    """Return a requirement, or None for an option of pip, a file, or a form of conda's own."""
    try:
        return Requirement(text)
    except InvalidRequirement:
        return None


def era_constraints(requirements: list[str]) -> list[str]:
    """Return the constraints that old packages need and do not declare.

    TensorFlow before 2.9 accepts any newer protobuf, and cannot be imported with it.
    """
    pins = {r.name.lower(): r.specifier for r in map(_parsed, requirements) if r is not None}
    old = SpecifierSet("<2.9")
    is_old = any(
        pin.operator in ("==", "===") and old.contains(pin.version.removesuffix(".*"))
        for name in ("tensorflow", "tensorflow-gpu", "tensorflow-cpu")
        for pin in pins.get(name, ())
    )
    return ["protobuf<3.21"] if is_old and "protobuf" not in pins else []


def differences(packages: PackageSet, python: str) -> list[str]:
    """Return a sentence for each difference between an interpreter and the requested packages.

    Parameters
    ----------
    packages
        The requested packages. Requirements whose marker excludes the interpreter are skipped,
        and so are URLs, files and options of pip.
    python
        Path of the interpreter that is used instead.
    """
    parsed = [r for r in map(_parsed, packages.requirements()) if r is not None and r.url is None]
    version, installed = _installed(list(dict.fromkeys(r.name for r in parsed)), python)
    lines = []
    if packages.python_version and not _is_of(version, packages.python_version):
        lines.append(f"Python {version} is used, {packages.python_version} was asked for")
    markers = {"python_version": ".".join(version.split(".")[:2]), "python_full_version": version}
    for requirement in parsed:
        if version and requirement.marker and not requirement.marker.evaluate(markers):
            continue
        wanted = f"{requirement.name}{requirement.specifier}"
        have = installed.get(canonicalize_name(requirement.name))
        if have is None:
            lines.append(f"{wanted} was asked for and is not installed")
        elif not _meets(have, requirement.specifier):
            lines.append(f"{requirement.name} {have} is used, {wanted} was asked for")
    return lines


def _installed(names: list[str], python: str) -> tuple[str, dict[str, str]]:
    """Return the version of an interpreter, and the versions of the packages that it has."""
    versions: dict[str, str] = {}
    if python == sys.executable:
        for name in names:
            try:
                versions[canonicalize_name(name)] = metadata.version(name)
            except metadata.PackageNotFoundError:
                continue
        return ".".join(map(str, sys.version_info[:3])), versions
    try:
        done = subprocess.run(
            [python, "-c", _ASK], input=json.dumps(names), capture_output=True, text=True,
            timeout=60, check=True,
        )  # fmt: skip
        answer = json.loads(done.stdout.strip().splitlines()[-1])
    except (OSError, ValueError, IndexError, subprocess.SubprocessError):
        return "", {}
    versions.update((canonicalize_name(k), version) for k, version in answer["packages"].items())
    return answer["python"], versions


def _is_of(version: str, wanted: str) -> bool:
    return version == wanted or version.startswith(f"{wanted.rstrip('.*')}.")


def _meets(version: str, specifier: SpecifierSet) -> bool:
    """Return whether a version meets a specifier; always true for versions outside of PEP 440."""
    try:
        return specifier.contains(Version(version), prereleases=True)
    except InvalidVersion:
        return True
