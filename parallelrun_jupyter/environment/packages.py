"""The packages that an environment asks for, in conda's and pip's spelling, and what is installed."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import dataclass, field
from importlib import metadata
from typing import Any

_NAME = re.compile(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)\s*(\[[^\]]*\])?\s*(.*)")
_NOT_PACKAGES = {"python", "pip", "setuptools", "wheel"}
_ASK = """
import json, sys
wanted = json.load(sys.stdin)
try:
    from importlib.metadata import version
except ImportError:
    import pkg_resources
    version = lambda name: pkg_resources.get_distribution(name).version
found = {}
for name in wanted:
    try:
        found[name] = version(name)
    except Exception:
        pass
json.dump(found, sys.stdout)
"""


@dataclass(frozen=True, slots=True)
class PackageSet:
    """What an environment asks for.

    Parameters
    ----------
    name
        What people call the environment.
    python_version
        Such as ``3.8`` or ``3.7.16``; empty for any.
    pip
        Requirements as pip writes them.
    conda
        The same as conda writes them: ``numpy=1.19`` or ``numpy``.
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
            pip=[str(one) for one in record.get("pip", ())],
            conda=[str(one) for one in record.get("conda", ())],
        )

    def requirements(self) -> list[str]:
        """Return what pip would be asked for, without Azure's own packages.

        The names of ``azureml-*`` that scripts import come from here; of
        ``azureml-dataset-runtime[pandas]`` its pandas is kept.
        """
        found = dict.fromkeys(
            spec
            for one in (*map(from_conda, self.conda), *self.pip)
            for spec in _without_azure(one.strip())
        )
        return [one for one in found if one]


def from_conda(spec: str) -> str:
    """Return a conda package as pip writes it; nothing for python and pip themselves."""
    name, _, version = spec.strip().partition("::")[2].partition("=") if "::" in spec else (
        spec.strip().partition("=")
    )  # fmt: skip
    match = _NAME.fullmatch(name)
    if match is None or match[1].lower() in _NOT_PACKAGES:
        return ""
    if not version:
        return spec.strip().rpartition("::")[2]
    if match[3]:  # numpy>=1.19: the sign of equality belongs to another sign
        return spec.strip().rpartition("::")[2]
    version = version.lstrip("=").split("=")[0]
    is_prefix = version.count(".") < 2 and not version.endswith("*")
    return f"{match[1]}=={version}.*" if is_prefix else f"{match[1]}=={version}"


def _without_azure(requirement: str) -> list[str]:
    match = _NAME.match(requirement)
    if match is None or not match[1].lower().startswith("azureml"):
        return [requirement]
    return ["pandas"] if "pandas" in (match[2] or "") else []


def era_constraints(requirements: list[str]) -> list[str]:
    """Return what packages of their time need beside them, and did not say.

    TensorFlow before 2.9 takes any newer protobuf, and cannot be imported with it.
    """
    names = {}
    for one in requirements:
        match = _NAME.match(one)
        if match:
            names[match[1].lower()] = match[3]
    pins = (names.get(name, "") for name in ("tensorflow", "tensorflow-gpu", "tensorflow-cpu"))
    is_old = any(re.match(r"==\s*(1\.|2\.[0-8](\.|$))", pin) for pin in pins)
    return ["protobuf<3.21"] if is_old and "protobuf" not in names else []


def differences(packages: PackageSet, python: str) -> list[str]:
    """Return in words where an interpreter differs from what was asked for; often nothing.

    Parameters
    ----------
    packages
        What was asked for.
    python
        Path of the interpreter that is used instead.
    """
    wanted: dict[str, str] = {}
    for requirement in packages.requirements():
        match = _NAME.match(requirement)
        if match and "://" not in requirement and not requirement.startswith("-"):
            wanted[match[1]] = match[3].split(";")[0].strip()
    version, found = _installed(list(wanted), python)
    lines = []
    if packages.python_version and not _is_of(version, packages.python_version):
        lines.append(f"Python {version} is used, {packages.python_version} was asked for")
    for name, pin in wanted.items():
        have = found.get(name)
        if have is None:
            lines.append(f"{name}{pin} was asked for and is not installed")
        elif not _fits(have, pin):
            lines.append(f"{name} {have} is used, {name}{pin} was asked for")
    return lines


def _installed(names: list[str], python: str) -> tuple[str, dict[str, str]]:
    """Return the version of an interpreter, and of those packages that it has."""
    if python == sys.executable:
        found = {}
        for name in names:
            try:
                found[name] = metadata.version(name)
            except metadata.PackageNotFoundError:
                continue
        return ".".join(map(str, sys.version_info[:3])), found
    try:
        code = f"{_ASK}\nprint(); print('.'.join(map(str, sys.version_info[:3])))"
        done = subprocess.run(
            [python, "-c", code], input=json.dumps(names), capture_output=True, text=True,
            timeout=60, check=True,
        )  # fmt: skip
        *_, listed, version = done.stdout.strip().splitlines()
        return version, json.loads(listed)
    except (OSError, ValueError, subprocess.SubprocessError):
        return "", {}


def _is_of(version: str, wanted: str) -> bool:
    return version == wanted or version.startswith(f"{wanted.rstrip('.*')}.")


def _fits(version: str, pin: str) -> bool:
    """Say whether a version meets a pin; only ``==`` is judged, which is what changes results."""
    exact = re.fullmatch(r"===?\s*([^,\s]+)", pin)
    return exact is None or version == exact[1] or _is_of(version, exact[1])
